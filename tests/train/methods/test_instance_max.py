"""Learning from "does this crop hold a mitosis": which crops count, and figures found unasked."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mitosis_core.encoders.encoder_net import EncoderNet
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.methods.instance_max import InstanceNet
from mitosis_core.methods.method import SegmentationNet
from tests.core.stains import to_stains
from train.config import TrainConfig
from train.data.examples import Example
from train.data.labels import concentric_labels
from train.data.patches import prepare
from train.methods.instance_max import DEFAULTS, image_labels, loss

BOX, NONE = torch.tensor([[30.0, 30.0, 50.0, 50.0]]), torch.zeros(0, 4)


class Said(InstanceNet):
    """Says of every image what it was told to say."""

    def __init__(self, said: list[float]) -> None:
        nn.Module.__init__(self)
        self.said = nn.Parameter(torch.tensor(said))

    def image_logit(self, x: torch.Tensor) -> torch.Tensor:
        return self.said


def cells(*unknown: tuple[int, int]) -> torch.Tensor:
    labels = torch.zeros(5, 5, dtype=torch.uint8)
    for row, column in unknown:
        labels[row, column] = 255
    return labels


def test_which_crops_say_what() -> None:
    with_figure = cells((2, 1), (2, 3))
    with_figure[2, 2] = 1
    labels = torch.stack([with_figure, cells(), cells((2, 0)), cells((4, 4)), cells((2, 2)), cells((0, 3))])
    boxes = [BOX, NONE, NONE, BOX, NONE, BOX]
    holds, known = image_labels(labels, boxes)
    assert holds.tolist() == [1, 0, 0, 1, 0, 1]
    # a figure, none, one cut at the left, beyond the field in a corner, doubtful tissue, a second figure cut at the top
    assert known.tolist() == [1, 1, 0, 0, 0, 0]


def test_the_loss_by_hand_and_that_cut_figures_have_none() -> None:
    net = Said([0.0, -math.log(3), 50.0])
    labels = torch.stack([cells((2, 2)), cells(), cells((0, 1))])
    value = loss(net, torch.zeros(3, 3, 80, 80), labels, [BOX, NONE, NONE], TrainConfig())
    # a mitosis said to be one with 0.5, none said to be one with 0.25, and a cut one that does not count
    assert value.item() == pytest.approx((-math.log(0.5) - math.log(0.75)) / 2)
    value.backward()  # type: ignore[no-untyped-call]
    assert net.said.grad is not None and net.said.grad[2] == 0 and net.said.grad[:2].abs().min() > 0


def test_a_batch_that_says_nothing_costs_nothing() -> None:
    net = Said([3.0])
    value = loss(net, torch.zeros(1, 3, 80, 80), cells((0, 0))[None], [NONE], TrainConfig())
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0 and net.said.grad is not None and net.said.grad.item() == 0
    with pytest.raises(TypeError, match="no score for a whole image"):
        loss(SegmentationNet(), torch.zeros(1, 3, 80, 80), cells()[None], [NONE], TrainConfig())


def test_the_defaults_are_options() -> None:
    assert TrainConfig(**DEFAULTS).crop_px % 32 == 0


class Stains(EncoderNet):
    """A tiny encoder for drawn tissue: stain densities, two convolutions."""

    channels = (8, 12, 16)
    strides = (4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 5, 4, 2), nn.Conv2d(8, 12, 3, 2, 1), nn.Conv2d(12, 16, 3, 2, 1)]
        self.layers = nn.ModuleList(layers)

    def freezable_stages(self) -> list[nn.Module]:
        return list(self.layers)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x, maps = to_stains(x), []
        for layer in self.layers:
            x = nn.functional.relu(layer(x))
            maps.append(x)
        return maps


def tiles(seed: int, side: int, stride: int) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """A drawn field at 0.5 µm/px in squares: images, labels and boxes as the loss takes them."""
    drawn = draw_sample_field(seed, 1024, mitoses=12, lookalikes=0)
    (tissue,) = prepare([Example(drawn.field, "a", drawn.mitoses_xy_px, drawn.lookalikes_xy_px)], 0.5)
    images, labels, boxes = [], [], []
    for top in range(0, 512, side):
        for left in range(0, 512, side):
            images.append(torch.from_numpy(tissue.pixels[top : top + side, left : left + side].copy()))
            xy = (tissue.mitoses_xy_px - [left, top]).astype(np.float32)
            shape = (side // stride, side // stride)
            rings = [(7 / stride, 14 / stride)] * len(xy)
            labels.append(torch.from_numpy(concentric_labels(shape, (xy + 0.5) / stride - 0.5, rings)))
            inside = xy[((xy >= 0) & (xy < side)).all(1)]
            boxes.append(torch.from_numpy(np.hstack([inside - 7, inside + 7])))
    return torch.stack(images).permute(0, 3, 1, 2).float(), torch.stack(labels), boxes


@pytest.mark.slow
def test_image_labels_alone_teach_where_the_figures_are() -> None:
    torch.manual_seed(0)
    net = InstanceNet(Stains(), "instance-max", stages=2)
    images, labels, boxes = tiles(0, 64, net.stride)
    holds, known = image_labels(labels, boxes)
    assert (holds * known).sum() >= 3 and ((1 - holds) * known).sum() >= 20
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(80):
        value = loss(net, images, labels, boxes, TrainConfig())
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(value.item())
    assert losses[-1] < 0.3 * losses[0]
    drawn = draw_sample_field(1, 512, mitoses=4, lookalikes=0)
    (unseen,) = prepare([Example(drawn.field, "b", drawn.mitoses_xy_px, drawn.lookalikes_xy_px)], 0.5)
    with torch.no_grad():
        heat = net(torch.from_numpy(unseen.pixels.copy()).permute(2, 0, 1)[None].float())[0, 1]
    best = heat.flatten().topk(4).indices
    rows, columns = best // heat.shape[1], best % heat.shape[1]
    cells = unseen.mitoses_xy_px / net.stride - 0.5
    away = [float(torch.hypot(columns - x, rows - y).min()) for x, y in cells]
    assert sorted(away)[2] < 1.5  # three of the four best positions are on three of the four figures
