"""The commands `export` and `import` of `python -m db`: labels to and from the files of other programs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from db.engine import Store, data_folder, open_known
from db.fields import list_fields
from db.label_export import Labels, export_labels, unfinished_fields
from db.label_import import SWAPPED, Import, ImportSettings, import_labels, preview_import
from mitosis_core.errors import ConcentricError
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.class_names import LABELS, SKIP
from mitosis_core.interchange.command import class_is, summary
from mitosis_core.interchange.exchange import format_to_write
from mitosis_core.plurals import count_noun

_MOST_SHOWN = 20  # sentences about what is not taken in


def add_label_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the two commands."""
    _add_export(commands.add_parser("export", help="write labels of stored fields to a file of another program"))
    _add_import(commands.add_parser("import", help="take labels of stored fields from a file of another program"))


def _add_export(export: argparse.ArgumentParser) -> None:
    whose = export.add_mutually_exclusive_group(required=True)
    whose.add_argument("--reader", metavar="NAME", help="labels of this reader")
    whose.add_argument("--all-readers", action="store_true", help="labels of all readers, each with its reader")
    whose.add_argument("--consensus", action="store_true", help="what the readers of a field agree on")
    whose.add_argument("--version", metavar="NAME", help="detections of this version")
    export.add_argument("--threshold", type=float, help="lowest score of a detection (default: the version's own)")
    export.add_argument("--case", action="append", metavar="CASE", help="fields of this case alone; may be repeated")
    export.add_argument("--unfinished", action="store_true", help="fields that are begun and not finished too")
    export.add_argument("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}; by default what FILE ends with")
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="a file, or a folder or .zip of files")
    export.add_argument("--overwrite", action="store_true", help="replace FILE when there is such a file")
    _data_option(export)
    export.set_defaults(command=_export)


def _add_import(taken: argparse.ArgumentParser) -> None:
    taken.add_argument("file", type=Path, help="a file, a folder of files or a .zip of them")
    taken.add_argument("--reader", required=True, metavar="NAME", help="whose labels they become")
    taken.add_argument("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}; by default what the file looks like")
    taken.add_argument(
        "--map",
        dest="classes",
        action="append",
        default=[],
        type=class_is,
        metavar="CLASS=VERDICT",
        help=f"what a class of the file is: {', '.join(LABELS)} or {SKIP}; may be repeated",
    )
    taken.add_argument("--from-reader", default="", metavar="NAME", help="only marks of this reader of the file")
    taken.add_argument("--swap-xy", action="store_true", help="x and y are exchanged in the file")
    taken.add_argument("--leave-out", action="store_true", help="leave out marks outside their image, take the others")
    taken.add_argument("--finish", action="store_true", help="finish the fields of the file: training uses them")
    taken.add_argument("--dry-run", action="store_true", help="only say what would happen")
    _data_option(taken)
    taken.set_defaults(command=_import)


def _data_option(parser: argparse.ArgumentParser) -> None:
    says = "the data folder (default: CONCENTRIC_DATA, or data)"
    parser.add_argument("--data", type=Path, default=data_folder(), help=says)


def _export(given: argparse.Namespace) -> int:
    store, labels = open_known(given.data), _labels(given)
    ids = None if given.case is None else _fields_of(store, given.case)
    chosen = format_to_write(given.out, given.format)
    written = export_labels(store, given.out, labels, field_ids=ids, format_name=chosen.name, overwrite=given.overwrite)
    print(f"{given.out} ({chosen.title})")
    print(summary(written, chosen.title))
    if left := unfinished_fields(store, labels, ids):
        print(f"Left out, as nobody has finished them: {count_noun(left, 'field')} (--unfinished takes them too).")
    return 0


def _labels(given: argparse.Namespace) -> Labels:
    if given.threshold is not None and not (given.version and 0 <= given.threshold <= 1):
        raise ConcentricError("A threshold goes with --version, and is a number from 0 to 1.")
    if given.version:
        return Labels("version", given.version, given.threshold)
    if given.reader:
        return Labels("reader", given.reader, unfinished=given.unfinished)
    return Labels("consensus" if given.consensus else "readers", unfinished=given.unfinished and not given.consensus)


def _fields_of(store: Store, cases: list[str]) -> list[int]:
    fields = list_fields(store)
    if unknown := sorted(set(cases) - {field.case for field in fields}):
        raise ConcentricError(f"There is no case {unknown[0]}.")
    return [field.id for field in fields if field.case in cases]


def _import(given: argparse.Namespace) -> int:
    settings = ImportSettings(
        given.reader, given.format, dict(given.classes), given.swap_xy, given.from_reader, given.leave_out, given.finish
    )
    store = open_known(given.data)
    done = (preview_import if given.dry_run else import_labels)(store, given.file, settings)
    print(f"{given.file.name} ({done.format}) → {given.reader}{', not stored' if given.dry_run else ''}")
    print(import_summary(done))
    for problem in done.problems[:_MOST_SHOWN]:
        print(problem, file=sys.stderr)
    if (more := len(done.problems) - _MOST_SHOWN) > 0:
        print(f"And {count_noun(more, 'image')} more.", file=sys.stderr)
    return 1 if done.problems else 0


def import_summary(done: Import) -> str:
    """What became of the marks of a file, in a few words."""
    found = sum(image.field_id is not None for image in done.images)
    parts = [
        f"{count_noun(len(done.images), 'image')}, {found} of them stored here",
        f"{count_noun(done.total('new'), 'new mark')}",
        f"{done.total('there')} already there",
    ]
    parts += [f"{number} with another class" for number in [done.total("changed")] if number]
    parts += [f"{number} outside their image" for number in [done.total("refused")] if number]
    parts += [f"{number} without a field that can take them" for number in [done.total("unplaced")] if number]
    parts += [f"{number} of {short_name} skipped" for short_name, number in sorted(done.skipped.items())]
    finished = sum(image.finishes for image in done.images)
    parts += [f"{count_noun(finished, 'field')} finished"] if finished else []
    return f"{'; '.join(parts)}.{f' {SWAPPED}' if done.swapped else ''}"
