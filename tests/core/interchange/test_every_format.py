"""Laws that hold for every line of the table of formats."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from docs.formats_table import PAGE, write_table
from mitosis_core.errors import UnusableData
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.class_names import LABELS, MITOSIS
from mitosis_core.interchange.command import summary
from mitosis_core.interchange.exchange import format_of, format_to_write, read_marks, write_marks
from mitosis_core.interchange.format import Format
from mitosis_core.interchange.marks import Mark, MarkedImage
from mitosis_core.types import Region
from tests.core.interchange.drawn import as_kept, as_read, images

SLACK = 1e-9
formats = pytest.mark.parametrize("chosen", FORMATS.values(), ids=lambda one: one.name)
ONE = MarkedImage("a.png", (Mark(10, 20, MITOSIS),), width_px=100, height_px=200)


def _out(folder: Path, chosen: Format) -> Path:
    return folder / "out" if chosen.per_image else folder / f"out{chosen.suffixes[0]}"


def _compare(written: list[MarkedImage], read: list[MarkedImage], chosen: Format) -> None:
    """Whether what was read is what the format promises of what was written."""
    wanted = {one.name: one for one in (as_kept(image, chosen) for image in written)}
    found = {one.name: one for one in (as_read(image, chosen) for image in read)}
    assert set(found) == set(wanted)
    for name, image in wanted.items():
        assert replace(found[name], marks=()) == replace(image, marks=())
        # The contests have a file for each label, so that marks come label by label.
        marks, back = (sorted(one.marks, key=lambda mark: LABELS.index(mark.label)) for one in (image, found[name]))
        assert [replace(m, x_px=0, y_px=0) for m in back] == [replace(m, x_px=0, y_px=0) for m in marks]
        for one, other in zip(marks, back, strict=True):
            moved = max(abs(one.x_px - other.x_px), abs(one.y_px - other.y_px))
            assert moved <= chosen.keeps.position_px + SLACK


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40)
@given(drawn=images())
def test_what_is_written_comes_back_as_the_table_says(name: str, drawn: list[MarkedImage]) -> None:
    chosen = FORMATS[name]
    if not drawn and (chosen.per_image or name in ("coco", "midog")):
        return  # no image, no file to read
    with tempfile.TemporaryDirectory() as folder:
        out = _out(Path(folder), chosen)
        written = write_marks(out, drawn, name)
        read = list(read_marks(out, name))
        _compare(drawn, read, chosen)
        assert written.images == len(drawn)
        assert written.marks.total() == sum(len(image.marks) for image in read)
        if chosen.per_image:
            write_marks(Path(folder) / "packed.zip", drawn, name)
            again = list(read_marks(Path(folder) / "packed.zip", name))
            assert [replace(i, source="") for i in again] == [replace(i, source="") for i in read]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=10)
@given(drawn=images())
def test_nothing_moves_from_one_round_to_the_next(name: str, drawn: list[MarkedImage]) -> None:
    """What was read, written again and read again is the same to the last digit."""
    chosen = FORMATS[name]
    if not drawn:
        return
    sizes = {as_kept(image, chosen).name: (image.width_px, image.height_px) for image in drawn}

    def with_size(image: MarkedImage) -> MarkedImage:
        width, height = sizes[image.name]
        return replace(image, width_px=width, height_px=height)

    with tempfile.TemporaryDirectory() as folder:
        first, second = (Path(folder) / f"{part}{'' if chosen.per_image else chosen.suffixes[0]}" for part in "ab")
        write_marks(first, drawn, name)
        once = [with_size(image) for image in read_marks(first, name)]
        write_marks(second, once, name)
        twice = [with_size(image) for image in read_marks(second, name)]
    assert {as_read(image, chosen) for image in once} == {as_read(image, chosen) for image in twice}


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_its_own_are_recognised_and_no_other_format_takes_them(name: str, tmp_path: Path) -> None:
    marks = (Mark(10, 20, MITOSIS, size_px=(8, 6)), Mark(30, 40, MITOSIS))
    out = _out(tmp_path, FORMATS[name])
    write_marks(out, [replace(ONE, marks=marks)], name)
    assert format_of(out).name == name


@pytest.mark.parametrize("name", FORMATS)
def test_every_label_that_a_format_holds_comes_back(name: str, tmp_path: Path) -> None:
    chosen = FORMATS[name]
    marks = tuple(Mark(10 * n, 20, label) for n, label in enumerate(chosen.keeps.labels, 1))
    out = _out(tmp_path, chosen)
    write_marks(out, [replace(ONE, marks=marks)], name)
    (image,) = read_marks(out, name)
    assert sorted(mark.label for mark in image.marks) == sorted(chosen.keeps.labels)


@pytest.mark.parametrize("name", FORMATS)
def test_marks_that_it_cannot_hold_are_counted_and_not_written(name: str, tmp_path: Path) -> None:
    chosen = FORMATS[name]
    marks = tuple(Mark(10, 20, label, 0.5, (8, 8), "Ann", "2026-01-02T03:04:05+00:00") for label in LABELS)
    image = replace(ONE, marks=marks, um_per_px=0.25, slide="S", digest="ab" * 32, areas={"Ann": Region(0, 0, 50, 50)})
    written = write_marks(_out(tmp_path, chosen), [image], name)
    assert {label for label in LABELS if written.lost[label]} == set(LABELS) - set(chosen.keeps.labels)
    assert bool(written.lost["score"]) != chosen.keeps.score
    assert bool(written.lost["um_per_px"]) != chosen.keeps.um_per_px
    assert bool(written.lost["areas"]) != chosen.keeps.areas
    assert ("Reviewed in part" in summary(written, chosen.title)) != chosen.keeps.areas


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_cut_short_or_another_thing_is_a_sentence(name: str, tmp_path: Path) -> None:
    """Every prefix of a file is either read or refused in a sentence that names the file."""
    chosen = FORMATS[name]
    out = _out(tmp_path, chosen)
    write_marks(out, [ONE, replace(ONE, name="b.png")], name)
    files = sorted(path for path in out.rglob("*") if path.is_file()) if out.is_dir() else [out]
    whole = files[0].read_bytes()
    for content in [whole[: len(whole) * k // 12] for k in range(12)] + [b"\0" * 100, b"\xff\xfe\x00", b"{}", b"[1]"]:
        files[0].write_bytes(content)
        try:
            list(read_marks(out, name))
        except UnusableData as error:
            assert files[0].name in str(error) and "\n" not in str(error)


@formats
def test_there_is_no_file_or_half_a_file_after_a_failure(chosen: Format, tmp_path: Path) -> None:
    def failing() -> object:
        yield ONE
        raise UnusableData("no more")

    out = _out(tmp_path, chosen)
    with pytest.raises(UnusableData, match="no more"):
        write_marks(out, failing(), chosen.name)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@formats
def test_what_is_there_is_not_overwritten_unless_asked(chosen: Format, tmp_path: Path) -> None:
    out = _out(tmp_path, chosen)
    write_marks(out, [ONE], chosen.name)
    with pytest.raises(UnusableData, match=r"already|not empty"):
        write_marks(out, [ONE], chosen.name)
    if not chosen.per_image:
        write_marks(out, [ONE], chosen.name, overwrite=True)


def test_names_and_suffixes_tell_the_format_to_write() -> None:
    for name, wanted in (("x.csv", "csv"), ("x.json", "json"), ("x.geojson", "qupath"), ("x.xml", "voc")):
        assert format_to_write(Path(name)).name == wanted
    with pytest.raises(UnusableData, match="does not tell the format"):
        format_to_write(Path("x.txt"))
    with pytest.raises(UnusableData, match="There is no format “xls”"):
        format_to_write(Path("x.txt"), "xls")


def test_the_documents_have_every_format_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert write_table(text) == text, "python -m docs.formats_table"
    assert all(f"\n## {one.title}\n" in text for one in FORMATS.values())


def test_the_table_names_each_format_as_its_file_says() -> None:
    assert all(name == one.name for name, one in FORMATS.items())
    assert len({one.read.__module__ for one in FORMATS.values()}) == len(FORMATS)
