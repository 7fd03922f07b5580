"""Labels leave a store and come into one, in every format; what cannot be taken in is said and changes nothing."""

import json
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.__main__ import main
from db.engine import Store, open_store
from db.fields import add_field, list_fields, rename
from db.label_export import Labels, export_labels, file_names, marked_images, unfinished_fields
from db.label_import import SWAPPED, ImportSettings, import_labels, preview_import
from db.predictions import save_prediction
from db.reviews import apply_ops, history, replayed, reviews_of, write_events
from mitosis_core.errors import ConcentricError, UnusableData
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.format import Format
from mitosis_core.types import Detections, Field, Prediction, Region
from mitosis_core.vocabulary import VERDICTS
from tests.db.conftest import make_op

WIDTH_PX, HEIGHT_PX = 120, 60
Points = list[tuple[float, float, str]]
BY_ANN = ImportSettings("Ann")


def make_store(folder: Path, names: list[str]) -> Store:
    store = open_store(folder)
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
        add_field(store, Field(pixels, 0.25, name), case=f"case {seed % 2}")
    return store


def add_marks(store: Store, field_id: int, reader: str, points: Points, *, finish: bool = True) -> None:
    ops = [make_op(field_id, seq=n, id=f"m{n}", x=x, y=y, cls=label) for n, (x, y, label) in enumerate(points, 1)]
    ops += [make_op(field_id, "state", seq=len(ops) + 1, state="complete")] if finish else []
    apply_ops(store, field_id, reader, ops)


def marks_of(store: Store, reader: str = "Ann") -> list[list[tuple[float, float, str]]]:
    """Of each field, sorted."""
    reviews = [reviews_of(store, field.id).get(reader) for field in list_fields(store)]
    return [sorted((m.x, m.y, m.verdict) for m in review.standing) if review else [] for review in reviews]


def out_for(folder: Path, chosen: Format) -> Path:
    return folder / f"{uuid.uuid4().hex}{'.zip' if chosen.per_image else chosen.suffixes[0]}"


@pytest.fixture(scope="module")
def two_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    """The same three fields twice."""
    names = ["S1_01.png", "S1_02.png", "S2_01.tif"]
    stores = tuple(make_store(tmp_path_factory.mktemp("stores") / part, names) for part in "ab")
    yield stores[0], stores[1]
    for store in stores:
        store.close()


# Two cells are never nearer than 10 µm: on a grid of 4 px, off its corners by less than one.
places = st.tuples(st.integers(0, 28), st.integers(0, 13), st.floats(0, 0.99), st.floats(0, 0.99))
marked = st.lists(st.tuples(places, st.sampled_from(VERDICTS)), max_size=6, unique_by=lambda one: one[0][:2])


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(drawn=st.lists(marked, min_size=3, max_size=3))
def test_exported_and_imported_the_labels_are_the_same_to_the_precision_of_the_format(
    name: str,
    drawn: list[list[tuple[tuple[int, int, float, float], str]]],
    two_stores: tuple[Store, Store],
    tmp_path: Path,
) -> None:
    chosen, reader = FORMATS[name], f"Reader {uuid.uuid4().hex[:8]}"
    given_out, taking = two_stores
    for field, marks in zip(list_fields(given_out), drawn, strict=True):
        points = [(4 * i + dx, 4 * j + dy, verdict) for (i, j, dx, dy), verdict in marks]
        add_marks(given_out, field.id, reader, points)
    out = out_for(tmp_path, chosen)
    written = export_labels(given_out, out, Labels("reader", reader), format_name=name)
    asked = ImportSettings(reader, name, finish=True)
    before = preview_import(taking, out, asked)
    done = import_labels(taking, out, asked)
    assert before == done and done.total("new") == written.marks.total() and not done.problems
    for sent, came in zip(marks_of(given_out, reader), marks_of(taking, reader), strict=True):
        wanted = [one for one in sent if one[2] in chosen.keeps.labels]
        assert sorted(v for _, _, v in wanted) == sorted(v for _, _, v in came)
        for x, y, verdict in wanted:
            near = [c for c in came if max(abs(c[0] - x), abs(c[1] - y)) <= chosen.keeps.position_px + 1e-6]
            assert [c[2] for c in near] == [verdict]
    again = import_labels(taking, out, asked)
    assert again.total("new") == again.total("changed") == again.total("unplaced") == 0
    assert again.total("there") == written.marks.total()
    for field in list_fields(taking):
        assert replayed(taking, field.id)[1] and replayed(taking, field.id)[0] == reviews_of(taking, field.id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = make_store(tmp_path / "data", ["a.png", "b.png"])
    yield one
    one.close()


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["image,x_px,y_px,label", *rows]) + "\n", encoding="utf-8")
    return path


def test_marks_that_lie_outside_refuse_the_file_with_their_rows_unless_they_are_left_out(
    store: Store, tmp_path: Path
) -> None:
    file = table(tmp_path / "t.csv", "a.png,10,10,mitosis", "a.png,300,10,mitosis", "b.png,5,-7,mitosis")
    shown = preview_import(store, file, BY_ANN)
    assert (shown.total("new"), shown.total("refused"), shown.swapped) == (1, 2, False)
    assert "t.csv, row 3: this mark lies outside the image (120 × 60 px)." in shown.problems
    with pytest.raises(UnusableData, match=r"row 3: .*row 4: .*Nothing was imported"):
        import_labels(store, file, BY_ANN)
    assert marks_of(store) == [[], []]
    import_labels(store, file, replace(BY_ANN, leave_out=True))
    assert marks_of(store) == [[(10, 10, "mitosis")], []]


def test_exchanged_x_and_y_are_noticed_and_can_be_put_right(store: Store, tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", *(f"a.png,{10 + n},{70 + n},mitosis" for n in range(5)), "a.png,3,4,mitosis")
    assert preview_import(store, file, BY_ANN).swapped
    with pytest.raises(UnusableData) as refused:
        import_labels(store, file, BY_ANN)
    assert str(refused.value).startswith(SWAPPED)
    done = import_labels(store, file, replace(BY_ANN, swap_xy=True))
    assert done.total("new") == 6 and not done.swapped and (70, 10, "mitosis") in marks_of(store)[0]


def test_a_finished_field_stays_as_it_is_and_that_is_said(store: Store, tmp_path: Path) -> None:
    first = list_fields(store)[0]
    add_marks(store, first.id, "Ann", [(10, 10, "mitosis")])
    before = history(store, first.id)
    file = table(tmp_path / "t.csv", "a.png,10,10,mitosis", "a.png,50,50,mitosis", "b.png,5,5,unsure")
    done = import_labels(store, file, BY_ANN)
    assert history(store, first.id) == before and marks_of(store)[1] == [(5, 5, "unsure")]
    assert (done.total("there"), done.total("unplaced"), done.total("new")) == (1, 1, 1)
    assert "Ann has finished this field" in done.problems[0] and "reopen it" in done.problems[0]


def test_another_class_is_a_change_that_the_history_keeps(store: Store, tmp_path: Path) -> None:
    first = list_fields(store)[0]
    add_marks(store, first.id, "Ann", [(10, 10, "mitosis")], finish=False)
    done = import_labels(store, table(tmp_path / "t.csv", "a.png,10,10,lookalike"), BY_ANN)
    assert done.total("changed") == 1 and marks_of(store)[0] == [(10, 10, "lookalike")]
    assert [event.kind for event in history(store, first.id)] == ["add", "class"]


def test_a_change_of_class_keeps_what_the_reader_wrote_about_the_mark(store: Store, tmp_path: Path) -> None:
    first = list_fields(store)[0]
    apply_ops(store, first.id, "Ann", [make_op(first.id, x=10, y=10, comment="out of focus")])
    import_labels(store, table(tmp_path / "t.csv", "a.png,10,10,lookalike"), BY_ANN)
    (mark,) = reviews_of(store, first.id)["Ann"].standing
    assert (mark.verdict, mark.comment) == ("lookalike", "out of focus")


def test_a_change_of_class_keeps_the_proposal_that_a_mark_came_from(store: Store, tmp_path: Path) -> None:
    first = list_fields(store)[0]
    found = Detections(np.array([[10, 10]], np.float32), np.array([0.75]), np.array([20.0]))
    number = save_prediction(store, first.id, Prediction(found, 0.5, "v1", 1.0, 0.01))
    apply_ops(store, first.id, "Ann", [make_op(first.id, id=f"p{number}-0", x=10, y=10)])
    import_labels(store, table(tmp_path / "t.csv", "a.png,10,10,lookalike"), BY_ANN)
    (mark,) = reviews_of(store, first.id)["Ann"].standing
    assert (mark.id, mark.verdict, mark.version, mark.score) == (f"p{number}-0", "lookalike", "v1", 0.75)


def test_what_was_imported_deleted_and_imported_again_is_one_mark(store: Store, tmp_path: Path) -> None:
    first, file = list_fields(store)[0], table(tmp_path / "t.csv", "a.png,10,10,mitosis")
    import_labels(store, file, BY_ANN)
    (mark,) = reviews_of(store, first.id)["Ann"].marks
    op = make_op(first.id, "delete", id=mark.id, x=10, y=10, base=99)
    apply_ops(store, first.id, "Ann", [op])
    import_labels(store, file, BY_ANN)
    assert len(reviews_of(store, first.id)["Ann"].marks) == 1 and marks_of(store)[0] == [(10, 10, "mitosis")]


def test_what_was_imported_and_moved_by_the_reader_stays_where_the_reader_put_it(store: Store, tmp_path: Path) -> None:
    first, file = list_fields(store)[0], table(tmp_path / "t.csv", "a.png,10,10,mitosis")
    import_labels(store, file, BY_ANN)
    (mark,) = reviews_of(store, first.id)["Ann"].marks
    assert not apply_ops(store, first.id, "Ann", [make_op(first.id, "move", id=mark.id, x=70, y=40, base=99)]).refused
    done = import_labels(store, file, BY_ANN)
    assert marks_of(store)[0] == [(70, 40, "mitosis")] and (done.total("new"), done.total("there")) == (0, 1)


def test_a_name_is_found_in_either_spelling_of_its_letters(tmp_path: Path) -> None:
    """macOS writes ü as u and two dots."""
    store = open_store(tmp_path / "data")
    pixels = np.zeros((40, 40, 3), np.uint8)
    field, _ = add_field(store, Field(pixels, 0.25, unicodedata.normalize("NFD", "Müller_01.png")), case="Mu\u0308ller")
    assert (field.name, field.case) == ("Müller_01.png", "Müller")
    rows = unicodedata.normalize("NFD", "Müller_01.png,10,10,mitosis")
    import_labels(store, table(tmp_path / "t.csv", rows), BY_ANN)
    assert reviews_of(store, field.id)["Ann"].count("mitosis") == 1


def test_images_are_found_by_their_pixels_before_their_name(store: Store, tmp_path: Path) -> None:
    first, second = list_fields(store)
    entry = {"image": "b.png", "digest": first.digest, "marks": [{"x_px": 1, "y_px": 2, "label": "mitosis"}]}
    file = tmp_path / "t.json"
    file.write_text(json.dumps([entry]))
    import_labels(store, file, BY_ANN)
    assert marks_of(store) == [[(1, 2, "mitosis")], []]
    file.write_text(json.dumps([{**entry, "image": "b.png", "digest": "ab" * 32}]))
    done = import_labels(store, file, BY_ANN)
    assert "no field with these pixels is stored here. One of this name is" in done.problems[0]
    assert done.total("unplaced") == 1 and second.name == "b.png"


def test_another_size_of_the_image_is_said_and_nothing_is_taken_from_it(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    marks = [{"x_px": 1, "y_px": 2, "label": "mitosis"}]
    file.write_text(json.dumps([{"image": "a.png", "width_px": 240, "height_px": 120, "marks": marks}]))
    done = import_labels(store, file, BY_ANN)
    assert "said to have 240 × 120 px, but it has 120 × 60 px" in done.problems[0] and marks_of(store) == [[], []]


def test_names_that_several_fields_have_are_told_apart_in_files_and_found_again(tmp_path: Path) -> None:
    store = make_store(tmp_path / "same", ["a.png", "A.tif", "b/c.png"])
    fields = list_fields(store)
    names = file_names(fields)
    assert names == {1: f"a-{fields[0].digest[:8]}.png", 2: f"A-{fields[1].digest[:8]}.tif", 3: "b_c.png"}
    for field in fields:
        add_marks(store, field.id, "Ann", [(field.id, 5, "mitosis")])
    out = tmp_path / "t.zip"
    export_labels(store, out, Labels("reader", "Ann"), format_name="tupac16")
    done = import_labels(store, out, ImportSettings("Bob", "tupac16"))
    assert not done.problems and marks_of(store, "Bob") == [
        [(1, 5, "mitosis")],
        [(2, 5, "mitosis")],
        [(3, 5, "mitosis")],
    ]
    done = preview_import(store, table(tmp_path / "t.csv", "a,10,10,mitosis"), BY_ANN)
    assert "2 stored fields are called so" in done.problems[0]
    store.close()


def test_the_same_place_with_two_labels_is_refused_until_one_reader_is_chosen(store: Store, tmp_path: Path) -> None:
    first = list_fields(store)[0]
    add_marks(store, first.id, "Ann", [(10, 10, "mitosis")])
    add_marks(store, first.id, "Bob", [(10, 10, "lookalike"), (50, 50, "unsure")])
    out = tmp_path / "all.csv"
    export_labels(store, out, Labels("readers"))
    with pytest.raises(UnusableData, match=r"rows 2 and 3: the same place is mitosis and lookalike, by Ann and Bob"):
        preview_import(store, out, ImportSettings("Cem"))
    import_labels(store, out, ImportSettings("Cem", of_reader="Bob"))
    assert marks_of(store, "Cem")[0] == [(10, 10, "lookalike"), (50, 50, "unsure")]


def test_a_place_that_stands_twice_comes_once(store: Store, tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "a.png,10,10,mitosis", "a.png,10,10,mitosis")
    assert import_labels(store, file, BY_ANN).total("new") == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("image;x_px;y_px;label\na.png;1;2;mitosis\n", "separated by semicolons"),
        ('image,x_px,y_px,label\na.png,"1,5",2,mitosis\n', r"Row 2: x_px must be a number with a decimal point"),
        ("image,x_px,y_px,label\na.png,1,2,mitosis\nb.png,nan,2,mitosis\n", "Row 3: x_px must be a number"),
        ("image,x_px,y_px,label\na.png,1,2,mitosis\nb.png,1,2,tumour\n", "row 3: the class “tumour” is not known"),
        ("image,x_px,y_px,label\na.png,1,2,mitosis\nb.png,1,-2,mitosis\n", "row 3: this mark lies outside"),
    ],
)
def test_one_wrong_row_and_nothing_is_imported(content: str, sentence: str, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UnusableData, match=sentence) as refused:
        import_labels(store, file, BY_ANN)
    assert "t.csv" in str(refused.value) and marks_of(store) == [[], []]


def test_a_byte_order_mark_does_no_harm(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(b"\xef\xbb\xbfimage,x_px,y_px,label\r\na.png,1,2,mitosis\r\n")
    assert import_labels(store, file, BY_ANN).total("new") == 1


def test_a_failure_in_the_middle_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def failing(session: object, field_id: int, *rest: object) -> object:
        if field_id == 2:
            raise ConcentricError("stop")
        return write_events(session, field_id, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("db.label_import.write_events", failing)
    file = table(tmp_path / "t.csv", "a.png,1,2,mitosis", "b.png,1,2,mitosis")
    with pytest.raises(ConcentricError, match="stop"):
        import_labels(store, file, BY_ANN)
    assert marks_of(store) == [[], []] and history(store, 1) == []


def test_unfinished_fields_and_readers_are_left_out_unless_asked_for(store: Store, tmp_path: Path) -> None:
    first, second = list_fields(store)
    add_marks(store, first.id, "Ann", [(10, 10, "mitosis")])
    add_marks(store, second.id, "Ann", [(10, 10, "mitosis")], finish=False)
    ann = Labels("reader", "Ann")
    assert [image.name for image in marked_images(store, ann)] == ["a.png"] and unfinished_fields(store, ann) == 1
    assert len(list(marked_images(store, replace(ann, unfinished=True)))) == 2
    with pytest.raises(UnusableData, match="Bob has finished none"):
        export_labels(store, tmp_path / "x.csv", Labels("reader", "Bob"))
    with pytest.raises(UnusableData, match="does not say who marked a cell"):
        export_labels(store, tmp_path / "x.json", Labels("readers"), format_name="midog")


def test_detections_leave_above_the_threshold(store: Store, tmp_path: Path) -> None:
    first = list_fields(store)[0]
    found = Detections(np.array([[1, 2], [3, 4]], np.float32), np.array([0.9, 0.3]), np.array([20.0, 20.0]))
    save_prediction(store, first.id, Prediction(found, 0.5, "v1", 1.0, 0.01))
    (image,) = marked_images(store, Labels("version", "v1"))
    assert [(mark.x_px, mark.label, mark.reader) for mark in image.marks] == [(1, "mitosis", "v1")]
    (image,) = marked_images(store, Labels("version", "v1", 0.2))
    assert len(image.marks) == 2
    with pytest.raises(UnusableData, match="v2 has analysed none"):
        export_labels(store, tmp_path / "x.csv", Labels("version", "v2"))


def test_the_commands(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, data = table(tmp_path / "t.csv", "a.png,10,10,cell", "a.png,300,10,cell"), ["--data", str(store.folder)]
    asked = ["import", str(file), "--reader", "Ann", *data]
    assert main(asked) == 2 and "the class “cell” is not known" in capsys.readouterr().err
    mapped = [*asked, "--map", "cell=unsure"]
    assert main(mapped) == 2 and "row 3" in capsys.readouterr().err
    assert main([*mapped, "--dry-run"]) == 1
    assert "1 new mark; 0 already there; 1 outside their image" in capsys.readouterr().out
    assert marks_of(store) == [[], []]
    assert main([*mapped, "--leave-out", "--finish"]) == 1 and marks_of(store)[0] == [(10, 10, "unsure")]
    out = tmp_path / "x.geojson"
    assert main(["export", "--reader", "Ann", "--case", "case 0", "--out", str(out), *data]) == 0
    assert "1 image, 1 mark (1 unsure)." in capsys.readouterr().out and out.is_file()
    assert main(["export", "--reader", "Ann", "--case", "none", "--out", str(out), *data]) == 2
    assert main(["export", "--reader", "Ann", "--out", str(out), *data]) == 2
    assert "already" in capsys.readouterr().err
    assert main(["export", "--consensus", "--format", "coco", "--out", str(tmp_path / "x.json"), *data]) == 0


def test_renamed_fields_are_found_by_their_pixels(store: Store, tmp_path: Path) -> None:
    first = list_fields(store)[0]
    add_marks(store, first.id, "Ann", [(10, 10, "mitosis")])
    export_labels(store, tmp_path / "x.csv", Labels("reader", "Ann"))
    rename(store, first.id, "other.png")
    assert import_labels(store, tmp_path / "x.csv", ImportSettings("Bob")).total("new") == 1


def test_what_leaves_the_store_opens_in_the_readers_of_others(store: Store, tmp_path: Path) -> None:
    coco_reader = pytest.importorskip("pycocotools.coco")
    geojson, shapely = pytest.importorskip("geojson"), pytest.importorskip("shapely.geometry")
    roifile = pytest.importorskip("roifile")
    first, second = list_fields(store)
    add_marks(store, first.id, "Ann", [(10, 20, "mitosis"), (30, 40, "lookalike")])
    add_marks(store, second.id, "Ann", [])
    for name in ("coco", "qupath", "imagej"):
        export_labels(
            store, tmp_path / f"{name}{'.json' if name == 'coco' else ''}", Labels("reader", "Ann"), format_name=name
        )
    coco = coco_reader.COCO(str(tmp_path / "coco.json"))
    (mitoses,) = coco.getCatIds(catNms=["mitotic figure"])
    assert len(coco.getImgIds()) == 2 and len(coco.getAnnIds(catIds=[mitoses])) == 1
    features = geojson.loads((tmp_path / "qupath" / "a.geojson").read_text(encoding="utf-8"))
    assert features.is_valid
    (x, y) = shapely.shape(features["features"][0]["geometry"]).coords[0]
    assert {(10.5, 20.5), (30.5, 40.5)} >= {(x, y)}  # QuPath counts from the corner of the first pixel
    rois = roifile.roiread(tmp_path / "imagej" / "a.zip")
    assert sorted(tuple(roi.coordinates()[0].tolist()) for roi in rois) == [(10, 20), (30, 40)]


def review_part(store: Store, field_id: int, reader: str, edges: list[float]) -> None:
    """One mark in a part of the field, which is finished."""
    sent = [
        make_op(field_id, seq=1, id="m1", x=edges[0] + 5, y=edges[1] + 5),
        make_op(field_id, "area", seq=2, area=edges),
        make_op(field_id, "state", seq=3, state="complete"),
    ]
    apply_ops(store, field_id, reader, sent)


def parts_in_a_file(store: Store, folder: Path, parts: dict[str, list[float]]) -> Path:
    """Labels of readers who each reviewed a part of the first field, in Concentric's own JSON."""
    for reader, edges in parts.items():
        review_part(store, list_fields(store)[0].id, reader, edges)
    export_labels(store, folder / "labels.json", Labels("readers"))
    return folder / "labels.json"


def test_the_reviewed_area_leaves_and_comes_back_in_concentrics_own_json(store: Store, tmp_path: Path) -> None:
    first = list_fields(store)[0].id
    out = parts_in_a_file(store, tmp_path, {"Ann": [0, 0, 60, 40], "Ben": [20, 0, 80, 40]})
    other = make_store(tmp_path / "other", ["a.png", "b.png"])
    import_labels(other, out, ImportSettings("Cy", of_reader="Ann", finish=True))
    import_labels(other, out, ImportSettings("Dee", finish=True))
    back = reviews_of(other, first)
    assert back["Cy"].area == Region(0, 0, 60, 40) and back["Cy"].state == "complete"
    assert back["Dee"].area == Region(20, 0, 60, 40), "what both of them reviewed"
    assert replayed(other, first) == (back, True)
    assert import_labels(other, out, ImportSettings("Cy", of_reader="Ann", finish=True)).total("there") == 1
    other.close()


def test_a_reader_who_has_begun_keeps_the_area_that_is_theirs(store: Store, tmp_path: Path) -> None:
    first = list_fields(store)[0].id
    out = parts_in_a_file(store, tmp_path, {"Ann": [0, 0, 60, 40]})
    add_marks(store, first, "Ben", [(100, 50, "mitosis")], finish=False)
    import_labels(store, out, ImportSettings("Ben"))
    assert reviews_of(store, first)["Ben"].area is None


@pytest.mark.parametrize("name", [one.name for one in FORMATS.values() if one.keeps.comment])
def test_comments_leave_and_come_back(tmp_path: Path, name: str) -> None:
    here, there = (make_store(tmp_path / part, ["S1_01.png"]) for part in "ab")
    (field,) = list_fields(here)
    add_marks(here, field.id, "Ann", [(20, 10, "mitosis"), (90, 40, "lookalike")], finish=False)
    told = make_op(field.id, "class", seq=3, id="m2", x=90.0, y=40.0, cls="unsure", comment="Köln, “tripolar”?")
    apply_ops(here, field.id, "Ann", [told, make_op(field.id, "state", seq=4, state="complete")])
    out = out_for(tmp_path, FORMATS[name])
    export_labels(here, out, Labels("reader", "Ann"), format_name=name)
    assert import_labels(there, out, replace(BY_ANN, format_name=name)).total("new") == 2
    (review,) = (reviews_of(there, one.id)["Ann"] for one in list_fields(there))
    assert sorted((mark.verdict, mark.comment) for mark in review.standing) == [
        ("mitosis", None),
        ("unsure", "Köln, “tripolar”?"),
    ]


def test_areas_that_share_nothing_are_a_sentence(store: Store, tmp_path: Path) -> None:
    out = parts_in_a_file(store, tmp_path, {"Ann": [0, 0, 30, 40], "Ben": [40, 0, 80, 40]})
    with pytest.raises(UnusableData, match=r"no part of it together; please choose one reader"):
        preview_import(store, out, ImportSettings("Cy"))
