"""A training is seeded, can be cut and taken up, and learns."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mitosis_core.methods import METHODS
from train.config import TrainConfig
from train.evaluation import sightings
from train.examples import Example
from train.loop import Step, fit_net
from train.patches import Crops, prepare


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


def test_labels_follow_the_augmented_image(drawn: list[Example], quick: TrainConfig) -> None:
    """Whatever the turn, the disc lies on the figure: haematoxylin is densest there."""
    config = dataclasses.replace(quick, share_lookalike=0, share_hard=0, share_anywhere=0, um_per_px=0.25, crop_px=128)
    crops = Crops(prepare(drawn, 0.25), config, stride=4, length=24)
    darker = 0
    for i in range(len(crops)):
        image, labels = crops[i]
        dark = 255 - image.float().mean(0)[2::4, 2::4]
        disc, background = dark[labels == 1], dark[labels == 0]
        assert len(disc) > 0
        darker += bool(disc.mean() > background.mean() + 15)
    assert darker >= 20


def test_it_learns_what_it_is_shown(drawn: list[Example], quick: TrainConfig) -> None:
    config = dataclasses.replace(quick, steps=30, batch=6, lr=1e-3, lr_head=3e-3, mine_every=0, ema=0.5)
    losses: list[float] = []
    net = fit_net(fresh(config), drawn[:1], config, report=lambda s: losses.append(s.loss))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    probability = sightings(net, drawn[:1], config)[0].map
    assert probability.values.shape == (32, 32) and 0 <= probability.values.min() <= probability.values.max() <= 1
