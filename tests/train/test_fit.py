"""From examples to a version: split by slide, chosen on held-out fields, written with its card."""

import csv
import dataclasses
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import train.fit
from mitosis_core import load_model, predict
from mitosis_core.errors import UnusableData
from mitosis_core.methods import METHODS
from mitosis_core.methods.method import DetectorNet
from mitosis_core.methods.segmitos import LiteFCN
from mitosis_core.model import DEFAULT_VERSION, Model
from mitosis_core.types import Detections
from tests.core.tiny_encoder import TinyEncoder
from train.__main__ import main
from train.config import TrainConfig
from train.data.examples import Example, digest, read_examples, read_patches
from train.data.labels import boxes_of_masks
from train.data.patches import Tissue, false_detections
from train.fit import TrainingJob, fit, folds_by_slide, last_snapshot, member_jobs, plan_jobs, snapshots, train_all
from train.selection import evaluation
from train.selection.evaluation import BACKGROUND_SHARE, POSTPROCESSING


def test_folds_never_split_a_slide(drawn: list[Example]) -> None:
    assert folds_by_slide(drawn) == [["slide0"], ["slide1"]]
    many = [dataclasses.replace(drawn[0], slide=f"s{i:02d}") for i in range(12)]
    folds = folds_by_slide(many)
    assert len(folds) == 5 and sorted(s for fold in folds for s in fold) == sorted(e.slide for e in many)


def test_one_slide_is_refused(drawn: list[Example]) -> None:
    with pytest.raises(UnusableData, match="one slide"):
        folds_by_slide([e for e in drawn if e.slide == "slide0"])


def test_the_digest_knows_pixels_labels_and_scale_but_no_order(drawn: list[Example]) -> None:
    assert digest(drawn) == digest(drawn[::-1])
    moved = dataclasses.replace(drawn[0], mitoses_xy_px=drawn[0].mitoses_xy_px + 1)
    assert digest([moved, *drawn[1:]]) != digest(drawn)


@pytest.mark.slow
@pytest.mark.usefixtures("pretrained_is_random")
def test_fit_writes_a_version_that_detects(drawn: list[Example], quick: TrainConfig, tmp_path: Path) -> None:
    # Long enough that something is found in every fold: a threshold cannot be chosen on nothing.
    config = dataclasses.replace(
        quick, steps=24, batch=6, lr=1e-3, lr_head=3e-3, mine_every=0, validate_every=24, ema=0.5, members=2
    )
    out = tmp_path / "mine.safetensors"
    model = fit(drawn, [], config, out, work=tmp_path / "work")
    loaded = load_model(out)
    assert isinstance(loaded, Model) and loaded.card == model.card
    card = loaded.card
    assert card.version == "mine" and card.data["mitoses"] == 12 and card.data["sha256"] == digest(drawn)
    assert card.split["held out in turn"] == [["slide0"], ["slide1"]]
    assert 0 < card.raw_threshold < 1 and card.training["step kept"] == 24
    assert predict(drawn[0].field, loaded, device="cpu").version == "mine"
    single = dataclasses.replace(config, members=1)
    # A second call trains nothing anew.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "work").rglob("*.pt")}
    fit(drawn, [], config, out, work=tmp_path / "work")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "work").rglob("*.pt")} == before
    assert snapshots(TrainingJob("x", tuple(drawn), (), single, tmp_path / "work")).keys() == {24}


def write_set(folder: Path, examples: list[Example]) -> Path:
    table = folder / "annotations.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "slide", "x_px", "y_px", "label", "um_per_px"])
        for e in examples:
            Image.fromarray(e.field.pixels).save(folder / f"{e.field.digest[:8]}.png")
            for label, points in (("mitosis", e.mitoses_xy_px), ("lookalike", e.lookalikes_xy_px)):
                rows.writerows([[f"{e.field.digest[:8]}.png", e.slide, x, y, label, 0.25] for x, y in points])
    return table


def test_the_shipped_version_is_calibrated_as_a_training_would_today() -> None:
    card = load_model().card
    assert card.calibration is not None and card.calibration.share == BACKGROUND_SHARE
    assert card.blobs == POSTPROCESSING


def test_reading_a_set_gives_it_back(drawn: list[Example], tmp_path: Path) -> None:
    read = read_examples(write_set(tmp_path, drawn), tmp_path)
    assert digest(read) == digest(drawn)
    assert sum(len(e.lookalikes_xy_px) for e in read) == 12


def test_the_command_line_answers_bad_input_with_a_sentence(
    drawn: list[Example], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_set(tmp_path, drawn[:1])
    common = ["fit", "--images", str(tmp_path), "--out", str(tmp_path / "o.safetensors")]
    assert main([*common, "--annotations", str(table)]) == 2
    assert "one slide" in capsys.readouterr().err
    assert main([*common, "--annotations", str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
    assert main([*common, "--annotations", str(table), "--steps", "0"]) == 2
    assert "steps must lie between" in capsys.readouterr().err
    empty = tmp_path / "empty.csv"
    empty.write_text(
        "image,slide,x_px,y_px,label,um_per_px\n" + f"{drawn[0].field.digest[:8]}.png,a,5,5,lookalike,0.25\n"
    )
    assert main([*common, "--annotations", str(empty)]) == 2
    assert "no mitosis" in capsys.readouterr().err


def test_masks_are_read_beside_images(drawn: list[Example], tmp_path: Path) -> None:
    table = write_set(tmp_path, drawn[:1])
    (tmp_path / "masks").mkdir()
    mask = np.zeros(drawn[0].field.pixels.shape[:2], np.uint8)
    mask[10:20, 10:20] = 1
    Image.fromarray(mask).save(tmp_path / "masks" / f"{drawn[0].field.digest[:8]}.png")
    (example,) = read_examples(table, tmp_path, tmp_path / "masks")
    assert example.mask is not None and (example.mask == mask).all()


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.zeros((128, 256), np.uint8), "256 × 128 pixels, its image 256 × 256; both must be of one size"),
        (np.zeros((128, 128), np.uint8), "both must be of one size"),
        (np.zeros((256, 256, 3), np.uint8), "is a colour image"),
        (np.full((256, 256), 255, np.uint8), "a figure number 255; they go from 1 to 254"),
        (np.full((256, 256), 300, np.uint16), "a figure number 300"),
        (None, "is damaged or not a PNG"),
    ],
)
def test_an_unusable_mask_is_a_sentence(
    drawn: list[Example], tmp_path: Path, mask: np.ndarray | None, sentence: str
) -> None:
    table = write_set(tmp_path, drawn[:1])
    (tmp_path / "masks").mkdir()
    path = tmp_path / "masks" / f"{drawn[0].field.digest[:8]}.png"
    path.write_bytes(b"no mask") if mask is None else Image.fromarray(mask).save(path)
    with pytest.raises(UnusableData, match=f"The mask {path.name} .*{sentence}"):
        read_examples(table, tmp_path, tmp_path / "masks")
    with pytest.raises(UnusableData, match="There is no folder"):
        read_examples(table, tmp_path, tmp_path / "no masks")


def test_objects_of_known_size_are_ellipses(drawn: list[Example], tmp_path: Path) -> None:
    Image.fromarray(drawn[0].field.pixels).save(tmp_path / "a.png")
    table = tmp_path / "sized.csv"
    table.write_text(
        "image,x_px,y_px,label,um_per_px,object_width_px,object_height_px\n"
        "a.png,100,60,mitosis,0.25,41,21\na.png,200,60,mitosis,0.25,5,7\n"
    )
    (example,) = read_examples(table, tmp_path)
    assert example.mask is not None
    assert boxes_of_masks(example.mask).tolist() == [[80, 50, 121, 71], [198, 57, 203, 64]]
    table.write_text(table.read_text().replace("41,21", "256,256"))  # the size of the image, not of an object
    with pytest.raises(UnusableData, match=r"a\.png: An object is as large as its image"):
        read_examples(table, tmp_path)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("image,um_per_px\np.png,fine\n", "Row 2: um_per_px must be a number, not “fine”"),
        ("image,um_per_px\np.png,\n", "Row 2: um_per_px must be a number"),
        ("image,um_per_px\n,0.25\n", "Row 2: image is blank"),
        ("image\np.png\n", "no column um_per_px"),
        (None, "patches.csv cannot be opened"),
    ],
)
def test_an_unusable_table_of_patches_is_a_sentence(tmp_path: Path, rows: str | None, sentence: str) -> None:
    if rows is not None:
        (tmp_path / "patches.csv").write_text(rows)
    with pytest.raises(UnusableData, match=sentence):
        read_patches(tmp_path / "patches.csv", tmp_path)


def test_labels_drawn_from_masks_need_one(drawn: list[Example], quick: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(quick, labels="ellipse")
    with pytest.raises(UnusableData, match="“ellipse” are drawn from masks"):
        plan_jobs(drawn, [], config, tmp_path)
    masked = dataclasses.replace(drawn[0], mask=np.zeros((256, 256), np.uint8))
    assert len(plan_jobs([masked, *drawn[1:]], [], config, tmp_path)[0]) == 2
    with pytest.raises(ValueError, match=r"labels must be one of .*ellipse, not square"):
        dataclasses.replace(quick, labels="square")


def test_the_command_line_estimates_masks_and_says_so_in_the_card(
    drawn: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}

    def instead(fields: list[Example], *_: object, provenance: train.fit.Provenance, **__: object) -> None:
        given.update(masks=[e.mask for e in fields], **provenance.data)
        raise UnusableData("far enough")

    monkeypatch.setattr(train.fit, "fit", instead)
    command = [
        "fit",
        "--annotations",
        str(write_set(tmp_path, drawn[:2])),
        "--images",
        str(tmp_path),
        "--out",
        str(tmp_path / "o.safetensors"),
    ]
    assert main(command) == 2 and given["masks"] == [None, None] and "boxes" not in given
    assert main([*command, "--segmenter", "nobody"]) == 2
    assert "no version or file “nobody”" in capsys.readouterr().err
    assert main([*command, "--segmenter", DEFAULT_VERSION]) == 2
    assert given["boxes"] == f"estimated by {DEFAULT_VERSION}" and all(m.max() == 3 for m in given["masks"])


# ---------------------------------------------------------------- a network that starts from a coarser one


class Chained(LiteFCN):
    def start_from(self, coarser: DetectorNet) -> None:
        self.load_state_dict(coarser.state_dict())


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks "8s", "16s" and "32s", each from the next, in no time."""
    tiny = dataclasses.replace(
        METHODS["segmitos"], build=lambda *_: Chained(TinyEncoder(), 8), coarser={"8s": "16s", "16s": "32s"}
    )
    monkeypatch.setitem(METHODS, "segmitos", tiny)


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.usefixtures("chain")
def test_a_finer_network_starts_from_the_coarser_one_of_the_same_data(
    drawn: list[Example], quick: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, set[str], torch.Tensor]] = []
    real = train.fit.fit_net

    def spy(net: DetectorNet, examples: tuple[Example, ...], config: TrainConfig, **rest: Any) -> DetectorNet:
        trained.append((config.encoder, {e.slide for e in examples}, weights(net).clone()))
        return real(net, examples, config, **rest)

    monkeypatch.setattr(train.fit, "fit_net", spy)
    config = dataclasses.replace(quick, encoder="8s", frozen_stages=0)
    folds, final = plan_jobs(drawn, [], config, tmp_path)
    todo = [job for members in (*folds, final) for job in members]
    train_all(todo, 1, lambda title, step: None)
    assert sorted(encoder for encoder, _, _ in trained) == ["16s"] * 3 + ["32s"] * 3 + ["8s"] * 3
    for job in todo:
        slides = {e.slide for e in job.train}
        mine = [one for one in trained if one[1] == slides]
        assert [encoder for encoder, _, _ in mine] == ["32s", "16s", "8s"]
        middle = job.coarser
        assert middle is not None and middle.coarser is not None and middle.coarser.coarser is None
        for start, before in zip(mine[1:], (middle.coarser, middle), strict=True):
            end = Chained(TinyEncoder(), 8)
            end.load_state_dict(torch.load(snapshots(before)[config.steps], weights_only=True))
            assert torch.equal(start[2], weights(end))
    train_all(todo, 1, lambda title, step: None)
    assert len(trained) == 9  # nothing is trained twice


@pytest.mark.usefixtures("chain")
def test_parallel_jobs_do_not_train_the_same_coarser_network(
    drawn: list[Example], quick: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[list[TrainingJob]] = []

    class Pool:
        def __init__(self, *_: object) -> None:
            pools.append([])

        def __enter__(self) -> "Pool":
            return self

        def __exit__(self, *_: object) -> None:
            for job in pools[-1]:  # done only when the pool is
                job.folder.mkdir(parents=True)
                (job.folder / f"{job.config.steps:07d}.pt").touch()

        def submit(self, run: Callable[[TrainingJob], None], job: TrainingJob) -> Future[None]:
            pools[-1].append(job)
            future: Future[None] = Future()
            future.set_result(None)
            return future

    monkeypatch.setattr(train.fit, "ProcessPoolExecutor", Pool)
    fine = TrainingJob("all", tuple(drawn), (), dataclasses.replace(quick, encoder="16s"), tmp_path)
    finest = dataclasses.replace(fine, config=dataclasses.replace(quick, encoder="8s"))
    train_all([finest, fine], 2, lambda title, step: None)
    done: set[Path] = set()
    for pool in pools:
        folders = [job.folder for job in pool]
        assert len(set(folders)) == len(folders) and not done & set(folders)
        assert all(job.coarser is None or job.coarser.folder in done for job in pool)
        done |= set(folders)
    assert len(done) == 3


# ---------------------------------------------------------------- networks that are averaged


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, torch.Tensor]]:
    """Seed, steps and first weights of every network that is trained."""
    begun: list[tuple[int, int, torch.Tensor]] = []
    real = train.fit.fit_net

    def spy(net: DetectorNet, examples: tuple[Example, ...], config: TrainConfig, **rest: Any) -> DetectorNet:
        begun.append((config.seed, config.steps, weights(net).clone()))
        return real(net, examples, config, **rest)

    monkeypatch.setattr(train.fit, "fit_net", spy)
    return begun


@pytest.mark.usefixtures("chain")
def test_averaged_networks_start_alike_see_other_crops_and_become_their_mean(
    drawn: list[Example], quick: TrainConfig, tmp_path: Path, starts: list[tuple[int, int, torch.Tensor]]
) -> None:
    config = dataclasses.replace(quick, averaged=3, members=2, seed=7, frozen_stages=0)
    first, second = member_jobs("all", drawn, [], set(), config, tmp_path)
    train_all([first, second], 1, lambda title, step: None)
    assert [seed for seed, *_ in starts] == [7, 1007, 2007, 8, 1008, 2008]
    assert all(torch.equal(start, starts[0][2]) for *_, start in starts[:3])
    assert all(torch.equal(start, starts[3][2]) for *_, start in starts[3:])
    assert not torch.equal(starts[0][2], starts[3][2])
    for step, file in snapshots(first).items():
        parts = [torch.load(snapshots(one)[step], weights_only=True) for one in first.averaged]
        assert not torch.equal(parts[0]["classify.weight"], parts[1]["classify.weight"])
        for name, mean in torch.load(file, weights_only=True).items():
            if mean.is_floating_point():
                torch.testing.assert_close(mean, sum(one[name] for one in parts) / 3)
    train_all([first, second], 1, lambda title, step: None)
    assert len(starts) == 6  # nothing is trained twice


@pytest.mark.usefixtures("chain")
def test_averaged_networks_of_a_chain_share_its_coarser_network(
    drawn: list[Example], quick: TrainConfig, tmp_path: Path
) -> None:
    job = TrainingJob("all", tuple(drawn), (), dataclasses.replace(quick, encoder="16s", averaged=2), tmp_path)
    first, second = job.averaged
    assert first.coarser and second.coarser and first.coarser.folder == second.coarser.folder
    assert not first.coarser.averaged


@pytest.mark.usefixtures("chain")
def test_in_a_second_round_all_go_on_from_the_average_and_are_averaged_again(
    drawn: list[Example], quick: TrainConfig, tmp_path: Path, starts: list[tuple[int, int, torch.Tensor]]
) -> None:
    once = dataclasses.replace(quick, averaged=2, seed=7, frozen_stages=0)
    [first] = member_jobs("all", drawn, [], set(), dataclasses.replace(once, members=1), tmp_path)
    [second] = member_jobs("all", drawn, [], set(), dataclasses.replace(once, members=1, second_steps=2), tmp_path)
    train_all([second], 1, lambda title, step: None)
    assert [(seed, steps) for seed, steps, _ in starts] == [(7, 4), (1007, 4), (507, 2), (1507, 2)]
    average = torch.load(last_snapshot(first), weights_only=True)
    whole = METHODS[quick.method].build(quick.encoder, False, quick.variant)
    whole.load_state_dict(average)
    assert all(torch.equal(start, weights(whole)) for *_, start in starts[2:])
    assert list(snapshots(second)) == [2] and last_snapshot(second).exists()
    parts = [torch.load(last_snapshot(one), weights_only=True)["classify.weight"] for one in second.averaged]
    assert not torch.equal(*parts)
    torch.testing.assert_close(torch.load(last_snapshot(second), weights_only=True)["classify.weight"], sum(parts) / 2)
    train_all([first, second], 1, lambda title, step: None)
    assert len(starts) == 4  # nothing is trained twice


def test_the_first_of_averaged_networks_is_the_one_trained_by_itself(
    drawn: list[Example], quick: TrainConfig, tmp_path: Path
) -> None:
    alone = TrainingJob("all", tuple(drawn), (), quick, tmp_path)
    three = dataclasses.replace(alone, config=dataclasses.replace(quick, averaged=3))
    folders = [one.folder for one in three.averaged]
    assert folders[0] == alone.folder and len({three.folder, *folders}) == 4
    later = dataclasses.replace(quick, seed=1000)  # its first weights are others
    assert TrainingJob("all", tuple(drawn), (), later, tmp_path).folder != folders[1]


def test_other_scanners_are_another_training(drawn: list[Example], quick: TrainConfig, tmp_path: Path) -> None:
    """Crops are drawn scanner by scanner, so the networks differ."""
    examples = [dataclasses.replace(e, scanner="A") for e in drawn]
    others = [dataclasses.replace(examples[0], scanner="B"), *examples[1:]]
    jobs = [TrainingJob("all", tuple(some), (), quick, tmp_path) for some in (examples, others, examples[::-1])]
    assert jobs[0].folder == jobs[2].folder != jobs[1].folder


def test_outputs_at_another_scale_are_made_anew(drawn: list[Example], tmp_path: Path) -> None:
    example = drawn[0]
    corrected = dataclasses.replace(example, field=dataclasses.replace(example.field, um_per_px=2 * example.um_per_px))
    assert evaluation._kept(tmp_path / "1.pt", example) != evaluation._kept(tmp_path / "1.pt", corrected)


def test_a_false_detection_on_ignored_tissue_is_no_hard_negative() -> None:
    """By hand, at 1 µm/px: one on the mitosis, one beside it, one where nothing counts."""
    ignored = np.zeros((50, 50), np.uint8)
    ignored[:, 40:] = 1
    none = np.zeros((0, 2), np.float32)
    mitosis = np.array([[10, 10]], np.float32)
    tissue = Tissue(np.zeros((50, 50, 3), np.uint8), mitosis, none, None, True, none, ignored)
    xy = np.array([[11, 10], [30, 30], [45, 30]], np.float32)
    found = Detections(xy, np.full(3, 0.9, np.float32), np.zeros(3, np.float32))
    assert false_detections(found, tissue, 1.0).tolist() == [[30, 30]]


@pytest.mark.parametrize("place", ["99999,20", "20,-0.6"])
def test_a_mark_outside_its_image_is_a_sentence(tmp_path: Path, place: str) -> None:
    Image.fromarray(np.full((64, 96, 3), 200, np.uint8)).save(tmp_path / "a.png")
    table = tmp_path / "a.csv"
    table.write_text(f"image,x_px,y_px,label,um_per_px\na.png,10,10,mitosis,0.25\na.png,{place},mitosis,0.25\n")
    with pytest.raises(UnusableData, match=r"a\.png: the mark at .* lies outside the image of 96 × 64 pixels"):
        read_examples(table, tmp_path)
