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
from safetensors.torch import load_file
from torch import nn

from db.engine import open_store
from db.versions import list_stored, load_version
from mitosis_core import ranks
from mitosis_core.errors import ConcentricError, UnusableData
from mitosis_core.methods import METHODS
from mitosis_core.methods.deepmitosis import BatchSampler
from mitosis_core.model import ModelCard, load_model
from tests.train.finished import finished_fields
from tests.train.in_ranks import CASES
from tests.train.test_fit import write_set
from train.config import TrainConfig
from train.data.examples import Example
from train.fit import fit
from train.loop import fit_net
from train.parallel import check_same, joined

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
    """Every case in one and in two processes, and one that was cut taken up by as many."""
    one, two = (tmp_path_factory.mktemp(f"processes{count}") for count in (1, 2))
    do(ALONE, "nets", str(one))
    do(in_processes(2), "nets", str(two), str(one))
    do(ALONE, "nets", str(one), str(two))
    return {1: one, 2: two}


def result(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"{name}.result", weights_only=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_losses_and_the_weights_of_one(trained: dict[int, Path], name: str) -> None:
    """Losses to 1 in 100,000, weights to 1 in 100,000; behind a batch norm to 1 in 1,000: many gradients there are 0
    but for rounding, and AdamW makes as large a step of them as of others."""
    one, two = (result(trained[count], name) for count in (1, 2))
    losses = [list(run["losses"].values()) for run in (one, two)]
    assert len(losses[0]) == 6 and min(losses[0]) > 0
    assert np.allclose(*losses, rtol=1e-5)
    assert distance(one["weights"], two["weights"]) < (1e-3 if name == "batch norm" else 1e-5)
    # What was counted and averaged over batches, where there is such.
    for key in (key for key in one["weights"] if "running_" in key or "tracked" in key):
        assert torch.allclose(one["weights"][key].float(), two["weights"][key].float(), rtol=1e-3, atol=1e-4), key


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_training_that_was_cut_goes_on_with_another_number_of_processes(trained: dict[int, Path], count: int) -> None:
    again, whole = result(trained[count], "again"), result(trained[1], "segmitos")
    assert list(again["losses"]) == [4, 5, 6]
    assert np.allclose([whole["losses"][step] for step in (4, 5, 6)], list(again["losses"].values()), rtol=1e-4)
    assert distance(again["weights"], whole["weights"]) < 1e-4


def fit_command(folder: Path, drawn: list[Example], *more: str) -> list[str]:
    options = [
        "--encoder",
        "tiny",
        "--um-per-px",
        "0.5",
        "--crop-px",
        "64",
        "--batch",
        "7",
        "--steps",
        "60",
        "--second-steps",
        "10",
        "--members",
        "1",
        "--frozen-stages",
        "0",
        "--lr",
        "3e-3",
        "--lr-head",
        "5e-3",
        "--ema",
        "0.5",
        "--validate-every",
        "60",
    ]
    table, out = str(write_set(folder, drawn)), str(folder / "o.safetensors")
    return ["command", "fit", "--annotations", table, "--images", str(folder), "--out", out, *options, *more]


@pytest.mark.slow
def test_fit_writes_the_version_that_one_process_writes(drawn: list[Example], tmp_path: Path) -> None:
    cards, weights = [], []
    for count, how in enumerate((ALONE, in_processes(2))):
        folder = tmp_path / str(count)
        folder.mkdir()
        said = do(how, *fit_command(folder, drawn))
        assert said.count("Wrote ") == 1 and "Warning" not in said
        cards.append(ModelCard.from_json((folder / "o.json").read_bytes()))
        weights.append(load_file(folder / "o.safetensors"))
    one, two = cards
    assert one.data == two.data and one.split == two.split and one.calibration and two.calibration
    assert one.calibration.reference == pytest.approx(two.calibration.reference, abs=0.02)
    assert one.raw_threshold == pytest.approx(two.raw_threshold, abs=0.02)
    assert distance(*weights) < 1e-3


@pytest.mark.slow
def test_a_process_that_dies_ends_the_training_with_a_sentence(drawn: list[Example], tmp_path: Path) -> None:
    said = do(in_processes(2), *fit_command(tmp_path, drawn), code=1, DIE_AFTER="3")
    assert SENTENCE in said and "Traceback" not in said.split(SENTENCE)[0]
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.slow
def test_bad_input_is_said_once(drawn: list[Example], tmp_path: Path) -> None:
    said = do(in_processes(2), *fit_command(tmp_path, drawn[::2]), code=1)
    assert said.count("All fields come from one slide") == 1


def test_what_several_processes_cannot_do_is_a_sentence(
    drawn: list[Example], quick: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "size", lambda: 3)
    with pytest.raises(ValueError, match="are trained without torchrun"):
        fit(drawn, [], quick, tmp_path / "o.safetensors", work=tmp_path, jobs=2)
    with pytest.raises(ValueError, match="A batch of 2 crops cannot be shared by 3 processes"):
        fit_net(METHODS["segmitos"].build(quick.encoder, False), drawn, quick)
    monkeypatch.setattr(ranks, "gather", lambda identity: [identity, "another"])
    with pytest.raises(UnusableData, match="have not the same annotations; please give all of them the same"):
        check_same("mine", "annotations")


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConcentricError, match="2 processes and 1 GPUs"), joined():
        pass


RETRAIN = ["--base", "instance-max-lite-1", "--steps", "4", "--folds", "2"]


@pytest.mark.slow
def test_a_run_in_two_processes_makes_the_version_of_one(tmp_path: Path) -> None:
    """Of one that takes up what two left when one of them died."""
    made = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        finished_fields(folder).close()
        command = ["command", "run", "--data", str(folder)]
        if count == 1:
            said = do(in_processes(2), *command, *RETRAIN, code=1, DIE_AFTER="2")
            assert f"Run 1: failed. {SENTENCE}" in said
            said = do(ALONE, *command, "--run", "1")
        else:
            said = do(in_processes(2), *command, *RETRAIN)
        assert said.count("Run 1: done.") == 1
        store = open_store(folder)
        made.append(load_version(store, list_stored(store)[0].name))
    assert made[0].card.raw_threshold == pytest.approx(made[1].card.raw_threshold, abs=0.01)
    one, two, base = (
        {name: value for name, value in model.net().state_dict().items() if "classify" in name}
        for model in (*made, load_model("instance-max-lite-1"))
    )
    assert distance(one, two) < 1e-5
    assert distance(one, base) > 1e-4  # it learnt


@pytest.mark.slow
def test_heads_are_trained_by_one_process_and_it_says_so(tmp_path: Path) -> None:
    finished_fields(tmp_path, 3).close()
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
    assert sampler.share == 0 and float(sampler.weigh(nothing).detach()) == 0
