"""The reference of the library, made from its docstrings: `python -m docs.api_reference` writes docs/api."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import mitosis_core

FOLDER = Path(__file__).parent / "api"


def modules() -> list[str]:
    """Every module of the library but its command line."""
    found = pkgutil.walk_packages(mitosis_core.__path__, "mitosis_core.")
    return ["mitosis_core", *(one.name for one in found if not one.name.endswith("__main__"))]


def main(folder: Path = FOLDER) -> None:
    """Write a page for each module."""
    import pdoc

    for (
        name
    ) in mitosis_core.__all__:  # the library loads its parts when they are used, the reference reads what is loaded
        setattr(mitosis_core, name, getattr(mitosis_core, name))
    pdoc.pdoc(*modules(), output_directory=folder)


if __name__ == "__main__":
    main()
