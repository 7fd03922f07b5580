"""Whole-slide files, which are told from fields by their names: what to do with them, in a sentence."""

from __future__ import annotations

from pathlib import PurePath

WHOLE_SLIDE_SUFFIXES: tuple[str, ...] = (
    ".svs",
    ".svslide",
    ".ndpi",
    ".ndpis",
    ".mrxs",
    ".scn",
    ".vms",
    ".vmu",
    ".bif",
    ".czi",
    ".isyntax",
    ".i2syntax",
    ".vsi",
    ".qptiff",
    ".zvi",
    ".tmap",
    ".sdpc",
    ".kfb",
    ".mds",
    ".dcm",
)


def whole_slide_advice(name: str) -> str:
    """What to do with a file of this name when it is a whole slide; "" for any other file."""
    path = PurePath(name)
    if path.suffix.lower() not in WHOLE_SLIDE_SUFFIXES:
        return ""
    return (
        f"{path.name} is a whole slide, and single fields are read here. Please open it in the scanner's viewer or in "
        "QuPath, export high-power fields at full magnification as PNG or TIFF, and add those."
    )
