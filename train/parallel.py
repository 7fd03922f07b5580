"""Training in several processes under torchrun: how they meet, one network in all of them, and what ends them.

    torchrun --nproc-per-node 2 -m train fit ...

Every process draws its share of the same batch that one process alone would draw, and the losses divide by the counts
of the whole batch (`mitosis_core.ranks.divisor`): the gradient is that of one process, but for the order of its sums.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mitosis_core import ranks
from mitosis_core.errors import ConcentricError, UnusableData

_LONGEST_WAIT = timedelta(days=2)  # while the first process chooses settings; one that is dead is noticed at once
_OF_THE_CONNECTION = ("connection", "gloo", "nccl", "socket", "broken pipe")


class RankLost(ConcentricError):
    """Another process has ended, so this training cannot go on."""


_LOST = (
    "One of the processes of this training has ended or was told to stop, so the training has stopped. What was done "
    "up to the last checkpoint is kept; the same command, with any number of processes, goes on from there."
)


def wanted() -> int:
    """How many processes torchrun has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ and "MASTER_ADDR" in os.environ else 1


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that torchrun started train together; without torchrun nothing is different.

    Raises ConcentricError when there are more processes than GPUs, RankLost when one ends before its time.
    """
    if wanted() == 1:
        yield
        return
    cuda = torch.cuda.is_available()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if cuda and here > torch.cuda.device_count():
        raise ConcentricError(
            f"There are {here} processes and {torch.cuda.device_count()} GPUs on this machine; please start one "
            "process for each GPU (torchrun --nproc-per-node)."
        )
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    signal.signal(signal.SIGTERM, _stop)  # torchrun sends it when one of the others is dead
    with lost_as_sentence():
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_LONGEST_WAIT)
        yield
        dist.destroy_process_group()


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: there may be something to store
    raise RankLost(_LOST)


@contextmanager
def lost_as_sentence() -> Iterator[None]:
    """What torch says when another process is gone becomes RankLost; all else passes."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).lower()
        if wanted() > 1 and (isinstance(error, dist.DistError) or any(one in said for one in _OF_THE_CONNECTION)):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise RankLost(_LOST) from error
        raise


def check_same(identity: Any, what: str) -> None:
    """Raises UnusableData unless this is the same in all processes."""
    if any(one != identity for one in ranks.gather(identity)):
        raise UnusableData(
            f"The processes of this training have not the same {what}; please give all of them the same."
        )


def share_network(net: nn.Module) -> None:
    """The weights of the first process, for all."""
    if ranks.size() > 1:
        net.load_state_dict(ranks.from_first(net.state_dict))


def in_parallel(learner: nn.Module, *, idle_parts: bool) -> nn.Module:
    """A module whose forward is a loss, on its device, so that its backward gives every process the gradient of the
    whole batch; batch norms take their statistics from the whole batch too. A single process gets it as it is.
    idle_parts: some weights have no say in some batches, or in any."""
    if ranks.size() == 1:
        return learner
    # A group of its own: its sums and those of the gradients need no common order.
    statistics = cast(dist.ProcessGroup, dist.new_group(timeout=_LONGEST_WAIT))
    if next(learner.parameters()).is_cuda:
        learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner, statistics)  # type: ignore[no-untyped-call]
    else:
        _share_batch_norms(learner, statistics)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch is about to give broadcast_buffers another name
        return DistributedDataParallel(learner, broadcast_buffers=False, find_unused_parameters=idle_parts)


def _share_batch_norms(module: nn.Module, group: dist.ProcessGroup) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SharedBatchNorm(child, group))
        else:
            _share_batch_norms(child, group)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm by the mean and variance of the whole batch: torch's SyncBatchNorm, which is for GPUs alone.

    It takes the place of `norm` and has its weights and statistics.
    """

    def __init__(self, norm: nn.BatchNorm2d, group: dist.ProcessGroup) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self._parameters, self._buffers, self.training = norm._parameters, norm._buffers, norm.training
        self._group = group

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> the same shape; as torch's batch norm when not training."""
        if not self.training:
            return super().forward(x)
        here = float(x.numel() // x.shape[1])
        count = _sum(torch.tensor([here]), self._group)
        # Mean and variance of each share, then of all (Chan et al. 1979): exact also where a channel hardly varies.
        own_variance, own_mean = torch.var_mean(x.float(), (0, 2, 3), correction=0)
        mean = _sum(own_mean * here, self._group) / count
        variance = _sum((own_variance + (own_mean - mean).square()) * here, self._group) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift.view(1, -1, 1, 1), x, scale.view(1, -1, 1, 1)).to(x.dtype)

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None, "no network here takes the plain mean of all batches"
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class _Sum(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        ctx.group = group
        summed = value.clone()
        dist.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        summed = gradient.clone()
        dist.all_reduce(summed, group=ctx.group)
        return summed, None


def _sum(value: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    summed: torch.Tensor = _Sum.apply(value, group)
    return summed


def crop_workers(most: int) -> int:
    """How many processes may cut crops for this one: the cores of a machine are shared by its processes."""
    return max(1, min(most, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
