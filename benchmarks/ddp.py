"""Training in two processes under torchrun against one: the loss curve, the weights and the seconds a step takes.

`python -m benchmarks.ddp [--quick]` trains the default recipe (SegMitos on EfficientNet-Lite0, batch norms and all) on
drawn fields, from the weights of the shipped version: in one process with one thread and with one for every core, and
in two processes with one thread each; in float32, where the two should be the same, and in the precision it is trained
in. Where others use the machine too, the seconds of the processor say more than those of the clock. It writes
benchmarks/results/ddp.json and prints the same JSON as its last line.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.record import Figures, cpu_name, write_result

FIELDS, FIELD_PX = 4, 512
_LEFT_OUT = 2  # steps at the beginning, in which memory is laid out

Trained = dict[str, Any]  # losses, seconds of every step, seconds of the processor a step (all processes), weights


def train_here(out: Path, steps: int, half: bool) -> None:
    """One training, in this process and those that torchrun started beside it; the first one writes what came."""
    import train.loop
    from mitosis_core import ranks
    from mitosis_core.image.sample_field import draw_sample_field
    from mitosis_core.model import load_model
    from mitosis_core.precision import autocast
    from train.data.examples import Example
    from train.methods import default_config
    from train.parallel import joined

    setattr(train.loop, "autocast", partial(autocast, half=half))  # noqa: B010
    drawn = [draw_sample_field(seed=n, size_px=FIELD_PX, mitoses=6, lookalikes=6) for n in range(FIELDS)]
    examples = [Example(one.field, f"{n}", one.mitoses_xy_px, one.lookalikes_xy_px) for n, one in enumerate(drawn)]
    config = dataclasses.replace(default_config("segmitos"), steps=steps, validate_every=steps, members=1)
    net: Any = load_model().net()
    losses, ended = list[float](), [time.perf_counter()]

    def report(step: train.loop.Step) -> None:
        losses.append(step.loss)
        ended.append(time.perf_counter())

    with joined():
        before = time.process_time()
        ema = train.loop.fit_net(copy.deepcopy(net.members[0]), examples, config, report=report)
        busy = sum(ranks.gather(time.process_time() - before)) / steps
        if ranks.is_first():
            seconds = np.diff(ended).tolist()
            torch.save({"losses": losses, "seconds": seconds, "busy": busy, "weights": ema.state_dict()}, out)


def train_in(processes: int, threads: int, steps: int, half: bool) -> Trained:
    """The same in so many processes of their own, so many threads each."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "trained.pt"
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *(torchrun if processes > 1 else []), "-m", "benchmarks.ddp"]
        command += ["--train", str(out), "--steps", str(steps), *(["--half"] if half else [])]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        trained: Trained = torch.load(out, weights_only=True)
        return trained


def compare(one: Trained, two: Trained) -> Figures:
    """How far the two trainings are apart."""
    losses = np.array([one["losses"], two["losses"]])
    weights = [(a.float(), two["weights"][name].float()) for name, a in one["weights"].items() if a.is_floating_point()]
    away, size = (
        torch.cat([one.abs().flatten() for one in some])
        for some in ([a - b for a, b in weights], [a for a, _ in weights])
    )
    return {
        "loss_relative_difference_max": float((np.abs(losses[1] - losses[0]) / losses[0]).max()),
        "weights_difference_max": float(away.max()),
        "weights_difference_mean_relative": float(away.mean() / size.mean()),
        "losses_one": [round(loss, 7) for loss in one["losses"]],
        "losses_two": [round(loss, 7) for loss in two["losses"]],
    }


def measure(steps: int, quick: bool) -> Figures:
    """Medians of the seconds of a step, in the precision it is trained in; the curves in both precisions."""
    from mitosis_core.precision import has_half

    cores = os.cpu_count() or 1
    one, two = (train_in(processes, 1, steps, half=False) for processes in (1, 2))
    figures: Figures = {"float32": compare(one, two)}
    if quick:
        seconds = {"one process, 1 thread": one, "two processes, 1 thread each": two}
    else:
        half = {processes: train_in(processes, 1, steps, half=True) for processes in (1, 2)}
        figures["as trained"] = compare(half[1], half[2])
        every = train_in(1, cores, steps, half=True)
        seconds = {
            "one process, 1 thread": half[1],
            f"one process, {cores} threads": every,
            "two processes, 1 thread each": half[2],
        }
    figures["seconds_per_step"] = {name: median(run["seconds"][_LEFT_OUT:]) for name, run in seconds.items()}
    figures["cpu_seconds_per_step"] = {name: run["busy"] for name, run in seconds.items()}
    half_here = has_half(torch.device("cpu")) and not quick
    precision = "bfloat16" if half_here else "float32"
    load = round(os.getloadavg()[2], 1)  # of the last 15 minutes; the trainings themselves are 1 to 2 of it
    about = {"precision_of_the_seconds": precision, "load_average": load, "steps": steps, "batch": 32}
    return figures | about | {"cpu": cpu_name()}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps, in float32 alone")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--half", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        train_here(given.train, given.steps, given.half)
        return
    steps = 8 if given.quick else 40
    write_result("ddp-quick" if given.quick else "ddp", measure(steps, given.quick))


if __name__ == "__main__":
    main()
