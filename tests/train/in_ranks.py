"""Trainings for tests/train/test_parallel.py, in one process or, under torchrun, in several.

    python -m tests.train.in_ranks nets FOLDER [CUT]     a network of each case; the first process writes what came
    python -m tests.train.in_ranks command ARGUMENT...   as `python -m train`, with a tiny encoder and random weights

CUT: the folder of other trainings; one of them is taken up where it was after three steps. DIE_AFTER=n: the second
process is killed in step n.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import torch
from torch import nn

import train.loop
from mitosis_core import ranks
from mitosis_core.encoders import ENCODERS, Encoder
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.methods import METHODS
from mitosis_core.precision import autocast
from tests.core.tiny_encoder import TinyEncoder
from train.__main__ import main as command
from train.config import TrainConfig
from train.data.examples import Example
from train.loop import Step, fit_net
from train.methods import default_config
from train.parallel import joined

# Shares of 5 crops are unequal, and mining comes in the middle.
COMMON = {
    "encoder": "tiny",
    "crop_px": 64,
    "batch": 5,
    "steps": 6,
    "mine_every": 3,
    "validate_every": 3,
    "share_patch": 0.0,
    "share_hard": 0.2,
    "members": 1,
    "second_steps": 0,
    "verifier": "",
}
CASES = {
    "segmitos": default_config("segmitos", **{**COMMON, "um_per_px": 0.5}),
    "batch norm": default_config("segmitos", **{**COMMON, "um_per_px": 0.5, "encoder": "efficientnet_lite0"}),
    "deepmitosis": default_config("deepmitosis", **COMMON),
    "rdlm": default_config("rdlm", **{**COMMON, "um_per_px": 0.5}),
    "instance_max": default_config("instance_max", **{**COMMON, "um_per_px": 0.25}),
}


def examples() -> list[Example]:
    """Three fields, so that mining is unequal too."""
    drawn = [draw_sample_field(seed=seed, size_px=256, mitoses=3, lookalikes=3) for seed in range(3)]
    return [Example(one.field, f"slide{i}", one.mitoses_xy_px, one.lookalikes_xy_px) for i, one in enumerate(drawn)]


def train_case(config: TrainConfig, folder: Path, name: str) -> None:
    """Losses by step, and weights; beside them the checkpoint after three of the six steps."""
    torch.manual_seed(config.seed + 10 * ranks.number())  # other weights in each process: the first one's count
    net = METHODS[config.method].build(config.encoder, False)
    losses: dict[int, float] = {}

    def report(step: Step) -> None:
        losses[step.step] = step.loss
        if step.step == 4:
            shutil.copy(folder / f"{name}.pt", folder / f"{name}.cut")

    ema = fit_net(net, examples(), config, checkpoint=folder / f"{name}.pt", report=report)
    if ranks.is_first():
        torch.save({"losses": losses, "weights": ema.state_dict()}, folder / f"{name}.result")


def prepare() -> None:
    """In half precision one and two processes would differ by its rounding, which hides faults."""
    train.loop.autocast = lambda device: autocast(device, half=False)  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    ENCODERS["tiny"] = Encoder("tiny", TinyEncoder, lambda net: None)
    real, steps = train.loop.update_ema, [0]

    def update_ema(ema: nn.Module, net: nn.Module, decay: float) -> None:
        steps[0] += 1
        if os.environ.get("RANK") == "1" and steps[0] == int(os.environ.get("DIE_AFTER", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
        real(ema, net, decay)

    train.loop.update_ema = update_ema


def main() -> int:
    prepare()
    if sys.argv[1] == "command":
        return command(sys.argv[2:])
    folder = Path(sys.argv[2])
    with joined():
        for name, config in CASES.items():
            if not ranks.from_first(lambda name=name: (folder / f"{name}.result").exists()):
                train_case(config, folder, name)
        if len(sys.argv) > 3:
            if ranks.is_first():
                shutil.copy(Path(sys.argv[3]) / "segmitos.cut", folder / "again.pt")
            train_case(CASES["segmitos"], folder, "again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
