"""The images in a folder: which file a name means, and its size from the head of the file alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mitosis_core.errors import UnusableData
from mitosis_core.image.reading import IMAGE_SUFFIXES


def images_in(folder: Path) -> list[Path]:
    """The images of a folder, all the way down, in order; hidden ones, such as a Mac's ._a.jpg, left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in found if not any(one.startswith(".") for one in path.relative_to(folder).parts))


def images_by_name(folder: Path) -> dict[str, Path]:
    """`images_in` a folder by path below it, by file name, and by both without the suffix.

    A name that fits several images fits none. Raises UnusableData when there is no such folder.
    """
    if not folder.is_dir():
        raise UnusableData(f"There is no folder “{folder}”.")
    found: dict[str, Path] = {}
    doubtful: set[str] = set()
    for path in images_in(folder):
        below = path.relative_to(folder)
        for name in {below.as_posix(), path.name, below.with_suffix("").as_posix(), path.stem}:
            if name in found:
                doubtful.add(name)
            found[name] = path
    return {name: path for name, path in found.items() if name not in doubtful}


def find_image(files: Mapping[str, Path], name: str) -> Path | None:
    """The file of `images_by_name` that a name means, by its path or else by its last part; None for none."""
    return files.get(name) or files.get(Path(name).name)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in px. Raises UnusableData."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnusableData(f"The image {path.name} cannot be opened.") from error
