"""Copies the images of a store to another place: a folder, or the URL of an object store."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from db.archive import Progress, no_progress
from db.engine import Store
from db.errors import as_sentences
from db.image_files import files_at
from db.images import decode, image_name
from db.schema import FieldRow


@dataclass(frozen=True)
class CopiedImages:
    """How many images were copied, and how many were there; names of those that are missing or damaged here."""

    copied: int
    there: int
    damaged: list[str]


def copy_images(store: Store, place: str, progress: Progress = no_progress) -> CopiedImages:
    """Copy every image of a field to `place`, one after the other; what is there with the same size is left.

    Each is read once and checked on the way. Where it is done, CONCENTRIC_IMAGES may be set to `place`; nothing is
    removed here. Raises StoreFailed.
    """
    target = files_at(place)
    target.prepare()
    copied, there, damaged = 0, 0, list[str]()
    with store.reading() as session:
        digests = list(session.scalars(select(FieldRow.digest).order_by(FieldRow.id)))
    for number, digest in enumerate(digests, 1):
        name = image_name(digest)
        with as_sentences():
            size = store.image_files.size(name)
            if size is not None and target.size(name) == size:
                there += 1
            elif size is None or decode(content := store.image_files.read(name), digest) is None:
                damaged.append(name)
            else:
                target.put(target.write_part(name, content), name)
                copied += 1
        progress(number, len(digests))
    return CopiedImages(copied, there, damaged)
