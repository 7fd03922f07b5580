"""`python -m db`: backup, verify, restore and merge data folders, examine one, say who did what; reports and labels."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from db import archive, audit, doctor, merge, move
from db.case_counts import CountBy, case_names, count_case, ways_to_count
from db.case_report import WRITERS, case_report
from db.disk import create, move_into_place
from db.engine import Store, data_folder, database_url, open_database, open_known
from db.errors import as_sentences
from db.image_copy import copy_images
from db.image_files import image_files
from db.label_commands import add_label_commands
from db.preferences import read_preferences
from db.versions import champion
from mitosis_core.atomic_write import atomic_write
from mitosis_core.errors import ConcentricError
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.plurals import count_noun
from mitosis_core.scoring.counting import check_field_diameter


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 only when all is well, 1 when something is wrong with the data, 2 for a refusal."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.command(given))
    except ConcentricError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m db", description=__doc__)
    commands = parser.add_subparsers(required=True)

    backup = commands.add_parser(
        "backup", help="copy database, images and versions into one archive, from PostgreSQL too"
    )
    backup.add_argument("file", type=Path)
    _folder_option(backup, "--data")
    backup.set_defaults(command=_backup)

    restore = commands.add_parser("restore", help="unpack an archive, its database as a file, into an empty folder")
    restore.add_argument("file", type=Path)
    restore.add_argument("folder", type=Path)
    restore.set_defaults(command=_restore)

    taken = commands.add_parser("merge", help="add what an archive of another installation holds to this one")
    taken.add_argument("file", type=Path)
    _folder_option(taken, "--data")
    taken.set_defaults(command=_merge)

    moved = commands.add_parser("move", help="bring the database to PostgreSQL, or back, and check every row")
    for name, what in (("source", "FROM"), ("target", "TO")):
        moved.add_argument(name, metavar=what, help="a data folder, or postgresql://USER@HOST/NAME")
    moved.set_defaults(command=_move)

    verify = commands.add_parser("verify", help="read all of an archive and say whether it is whole")
    verify.add_argument("file", type=Path)
    verify.set_defaults(command=_verify)

    _add_looks(commands)
    add_label_commands(commands)
    return parser


def _add_looks(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands for one data folder: what is wrong with it, where its images lie, what was done, its cases."""
    examine = commands.add_parser("doctor", help="say what is wrong with a data folder and its database")
    _folder_option(examine, "folder", nargs="?")
    examine.add_argument("--repair", "--mend", action="store_true", help="repair what can be repaired without loss")
    examine.set_defaults(command=_doctor)

    images = commands.add_parser("images", help="copy all images to another folder, or to an object store by its URL")
    images.add_argument("to", metavar="PLACE", help="a folder, or s3://BUCKET/PREFIX; CONCENTRIC_IMAGES names it then")
    _folder_option(images, "--data")
    images.set_defaults(command=_images)

    said = commands.add_parser("audit", help="all changes, decisions and deletions, oldest first")
    _folder_option(said, "--data")
    said.add_argument("--out", type=Path, help="a new file (default: the terminal)")
    said.add_argument("--format", choices=audit.FORMATS, default="csv")
    said.set_defaults(command=_audit)

    report = commands.add_parser("report", help="the report of a case as a PDF or HTML file")
    _folder_option(report, "--data")
    report.add_argument("--case", required=True, help="its name")
    report.add_argument("--out", type=Path, required=True, help="a new file, .pdf or .html")
    report.add_argument("--by", help="consensus, reader:NAME or detections:VERSION (default: as on the Results page)")
    report.add_argument("--field-diameter-mm", type=float, help="of the microscope (default: as chosen on the pages)")
    report.set_defaults(command=_report)


def _folder_option(parser: argparse.ArgumentParser, name: str, **more: Any) -> None:
    says = "the data folder (default: CONCENTRIC_DATA, or data)"
    parser.add_argument(name, type=Path, default=data_folder(), help=says, **more)


def _backup(given: argparse.Namespace) -> int:
    store = open_known(given.data)
    with _bar("B") as progress:
        manifest = archive.write_archive(store, given.file, progress)
    print(f"{given.file}: {_holds(manifest)}")
    return _say([f"{name} was missing." for name in manifest.missing])


def _verify(given: argparse.Namespace) -> int:
    with _bar("B") as progress:
        manifest, problems = archive.verify(given.file, progress)
    print(f"{given.file}: {_holds(manifest)}")
    return _say(problems + [f"{name} was missing when it was made." for name in manifest.missing])


def _restore(given: argparse.Namespace) -> int:
    with _bar("B") as progress:
        manifest = archive.restore(given.file, given.folder, progress)
    print(f"{given.folder}: {_holds(manifest)}")
    if database_url():
        print(f"Its database is a file there; python -m db move {given.folder} URL brings it to PostgreSQL.")
    if place := os.environ.get("CONCENTRIC_IMAGES"):
        print(
            f"The images lie in {given.folder / 'images'}. CONCENTRIC_IMAGES is set: to have them in {place}, unset "
            f"it and run  python -m db images {place} --data {given.folder}"
        )
    return _say([f"{name} was missing when the backup was made." for name in manifest.missing])


def _merge(given: argparse.Namespace) -> int:
    store = open_known(given.data)
    with _bar("B") as progress:
        merged = merge.merge_archive(store, given.file, progress)
    print(f"{given.data}: {merged.says}")
    return _say(merged.notes)


def _move(given: argparse.Namespace) -> int:
    with _bar(" rows") as progress:
        moved = move.move(given.source, given.target, progress)
    for table, rows in moved.rows.items():
        print(f"{rows.number:>10} {table}, sha256 {rows.digest[:16]}")
    print("Every table has the same rows on both sides.", *moved.notes, sep="\n")
    return 0


def _doctor(given: argparse.Namespace) -> int:
    look = doctor.repair if given.repair else doctor.examine
    with _bar(" fields") as progress:
        found = look(_existing(given.folder), progress, database_url(), image_files(given.folder))
    if database_url():
        print(f"Examined: {open_database(given.folder, database_url()).place}, with the files in {given.folder}.")
    for one in found:
        how = "note" if not one.fault else "can be repaired with --repair" if one.mendable else "wrong"
        print(f"[{how}] {one.says}")
    print("No problem found." if doctor.is_sound(found) else "Problems were found; see above.")
    return 0 if doctor.is_sound(found) else 1


def _images(given: argparse.Namespace) -> int:
    store = open_known(given.data)
    with _bar(" images") as progress:
        done = copy_images(store, given.to, progress)
    print(
        f"{given.to}: {count_noun(done.copied, 'image')} copied, {done.there} there already. To use them, start the "
        f"program with CONCENTRIC_IMAGES={given.to}"
    )
    return _say([f"{name} is missing or damaged in {store.image_files.where}." for name in done.damaged])


def _audit(given: argparse.Namespace) -> int:
    store = open_known(given.data)
    if given.out is None:
        audit.write(store, sys.stdout, given.format)
        return 0
    if given.out.exists():
        raise ConcentricError(f"There is a file {given.out} already; please choose another name.")
    part = given.out.with_name(f"{given.out.name}.{os.getpid()}.part")
    try:
        with as_sentences():
            create(part).close()
            with part.open("w", encoding="utf-8", newline="") as file:
                number = audit.write(store, file, given.format)
            move_into_place(part, given.out)
    finally:
        part.unlink(missing_ok=True)
    print(f"{given.out}: {number} entries")
    return 0


def _report(given: argparse.Namespace) -> int:
    kind = given.out.suffix.lower().removeprefix(".")
    if kind not in WRITERS:
        raise ConcentricError(f"A report is a .pdf or .html file, not {given.out.name}.")
    if given.out.exists():
        raise ConcentricError(f"There is a file {given.out} already; please choose another name.")
    store = open_known(given.data)
    chosen_mm, preferred_mm = given.field_diameter_mm, read_preferences(store, "").field_diameter_mm
    diameter_mm = check_field_diameter(preferred_mm if chosen_mm is None else chosen_mm)
    counts = count_case(store, given.case, _way(store, given.case, given.by))
    if not counts.counted:
        raise ConcentricError(f"Nothing of {counts.case} is counted by {counts.by.key}. {counts.state}")
    number = len(counts.fields)
    with _bar(" fields") as progress:
        made = case_report(
            store,
            counts,
            case_names(store)[given.case],
            diameter_mm,
            datetime.now(UTC),
            lambda share, name: progress(round(share * number), number),
        )
    with as_sentences(), atomic_write(given.out) as part:
        part.write_bytes(WRITERS[kind](made))
    print(f"{given.out}: {counts.case}, {count_noun(counts.count.mitoses, 'mitosis')}, by {counts.by.key}")
    return 0


def _way(store: Store, case: str, key: str | None) -> CountBy:
    """How to count a case, by its key. Raises ConcentricError for a case or a way that is not there."""
    if case not in case_names(store):
        raise ConcentricError(f"There is no case {case}.")
    ways = ways_to_count(store, case, champion(store, DEFAULT_VERSION))
    found = [one for one in ways if key in (None, one.key)]
    if not found:
        raise ConcentricError(f"{case} can be counted by {', '.join(one.key for one in ways)}, not by {key}.")
    return found[0]


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConcentricError(f"There is no data folder {folder}.")
    return folder


def _holds(manifest: archive.Manifest) -> str:
    size = f"{manifest.bytes / 1e6:.1f} MB"
    return f"{manifest.fields} fields, {manifest.events} events, {size}, as of {manifest.made_at}"


def _say(problems: Sequence[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


@contextmanager
def _bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Progress on the terminal, for what takes more than a second."""
    with tqdm(unit=unit, unit_scale=unit == "B", delay=1, leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


if __name__ == "__main__":
    sys.exit(main())
