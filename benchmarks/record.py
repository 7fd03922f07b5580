"""Where a benchmark's figures go: benchmarks/results/NAME.json, and its last printed line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


Figures = dict[str, Any]  # what a benchmark writes: JSON


def write_result(name: str, figures: Figures) -> None:
    """Write the figures and print them as one line of JSON."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))


def cpu_name() -> str:
    """The processor's own name, and how many cores this machine shows."""
    import os
    import platform

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores"
