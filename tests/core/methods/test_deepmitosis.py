"""DeepDet: the paper's anchors and background rule, tissue nobody knows, and that it learns."""

from collections.abc import Callable

import pytest
import torch

from mitosis_core.errors import UnusableModel
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.methods.deepmitosis import ANCHORS_UM, DEEPMITOSIS, UM_PER_PX, DeepDet, build
from tests.core.tiny_encoder import TinyEncoder


@pytest.fixture
def net() -> DeepDet:
    torch.manual_seed(0)
    return DeepDet(TinyEncoder((16, 24, 32)), width=16, hidden=32)


def test_it_answers_with_boxes_and_a_map(net: DeepDet) -> None:
    x = torch.rand(1, 3, 96, 128) * 255
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = net.eval().detect(x)
    assert found.heat.shape == (96 // net.stride, 128 // net.stride)
    assert len(found.boxes) == len(found.score) > 0
    assert all(t.dtype == torch.float32 and bool(torch.isfinite(t).all()) for t in found)
    assert found.score.min() > 0.02 and found.score.max() <= 1 and 0 <= found.heat.min() <= found.heat.max() <= 1
    assert found.boxes.min() >= 0 and bool((found.boxes <= torch.tensor([128, 96, 128, 96])).all())
    assert sum(len(list(part.parameters())) for part in net.freezable_stages()) == len(list(net.encoder.parameters()))


def test_the_anchors_are_those_of_the_paper(net: DeepDet) -> None:
    assert tuple(px * 0.125 for px in (64, 128, 256)) == ANCHORS_UM
    cells = net.rpn.anchor_generator.cell_anchors[0]
    sides = (cells[:, 2:] - cells[:, :2]) * UM_PER_PX
    assert len(cells) == 9 and bool(((cells[:, :2] + cells[:, 2:]) / 2 == 4).all())  # the middle of an 8 px cell
    ratios = (sides[:, 1] / sides[:, 0]).view(3, 3)
    assert torch.allclose(ratios.mean(1), torch.tensor([0.5, 1.0, 2.0]), rtol=0.05)
    areas = sides.prod(1).view(3, 3).sqrt()
    assert torch.allclose(areas, torch.tensor([ANCHORS_UM] * 3), rtol=0.03)


def test_background_is_everything_below_half_an_overlap(net: DeepDet) -> None:
    figure = torch.tensor([[32.0, 32.0, 64.0, 64.0]])
    # the figure itself, IoU 1/3 (half of it beside), none at all
    proposals = torch.tensor([[32.0, 32.0, 64.0, 64.0], [48.0, 32.0, 80.0, 64.0], [96.0, 96.0, 127.0, 127.0]])
    target = {"boxes": figure, "labels": torch.ones(1, dtype=torch.int64)}
    assert net.roi_heads is not None
    chosen, _, labels, _ = net.roi_heads.select_training_samples([proposals], [target])
    told = dict(zip(map(tuple, chosen[0].tolist()), labels[0].tolist(), strict=True))
    assert [told[tuple(box)] for box in proposals.tolist()] == [1, 0, 0]


@pytest.mark.parametrize("variant", DEEPMITOSIS.variants)
def test_tissue_nobody_knows_teaches_nothing(variant: str) -> None:
    torch.manual_seed(0)
    net = DeepDet(TinyEncoder((16, 24, 32)), rpn_only=variant == "rpn", width=16, hidden=32).train()
    x, no_box = torch.rand(1, 3, 64, 64) * 255, [torch.zeros(0, 4)]
    everywhere = torch.ones(1, 16, 16, dtype=torch.bool)
    loss = net.training_loss(x, no_box, everywhere)
    loss.backward()
    assert loss == 0 and all(p.grad is None or not p.grad.any() for p in net.parameters())
    net.training_loss(x, no_box, ~everywhere).backward()
    assert net.fine.weight.grad is not None and net.fine.weight.grad.any()


def test_what_overlaps_a_figure_is_judged_by_it(net: DeepDet) -> None:
    """The ring round a figure is ignored tissue; boxes that only half cover the figure are background all the same."""
    target = {"boxes": torch.tensor([[16.0, 16.0, 48.0, 48.0]]), "ignored": torch.ones(16, 16, dtype=torch.bool)}
    anchors = torch.tensor([[24.0, 16.0, 56.0, 48.0], [32.0, 16.0, 64.0, 48.0], [44.0, 0.0, 64.0, 20.0]])
    (labels,), _ = net.rpn.assign_targets_to_anchors([anchors[1:]], [target])
    assert labels.tolist() == [1, -1]  # IoU 1/3 is the best there is and so positive; IoU 0.01 is nobody's
    target["ignored"] = ~target["ignored"]
    (labels,), _ = net.rpn.assign_targets_to_anchors([anchors], [target])
    assert labels.tolist() == [1, -1, 0]


def test_the_first_stage_alone() -> None:
    net = build("thin_resnet50", False, "rpn")
    assert net.roi_heads is None and not any(name.startswith("roi_heads") for name in net.state_dict())
    with torch.inference_mode():
        found = net.eval().detect(torch.rand(1, 3, 64, 64) * 255)
    assert len(found.boxes) == len(found.score)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UnusableModel, match="no variant “yolo”"):
        build("thin_resnet50", False, "yolo")


def test_a_large_field_may_hold_more_proposals(net: DeepDet) -> None:
    boxes = torch.tensor(
        [[float(x), float(y), x + 16.0, y + 16.0] for x in range(0, 1024, 16) for y in range(0, 512, 16)]
    )
    kept, _ = net.rpn.filter_proposals(boxes[None], torch.randn(1, len(boxes)), [(512, 1024)], [])
    assert len(kept[0]) == 600  # the paper's 300 in each 512 x 512 px


@pytest.mark.slow
@pytest.mark.parametrize("rpn_only", [False, True])
def test_it_learns_one_drawn_field(rpn_only: bool, drawn_crop: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> None:
    torch.manual_seed(1)
    x, boxes = drawn_crop()
    net = DeepDet(TinyEncoder((16, 24, 32)), rpn_only=rpn_only, width=24, hidden=48).train()
    optimiser = torch.optim.AdamW(net.parameters(), 4e-3)
    losses = []
    for _ in range(90):
        loss = net.training_loss(x, [boxes])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    with torch.inference_mode():
        found = net.eval().detect(x)
    middle = (found.boxes[: len(boxes), :2] + found.boxes[: len(boxes), 2:]) / 2
    nearest = torch.cdist((boxes[:, :2] + boxes[:, 2:]) / 2, middle).amin(1)
    assert nearest.max() < 20  # 5 µm: the surest boxes are the mitoses


@pytest.fixture
def drawn_crop() -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        sample = draw_sample_field(seed=2, size_px=256, mitoses=3, lookalikes=0)
        xy = torch.from_numpy(sample.mitoses_xy_px) + 0.5
        x = torch.from_numpy(sample.field.pixels).permute(2, 0, 1)[None].float()
        return x, torch.cat([xy - 15, xy + 15], 1)

    return draw
