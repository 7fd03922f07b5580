"""A training is seeded, can be cut and taken up, and learns."""

import dataclasses
import functools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from mitosis_core.methods import METHODS
from train import loop
from train.config import TrainConfig
from train.data.examples import Example
from train.data.labels import concentric_labels_from_boxes
from train.data.patches import Crops, prepare
from train.loop import Step
from train.selection.evaluation import network_outputs

# Only there two runs agree to the last bit.
fit_net = functools.partial(loop.fit_net, device=torch.device("cpu"))


def fresh(config: TrainConfig) -> torch.nn.Module:
    torch.manual_seed(config.seed)
    return METHODS[config.method].build(config.encoder, False)


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_the_same_run_twice_gives_the_same_weights(drawn: list[Example], quick: TrainConfig) -> None:
    first, second = (weights(fit_net(fresh(quick), drawn, quick)) for _ in range(2))
    assert torch.equal(first, second)
    other = dataclasses.replace(quick, seed=1)
    assert not torch.equal(first, weights(fit_net(fresh(other), drawn, other)))


def test_a_run_that_was_cut_ends_where_it_would_have(drawn: list[Example], quick: TrainConfig, tmp_path: Path) -> None:
    whole = weights(fit_net(fresh(quick), drawn, quick))

    def cut(step: Step) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_net(fresh(quick), drawn, quick, checkpoint=tmp_path / "c.pt", report=cut)
    steps: list[int] = []
    again = fit_net(fresh(quick), drawn, quick, checkpoint=tmp_path / "c.pt", report=lambda s: steps.append(s.step))
    assert steps == [3, 4]
    assert torch.allclose(whole, weights(again), atol=1e-6)


def test_a_loss_that_is_no_number_stops_with_a_reason(drawn: list[Example], quick: TrainConfig) -> None:
    broken = fresh(quick)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="stopped being a number"):
        fit_net(broken, drawn, quick)


def test_ellipse_labels_come_from_height_and_width_of_the_masks(drawn: list[Example], quick: TrainConfig) -> None:
    config = dataclasses.replace(quick, labels="ellipse")
    tissue = prepare(drawn[:1], 0.5)[0]
    tissue.mask = np.zeros(tissue.pixels.shape[:2], np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:16, 4:20], mask[24:] = 3, 255  # an object of 16 x 8 px; nobody looked at the lowest rows
    labels = Crops([tissue], config, 4, 1)._labels(
        mask, np.array([[11.5, 11.5]], np.float32), tissue, 1.0, np.random.default_rng(0)
    )
    expected = concentric_labels_from_boxes((8, 8), np.array([[1, 2, 5, 4]], np.float32))  # in cells of 4 px
    expected[6:] = 255
    assert (labels == expected).all() and (labels == 1).any()


@pytest.mark.parametrize("labels", ["mask", "ellipse"])
def test_a_figure_set_into_a_field_with_a_mask_is_in_the_mask(
    drawn: list[Example], quick: TrainConfig, labels: str
) -> None:
    """Whatever the mask said before: the whole field was one figure."""
    config = dataclasses.replace(
        quick,
        labels=labels,
        um_per_px=0.25,
        crop_px=96,
        share_mitosis=0,
        share_patch=1,
        share_lookalike=0,
        share_hard=0,
        share_anywhere=0,
    )
    field = dataclasses.replace(
        drawn[0], mask=np.ones(drawn[0].field.pixels.shape[:2], np.uint8), mitoses_xy_px=np.zeros((0, 2), np.float32)
    )
    patch = dataclasses.replace(drawn[1], mitoses_xy_px=np.array([[128, 128]], np.float32), whole_field=False)
    crops = Crops(prepare([field, patch], 0.25), config, 4, 40)
    figures = 0
    for one in (crops[i] for i in range(40)):
        for left, top, right, bottom in one.boxes.tolist():
            # 7.5 µm are 30 px; some reach beyond the crop, or beyond the tissue, where nothing is known of them.
            whole = left > 0 and top > 0 and right < 96 and bottom < 96
            assert max(right - left, bottom - top) <= 31
            whole = whole and min(right - left, bottom - top) > 22
            figures += whole
            if whole:
                assert one.labels[int((top + bottom) / 8), int((left + right) / 8)] in (1, 255)
                assert (one.labels == 1).any()
    assert figures >= 5


def assert_crops_are_the_same(drawn: list[Example], config: TrainConfig) -> None:
    tissues, devices = prepare(drawn, 0.5), (torch.device("cpu"), torch.device("cuda"))
    here, there = (
        [crop for batch in loop._make_batches(tissues, config, 4, 1, device) for crop in batch] for device in devices
    )
    assert len(here) == len(there) == 2 * config.batch
    for one, other in zip(here, there, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_a_gpu_gets_the_same_crops_from_many_processes(drawn: list[Example], quick: TrainConfig) -> None:
    """In a process of its own, as a training is: this one has the threads of whatever was tested before."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        process.submit(assert_crops_are_the_same, drawn, dataclasses.replace(quick, steps=3)).result()


def test_labels_follow_the_augmented_image(drawn: list[Example], quick: TrainConfig) -> None:
    """Whatever the turn, the disc lies on the figure: haematoxylin is densest there."""
    config = dataclasses.replace(quick, share_lookalike=0, share_hard=0, share_anywhere=0, um_per_px=0.25, crop_px=128)
    crops = Crops(prepare(drawn, 0.25), config, stride=4, length=24)
    darker = 0
    for i in range(len(crops)):
        image, labels, _ = crops[i]
        dark = 255 - image.float().mean(0)[2::4, 2::4]
        disc, background = dark[labels == 1], dark[labels == 0]
        assert len(disc) > 0
        darker += bool(disc.mean() > background.mean() + 15)
    assert darker >= 20


@pytest.mark.slow
def test_it_learns_what_it_is_shown(drawn: list[Example], quick: TrainConfig) -> None:
    config = dataclasses.replace(quick, steps=30, batch=6, lr=1e-3, lr_head=3e-3, mine_every=0, ema=0.5)
    losses: list[float] = []
    net = fit_net(fresh(config), drawn[:1], config, report=lambda s: losses.append(s.loss))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    probability = network_outputs(net, drawn[:1], config)[0].map
    assert probability.values.shape == (32, 32) and 0 <= probability.values.min() <= probability.values.max() <= 1
