"""Boxes out of centroids, the loss, and the training of a verifier."""

import dataclasses

import numpy as np
import pytest
import torch

from mitosis_core import load_model
from mitosis_core.errors import UnusableData, UnusableModel
from mitosis_core.methods.deepmitosis import build
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Detections, Field, ProbabilityMap
from train.config import TrainConfig
from train.data.examples import Example
from train.data.labels import boxes_of_masks
from train.data.patches import prepare
from train.methods.deepmitosis import DEFAULTS, estimated_masks, loss, with_estimated_masks
from train.selection.verifier import VerifierConfig, best_weight, collect_patches, fit_verifier, fused_fields

SHAPE = (160, 160)  # pixels of 0.25 µm; the maps below have cells of 4 px


def _map(*blobs: tuple[int, int, int, int]) -> ProbabilityMap:
    """1 on the cells left, top, right, bottom of each blob."""
    values = np.zeros((40, 40), np.float32)
    for left, top, right, bottom in blobs:
        values[top:bottom, left:right] = 1
    return ProbabilityMap(values, (4.0, 4.0), 0.25)


def _boxes(found: ProbabilityMap, *xy: tuple[float, float]) -> list[list[float]]:
    masks = estimated_masks(found, np.array(xy, np.float32), SHAPE)
    return boxes_of_masks(masks).tolist()


def test_the_blob_under_a_centroid_gives_its_box() -> None:
    assert _boxes(_map((10, 12, 18, 24)), (55.0, 70.0)) == [[40, 48, 72, 96]]


def test_without_a_blob_the_box_is_the_papers_30_px() -> None:
    assert _boxes(_map((0, 0, 5, 5)), (80.0, 60.0)) == [[65, 45, 95, 75]]
    assert _boxes(_map(), (2.0, 158.0)) == [[0, 143, 17, 160]]  # cut at the border


def test_a_blob_too_large_for_a_figure_is_no_figure() -> None:
    assert _boxes(_map((2, 2, 38, 12)), (80.0, 30.0)) == [[65, 15, 95, 45]]  # 36 µm wide


def test_two_centroids_share_a_blob() -> None:
    left, right = _boxes(_map((10, 10, 20, 16)), (48.0, 52.0), (72.0, 52.0))
    assert left == [40, 40, 61, 64] and right == [61, 40, 80, 64]


def test_a_version_estimates_the_masks_of_fields_without_one(drawn: list[Example]) -> None:
    known = dataclasses.replace(drawn[1], mask=np.ones(drawn[1].field.pixels.shape[:2], np.uint8))
    patch = dataclasses.replace(drawn[2], whole_field=False)
    glass = Example(
        Field(np.full((*SHAPE, 3), 245, np.uint8), 0.25, "glass"),
        "s",
        np.array([[80, 60]], np.float32),
        np.zeros((0, 2), np.float32),
    )
    field, *others, without_tissue = with_estimated_masks([drawn[0], known, patch, glass], load_model())
    assert others == [known, patch]
    assert without_tissue.mask is not None and boxes_of_masks(without_tissue.mask).tolist() == [[65, 45, 95, 75]]
    assert field.mask is not None and field.mask.shape == drawn[0].field.pixels.shape[:2]
    columns, rows = np.rint(field.mitoses_xy_px).astype(int).T
    assert field.mask[rows, columns].tolist() == [1, 2, 3]
    sides = boxes_of_masks(field.mask)[:, 2:] - boxes_of_masks(field.mask)[:, :2]
    assert (sides != 30).any() and (sides * 0.25 > 2).all() and (sides * 0.25 <= 30).all()  # figures, in µm


def test_boxes_do_not_outline_figures(drawn: list[Example]) -> None:
    with pytest.raises(UnusableModel, match=r"rdlm-lite-1 answers with boxes"):
        with_estimated_masks(drawn, load_model("rdlm-lite-1"))


def test_a_field_that_cannot_be_masked_is_named(drawn: list[Example]) -> None:
    outside = dataclasses.replace(drawn[0], mitoses_xy_px=np.array([[400, 10]], np.float32))
    with pytest.raises(UnusableData, match=f"{drawn[0].field.name}: The centroid of a mitosis lies outside"):
        with_estimated_masks([outside], load_model())


def test_what_cannot_be_a_box_is_refused() -> None:
    with pytest.raises(UnusableData, match="outside its image"):
        _boxes(_map(), (80.0, 160.0))
    net, images = build("thin_resnet50", False).train(), torch.zeros(1, 3, 64, 64)
    labels = torch.zeros(1, 16, 16, dtype=torch.uint8)
    with pytest.raises(UnusableData, match="has no area"):
        loss(net, images, labels, [torch.tensor([[10.0, 10.0, 10.0, 20.0]])], TrainConfig())


def test_the_loss_of_a_batch() -> None:
    torch.manual_seed(0)
    net = build("thin_resnet50", False).train()
    images, labels = torch.rand(2, 3, 64, 64) * 255, torch.zeros(2, 16, 16, dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(net, images, labels, [torch.tensor([[-8.0, 20, 20, 50]]), torch.zeros(0, 4)], TrainConfig())
    assert value.shape == () and value > 0 and value.dtype == torch.float32
    labels[:] = 255
    assert loss(net, images, labels, [torch.zeros(0, 4)] * 2, TrainConfig()) == 0
    assert TrainConfig(**DEFAULTS).um_per_px == DEFAULTS["um_per_px"]


def _detections(example: Example) -> Detections:
    """Every mitosis a little beside, and every look-alike."""
    xy = np.vstack([example.mitoses_xy_px + 4, example.lookalikes_xy_px])
    return Detections(xy, np.linspace(0.9, 0.5, len(xy), dtype=np.float32), np.ones(len(xy), np.float32))


def test_a_verifier_learns_from_the_detectors_own_answers(drawn: list[Example]) -> None:
    two = drawn[:2]
    patches = collect_patches(two, prepare(two, 0.25), [_detections(e) for e in two])
    assert patches.mitosis.sum() == 12 and (~patches.mitosis).sum() == 12  # each as annotated and as detected
    config = VerifierConfig(steps=3, batch=4)
    net, losses = fit_verifier(two, [_detections(e) for e in two], "thin_resnet50", config, pretrained=False)
    again = fit_verifier(two, [_detections(e) for e in two], "thin_resnet50", config, pretrained=False)[1]
    assert len(losses) == 3 and losses == again and not net.training


def test_a_verifier_needs_both_kinds(drawn: list[Example]) -> None:
    example = drawn[0]
    none = Example(example.field, "s", example.mitoses_xy_px, np.zeros((0, 2), np.float32))
    with pytest.raises(UnusableData, match="no false detections"):
        fit_verifier([none], [Detections()], "thin_resnet50", pretrained=False)


def test_the_weight_is_chosen_on_held_out_fields() -> None:
    xy = np.array([[0, 0], [100, 0], [200, 0]], np.float32)
    found = Detections(xy, np.array([0.9, 0.8, 0.7], np.float32), np.ones(3, np.float32))
    field = ScoredField("f", "s", found, xy[1:], 0.25)
    verified = [np.array([0.1, 0.9, 0.9], np.float32)]
    # The false one falls behind the others while 0.9 w + 0.1 (1 - w) < 0.7 w + 0.9 (1 - w), so for w < 0.8.
    assert best_weight([field], verified) == pytest.approx(0.4)
    (fused,) = fused_fields([field], verified, 0.5)
    assert fused.detections.score == pytest.approx([0.85, 0.8, 0.5]) and fused.detections.xy_px[-1, 0] == 0
    with pytest.raises(UnusableData, match="no mitosis"):
        best_weight([ScoredField("f", "s", found, xy[:0], 0.25)], verified)
