"""Looks a data folder through: what is wrong with it, in sentences, and what can be mended without losing anything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from db.archive import Progress, no_progress
from db.disk import readable_by_others, restrict_access
from db.engine import Store, own_files
from db.errors import as_sentences
from db.fields import StoredField, UnscaledField, list_fields, list_unscaled, tombstones
from db.image_files import ImageFiles
from db.images import image_name, is_whole
from db.orphans import find_aside, orphans, set_orphans_aside
from db.reviews import miscounted, rebuild, replayed, reviews_of
from db.schema import FieldRow
from db.versions import list_stored, weights_path
from mitosis_core.plurals import count_noun


@dataclass(frozen=True)
class Finding:
    """One thing that was found. says: a sentence. fault: False for what is only good to know. mendable: by `repair`."""

    says: str
    fault: bool = True
    mendable: bool = False


def examine(
    folder: Path, progress: Progress = no_progress, url: str = "", images: ImageFiles | None = None
) -> list[Finding]:
    """Everything that is wrong with a data folder. Nothing is changed; others may go on working.

    progress: of the fields. url: of the database, "" for the file in the folder. images: where they lie, images/ in the
    folder unless given.

    Opens every image, and replays every event. Raises StoreFailed, StoreBusy when the database cannot be read now.
    """
    store = Store(folder, url=url, images=images)
    try:
        if found := list(_database(store)):
            return [*found, *_aside(store)]
        with as_sentences():
            return [
                *_rights(store),
                *_orphans(store),
                *_fields(store, progress),
                *_versions(store),
                *_aside(store),
            ]
    finally:
        store.close()


def repair(
    folder: Path, progress: Progress = no_progress, url: str = "", images: ImageFiles | None = None
) -> list[Finding]:
    """Mend what can be mended without loss, and examine again: what is left.

    Rebuilds marks and reviews from their events, sets files without a row aside, takes whole images back from there,
    and closes the folder to other users.
    """
    store = Store(folder, url=url, images=images)
    try:
        if not list(_database(store)):
            with as_sentences():
                restrict_access(own_files(store))
                set_orphans_aside(store)
                for stored in _all_fields(store):
                    _mend_image(store, stored.digest)
                    if _replayed(store, stored.id)[0]:
                        rebuild(store, stored.id)
    finally:
        store.close()
    return examine(folder, progress, url, images)


def is_sound(findings: Iterable[Finding]) -> bool:
    """Whether none of them is a fault."""
    return not any(one.fault for one in findings)


# ---- looking


def _database(store: Store) -> Iterator[Finding]:
    """What keeps everything else from being looked at."""
    if not store.database.is_there():
        images = len(list(store.images.glob("*.png"))) if store.images.is_dir() else 0
        yield Finding(
            f"The database {store.database.place} is missing or empty, beside {count_noun(images, 'image')}. "
            "Please put back a backup of it, or make a new folder from an archive (python -m db restore)."
        )
        return
    for says in store.database.faults():
        yield Finding(says)


def _rights(store: Store) -> Iterator[Finding]:
    if wide := readable_by_others(own_files(store)):
        says = f"Other users of this machine may read {count_noun(len(wide), 'file')} or folders, {wide[0]} among them."
        yield Finding(says, mendable=True)


def _orphans(store: Store) -> Iterator[Finding]:
    with store.reading() as session:
        found = orphans(session, store)
    if found:
        with store.writing() as session:  # a field may have been added just then: under the lock it is sure
            found = orphans(session, store)
    if found:
        yield Finding(f"{count_noun(len(found), 'image file')} without a field: {_names(found)}.", mendable=True)


def _fields(store: Store, progress: Progress) -> Iterator[Finding]:
    fields = _all_fields(store)
    for place, stored in enumerate(fields, 1):
        if not is_whole(store, stored.digest) and _is_kept(store, stored.digest):  # not deleted meanwhile
            how = "missing" if store.image_files.size(image_name(stored.digest)) is None else "damaged"
            aside = find_aside(store, stored.digest) is not None
            way = "a whole one was set aside" if aside else "please upload it again or take it from a backup"
            yield Finding(f"The image of field {stored.id}, {stored.name}, is {how}; {way}.", mendable=aside)
        differing, by_rule = _replayed(store, stored.id)
        for reader in differing:
            says = f"{reader}'s review of field {stored.id}, {stored.name}, does not agree with its events."
            yield Finding(says, mendable=True)
        if not by_rule:
            yield Finding(f"The events of field {stored.id}, {stored.name}, do not follow the rule of events.")
        progress(place, len(fields))


def _all_fields(store: Store) -> list[StoredField | UnscaledField]:
    return [*list_fields(store), *list_unscaled(store)]


def _is_kept(store: Store, digest: str) -> bool:
    with store.reading() as session:
        return session.scalar(select(FieldRow.id).where(FieldRow.digest == digest)) is not None


def _versions(store: Store) -> Iterator[Finding]:
    for one in list_stored(store):
        path = weights_path(store, one.name)
        card = path.with_suffix(".json")
        if not path.is_file() or not card.is_file():
            yield Finding(f"The weights or the card of version {one.name} are missing; please take it from a backup.")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != one.sha256:
            yield Finding(f"The weights of version {one.name} are damaged; please take them from a backup.")


def _aside(store: Store) -> Iterator[Finding]:
    found = store.image_files.names_aside()
    if not found:
        return
    deleted: set[str] = set()
    with suppress(Exception):  # also told where the database cannot be read
        deleted = {one.digest for one in tombstones(store)}
    of_deleted = sum(name[:64] in deleted for name in found)
    where = store.image_files.where_aside
    says = f"{count_noun(len(found), 'file')} without a field were set aside in {where}: {_names(found)}."
    if of_deleted:
        says += f" {of_deleted} of them are of fields that somebody deleted."
    yield Finding(says, fault=False)


def _replayed(store: Store, field_id: int) -> tuple[list[str], bool]:
    """The readers whose stored review of a field is not what their events give; whether these follow their rule."""

    def compare() -> tuple[list[str], bool]:
        known, (derived, by_rule) = reviews_of(store, field_id), replayed(store, field_id)
        differing = {name for name in {*known, *derived} if known.get(name) != derived.get(name)}
        return sorted(differing | miscounted(store, field_id)), by_rule

    differing, by_rule = compare()
    if not differing:
        return differing, by_rule
    with store.writing():  # somebody may have written between the two looks; nobody does now
        return compare()


# ---- mending


def _mend_image(store: Store, digest: str) -> None:
    """Put a whole copy from the files set aside in the place of a missing or damaged image, which is set aside."""
    if is_whole(store, digest):
        return
    whole, name = find_aside(store, digest), image_name(digest)
    if whole is None:
        return
    with store.writing():
        if store.image_files.size(name) is not None:
            store.image_files.set_aside(name)
        store.image_files.take_back(whole, name)


def _names(files: list[str]) -> str:
    shown = ", ".join(files[:3])
    return f"{shown} and {len(files) - 3} more" if len(files) > 3 else shown
