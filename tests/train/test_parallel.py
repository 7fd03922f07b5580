"""Several processes under torchrun train the network that one process trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from db.engine import open_store
from db.versions import list_stored, load_version
from mitosis_core import ranks
from mitosis_core.methods.deepmitosis import BatchSampler
from mitosis_core.model import load_model
from tests.train.finished import finished_fields
from tests.train.in_ranks import CASES
from tests.train.test_fit import write_set
from train.data.examples import Example

ROOT = Path(__file__).parents[2]
ALONE = [sys.executable, "-m", "tests.train.in_ranks"]
SENTENCE = "One of the processes of this training has ended"


def in_processes(count: int) -> list[str]:
    """torchrun, as `python -m`; standalone: it finds a free port."""
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m", "tests.train.in_ranks"]
    return [sys.executable, *run]


def do(command: list[str], *arguments: str, code: int = 0, **environment: str) -> str:
    """What it says. It has to end with this exit code."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout + done.stderr


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The mean distance of the weights, relative to their mean size."""
    pairs = [(a.float(), other[name].float()) for name, a in one.items() if a.is_floating_point()]
    away = torch.cat([(a - b).abs().flatten() for a, b in pairs]).mean()
    return float(away / torch.cat([a.abs().flatten() for a, _ in pairs]).mean())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Every case in one and in two processes."""
    folders = {count: tmp_path_factory.mktemp(f"processes{count}") for count in (1, 2)}
    do(ALONE, "nets", str(folders[1]), *CASES)
    do(in_processes(2), "nets", str(folders[2]), *CASES)
    return folders


def result(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"{name}.result", weights_only=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_losses_and_the_weights_of_one(trained: dict[int, Path], name: str) -> None:
    """Losses to 1 in 100,000, weights to 1 in 1,000,000; behind a batch norm to 1 in 1,000: many gradients there are 0
    but for rounding, and AdamW makes as large a step of them as of others."""
    one, two = (result(trained[count], name) for count in (1, 2))
    losses = [list(run["losses"].values()) for run in (one, two)]
    assert len(losses[0]) == 6 and min(losses[0]) > 0
    assert np.allclose(*losses, rtol=1e-5)
    assert distance(one["weights"], two["weights"]) < (1e-3 if name == "batch norm" else 1e-6)
    # What was counted and averaged over batches, where there is such.
    for key in (key for key in one["weights"] if "running_" in key or "tracked" in key):
        assert torch.allclose(one["weights"][key].float(), two["weights"][key].float(), rtol=1e-3, atol=1e-4), key


@pytest.mark.slow
@pytest.mark.parametrize("first", [2, 1])
def test_a_training_that_was_cut_goes_on_with_another_number_of_processes(
    trained: dict[int, Path], tmp_path: Path, first: int
) -> None:
    commands = {1: ALONE, 2: in_processes(2)}
    with pytest.raises(AssertionError):
        do(commands[first], "nets", str(tmp_path), "segmitos", CUT_AFTER="4")
    assert not (tmp_path / "segmitos.result").exists()
    do(commands[3 - first], "nets", str(tmp_path), "segmitos")
    again, whole = result(tmp_path, "segmitos"), result(trained[1], "segmitos")
    assert list(again["losses"]) == [4, 5, 6]
    assert np.allclose([whole["losses"][step] for step in (4, 5, 6)], list(again["losses"].values()), rtol=1e-4)
    assert distance(again["weights"], whole["weights"]) < 1e-4


def fit_command(folder: Path, drawn: list[Example], *more: str) -> list[str]:
    options = ["--encoder", "thin_resnet50", "--um-per-px", "0.5", "--crop-px", "64", "--batch", "6", "--steps", "24",
               "--lr", "1e-3", "--lr-head", "3e-3", "--ema", "0.5", "--validate-every", "24",
               "--members", "1"]  # fmt: skip
    table, out = str(write_set(folder, drawn)), str(folder / "o.safetensors")
    return ["command", "fit", "--annotations", table, "--images", str(folder), "--out", out, *options, *more]


@pytest.mark.slow
def test_fit_writes_the_version_that_one_process_writes(drawn: list[Example], tmp_path: Path) -> None:
    models = {}
    for count, how in ((1, ALONE), (2, in_processes(2))):
        folder = tmp_path / str(count)
        folder.mkdir()
        said = do(how, *fit_command(folder, drawn))
        assert said.count("Wrote ") == 1 and "Warning" not in said
        models[count] = load_model(str(folder / "o.safetensors"))
    one, two = models[1].card, models[2].card
    assert one.data == two.data and one.split == two.split
    assert one.calibration is not None and two.calibration is not None
    assert one.calibration.logit == pytest.approx(two.calibration.logit, abs=0.02)
    assert distance(models[1].net().state_dict(), models[2].net().state_dict()) < 1e-3


@pytest.mark.slow
def test_a_process_that_dies_ends_the_training_with_a_sentence(drawn: list[Example], tmp_path: Path) -> None:
    said = do(in_processes(2), *fit_command(tmp_path, drawn), code=1, DIE_AFTER="3")
    assert SENTENCE in said and "Traceback" not in said.split("ChildFailedError")[0].split(SENTENCE)[0]
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.slow
def test_bad_input_is_said_once(drawn: list[Example], tmp_path: Path) -> None:
    said = do(in_processes(2), *fit_command(tmp_path, drawn[::2]), code=1)
    assert said.count("All fields come from one slide") == 1
    said = do(in_processes(2), *fit_command(tmp_path, drawn, "--jobs", "2"), code=1)
    assert said.count("are trained without torchrun") == 1
    said = do(in_processes(2), *fit_command(tmp_path, drawn, "--batch", "1"), code=1)
    assert said.count("A batch of 1 crops cannot be shared by 2 processes") == 1


RETRAIN = ["--base", "instance-max-lite-1", "--steps", "4", "--folds", "2"]


@pytest.mark.slow
def test_a_run_in_two_processes_makes_the_version_of_one(tmp_path: Path) -> None:
    made = {}
    for count, how in ((1, ALONE), (2, in_processes(2))):
        folder = tmp_path / str(count)
        finished_fields(folder).close()
        said = do(how, "command", "run", "--data", str(folder), *RETRAIN)
        assert said.count("Run 1: done.") == 1
        store = open_store(folder)
        made[count] = load_version(store, list_stored(store)[0].name)
    one, two = made[1], made[2]
    assert one.card.raw_threshold == pytest.approx(two.card.raw_threshold, abs=0.01)
    assert distance(one.net().state_dict(), two.net().state_dict()) < 1e-4
    assert distance(one.net().state_dict(), load_model("instance-max-lite-1").net().state_dict()) > 1e-4  # it learnt


@pytest.mark.slow
def test_a_run_whose_second_process_dies_has_failed_and_goes_on_later(tmp_path: Path) -> None:
    finished_fields(tmp_path).close()
    said = do(in_processes(2), "command", "run", "--data", str(tmp_path), *RETRAIN, code=1, DIE_AFTER="2")
    assert f"Run 1: failed. {SENTENCE}" in said
    assert "Run 1: done." in do(ALONE, "command", "run", "--data", str(tmp_path), "--run", "1")


@pytest.mark.slow
def test_heads_are_trained_by_one_process_and_it_says_so(tmp_path: Path) -> None:
    finished_fields(tmp_path).close()
    quick = ["--steps", "2", "--crops-per-field", "4", "--batch", "2", "--folds", "2"]
    said = do(in_processes(2), "command", "run", "--data", str(tmp_path), *quick)
    assert said.count("one process does it, others wait") == 1 and said.count("Run 1: done.") == 1


# ---------------------------------------------------------------- one process alone


def test_a_process_alone_gets_everything_back_as_it_is() -> None:
    assert (ranks.size(), ranks.number(), ranks.is_first()) == (1, 0, True)
    assert ranks.share_of(5) == range(5) and ranks.gather("a") == ["a"] and ranks.mean(0.1) == 0.1
    assert ranks.each_a_share(lambda n: n + 1, [1, 2]) == [2, 3]
    count = torch.tensor(3)
    assert ranks.total(count) is count and ranks.divisor(count) == 3 and ranks.divisor(torch.tensor(0)) == 1


def test_shares_are_consecutive_and_together_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, length in ((2, 5), (3, 32), (4, 4)):
        shares = []
        monkeypatch.setattr(ranks, "size", lambda size=size: size)
        for number in range(size):
            monkeypatch.setattr(ranks, "number", lambda number=number: number)
            shares.append(ranks.share_of(length))
        assert [i for share in shares for i in share] == list(range(length))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_mean_over_all_is_that_over_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares with 1 and 3 things, of which the sums are 2 and 12: the mean is 14 / 4, not the mean of 2 and 4."""
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(ranks, "total", lambda count: torch.tensor(4))
    assert (2 / ranks.divisor(torch.tensor(1)) + 12 / ranks.divisor(torch.tensor(3))) / 2 == 14 / 4
    monkeypatch.setattr(ranks, "total", lambda count: torch.tensor(1))
    assert (5 / ranks.divisor(torch.tensor(1)) + 0 / ranks.divisor(torch.tensor(0))) / 2 == 5


def test_each_process_weighs_what_was_drawn_in_its_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four are drawn of 4 + 4 that may be, 2 positive; a process whose crops have none of them adds nothing."""
    theirs = torch.tensor([-1.0, -1.0])
    for number in (0, 1):
        monkeypatch.setattr(ranks, "size", lambda: 2)
        monkeypatch.setattr(ranks, "number", lambda number=number: number)
        monkeypatch.setattr(ranks, "gather", lambda mine, n=number: [mine, theirs] if n == 0 else [theirs, mine])
        monkeypatch.setattr(ranks, "from_first", lambda work: work())
        sampler = BatchSampler(4, 0.5)
        positive, negative = sampler([torch.tensor([1.0, 1, 1, 0]), torch.tensor([0.0, 0, 0, 1])])
        assert [len(one) for one in positive] == [4, 4]
        assert sum(int(one.sum()) for one in positive) == 2 and sum(int(one.sum()) for one in negative) == 2
        assert sampler.share == 2.0  # all that was drawn, where an equal part would be half
        assert float(sampler.weigh(torch.tensor(3.0))) == 6.0
    monkeypatch.setattr(ranks, "gather", lambda mine: [mine, torch.tensor([1.0, 0.0])])
    monkeypatch.setattr(ranks, "number", lambda: 0)
    sampler([theirs])
    nothing = nn.functional.binary_cross_entropy_with_logits(torch.zeros(0, requires_grad=True), torch.zeros(0))
    assert sampler.share == 0 and float(sampler.weigh(nothing)) == 0
