"""Marks from and to the files of other programs: the table of formats, one file of this folder each."""

from mitosis_core.interchange import (
    centroid_csv,
    coco,
    concentric_json,
    imagej,
    midog,
    mitos12,
    mitos14,
    pascal_voc,
    qupath,
    sliderunner,
    tupac16,
)
from mitosis_core.interchange.format import Format

# By name. The first with a suffix is what that suffix means when nothing else is said.
FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        centroid_csv.FORMAT,
        concentric_json.FORMAT,
        qupath.FORMAT,
        coco.FORMAT,
        midog.FORMAT,
        pascal_voc.FORMAT,
        sliderunner.FORMAT,
        imagej.FORMAT,
        mitos12.FORMAT,
        mitos14.FORMAT,
        tupac16.FORMAT,
    )
}
