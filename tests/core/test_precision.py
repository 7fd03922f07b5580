"""Half precision only where the processor computes in it."""

import pytest
import torch

from mitosis_core.precision import autocast

CPU = torch.device("cpu")


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_computes_in_half_precision_only_where_it_is_native(
    native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mitosis_core.precision.has_half", lambda device: native)
    with autocast(CPU):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype is expected


def test_full_precision_can_be_asked_for() -> None:
    with autocast(CPU, half=False):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype is torch.float32
