"""What a version costs: its parameters, the size of its file, and the memory that detecting takes.

python -m mitosis_core.scoring.cost PIXELS.npy UM_PER_PX WEIGHTS.safetensors    prints the peak of its process, in GB
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path

import numpy as np

from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model, load_model
from mitosis_core.types import Field

_LONGEST_S = 600.0
_COUNTED_NOT_LEARNT = ("running_mean", "running_var", "num_batches_tracked")  # of a batch normalisation


class NotMeasured(ConcentricError):
    """The process that was to measure did not come to its end."""


def count_parameters(model: Model) -> int:
    """Numbers that were learnt, of all members and stages; from the head of the file, no network is built."""
    with model.weights.open("rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    learnt = {name: value for name, value in head.items() if name != "__metadata__"}
    return sum(prod(value["shape"]) for name, value in learnt.items() if not name.endswith(_COUNTED_NOT_LEARNT))


def weights_mb(model: Model) -> float:
    """The size of the weights on disk, in 10^6 bytes."""
    return model.weights.stat().st_size / 1e6


def peak_rss_gb(field: Field, model: Model) -> float:
    """The most memory, in 10^9 bytes, that a process of its own holds while it detects in this field on the CPU.

    Takes some seconds. Raises NotMeasured.
    """
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "field.npy"
        np.save(pixels, field.pixels)
        asked = [str(pixels), str(field.um_per_px), str(model.weights.resolve())]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "mitosis_core.scoring.cost", *asked],
                check=True,
                text=True,
                capture_output=True,
                timeout=_LONGEST_S,
                cwd=Path(__file__).parents[2],
            )
            return float(done.stdout.split()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            raise NotMeasured(
                f"The memory that {model.version} takes could not be measured on this machine."
            ) from error


def print_peak(pixels: str, um_per_px: str, weights: str) -> None:
    """The process of its own: detect twice and print its peak in GB."""
    field, model = Field(np.load(pixels), float(um_per_px), "field"), load_model(Path(weights))
    from mitosis_core.prediction import predict  # after what may fail: it brings torch along

    for _ in range(2):
        predict(field, model, device="cpu")
    print(_peak_bytes() / 1e9)


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # not getrusage: on Linux that starts from the peak of the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


if __name__ == "__main__":
    print_peak(*sys.argv[1:])
