"""The processes that train one network together (torch.distributed); one alone, unless torchrun started several.

Every function here gives a single process its own argument back. Those that exchange something are called by all
processes, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from mitosis_core.errors import ConcentricError

T = TypeVar("T")
S = TypeVar("S")

_shared = True  # False inside `alone`


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _shared and dist.is_available() and dist.is_initialized() else 1


def number() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if size() > 1 else 0


def is_first() -> bool:
    """Whether this is the one that writes files and speaks."""
    return number() == 0


@contextmanager
def alone() -> Iterator[None]:
    """What is done inside is no business of the other processes; `together` undoes it."""
    with _sharing(False):
        yield


@contextmanager
def together() -> Iterator[None]:
    """What is done inside `alone` is shared again."""
    with _sharing(True):
        yield


@contextmanager
def _sharing(shared: bool) -> Iterator[None]:
    global _shared
    before, _shared = _shared, shared
    try:
        yield
    finally:
        _shared = before


def share_of(length: int) -> range:
    """Which of so many items are this process's: consecutive ones, as many in each process to within one."""
    return range(length * number() // size(), length * (number() + 1) // size())


def gather(part: T) -> list[T]:
    """What every process gives, in their order. Tensors have to be on the CPU."""
    if size() == 1:
        return [part]
    parts: list[Any] = [None] * size()
    dist.all_gather_object(parts, part)
    return cast(list[T], parts)


def from_first(work: Callable[[], T]) -> T:
    """What the first process makes, for all: it reads and writes files, and decides. Raises, in all, what it raises as
    a ConcentricError or ValueError."""
    if size() == 1:
        return work()
    sent: list[Any] = [None, None]
    if is_first():
        try:
            with alone():
                sent = [work(), None]
        except (ConcentricError, ValueError) as error:
            sent = [None, error]
    dist.broadcast_object_list(sent)
    if sent[1] is not None:
        raise cast(Exception, sent[1])
    return cast(T, sent[0])


def in_all(work: Callable[[], T]) -> T:
    """Do it in every process. Where one cannot (ConcentricError, ValueError), all raise the error of the first such."""
    if size() == 1:
        return work()
    done: list[T] = []
    problem: Exception | None = None
    try:
        with alone():
            done.append(work())
    except (ConcentricError, ValueError) as error:
        problem = error
    for one in gather(problem):
        if one is not None:
            raise one
    return done[0]


def each_a_share(work: Callable[[T], S], items: Sequence[T]) -> list[S]:
    """The work on every item, in their order; each process does its share, and all have the results."""
    mine = [work(items[i]) for i in share_of(len(items))]
    return [one for part in gather(mine) for one in part]


def total(value: torch.Tensor) -> torch.Tensor:
    """The sum over the processes, without gradient."""
    if size() == 1:
        return value
    summed = value.detach().clone()
    dist.all_reduce(summed)
    return summed


def divisor(count: torch.Tensor, least: torch.Tensor | int = 1) -> torch.Tensor:
    """What a sum over `count` things in this share of a batch is divided by to become a mean, at least `least`.

    DistributedDataParallel takes the mean of the gradients of all processes, so each divides by the count of the whole
    batch over the number of processes: then that mean is the gradient of the mean over the whole batch, however unequal
    the shares.
    """
    if size() == 1:
        return count.clamp_min(least)
    return total(count).clamp_min(least) / size()


def mean(value: float) -> float:
    """The mean over the processes."""
    return value if size() == 1 else float(total(torch.tensor(value, dtype=torch.float64))) / size()
