"""Writes the tables of docs/retraining.md: `python -m docs.retraining_tables`."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.readme import changes, ways_table
from train.retrain.config import HEADS_ONLY, RetrainConfig

ROOT = Path(__file__).parent.parent
PAGE, FIGURES = ROOT / "docs/retraining.md", ROOT / "benchmarks/results/label_efficiency.json"


def options_table() -> str:
    """Every option of RetrainConfig with its default, its bounds, and the way of retraining for which it acts."""
    rows = ["| option | default | from | to | acts for | what it is |", "|---|---|---|---|---|---|"]
    for option in dataclasses.fields(RetrainConfig):
        about = option.metadata
        bounds = " | ".join(f"{about[end]:.10g}" for end in ("low", "high"))
        way = "heads" if option.name in HEADS_ONLY else "both"
        rows.append(f"| `{option.name}` | {option.default:g} | {bounds} | {way} | {about['help']} |")  # type: ignore[str-format]
    return "\n".join(rows)


def gain_table(result: dict[str, Any]) -> str:
    """Gain, forgetting and seconds by the number of corrected fields."""
    rows = [
        "| corrected fields | gain in F1 on the other fields of the slide | 95 % interval | change of F1 on what was "
        "known before | seconds of a round |",
        "|---|---|---|---|---|",
    ]
    for fields, gain in result["gain"].items():
        rows.append(
            f"| {fields} | **{gain['mean']:+.3f}** | {gain['low']:+.3f} to {gain['high']:+.3f} | "
            f"{changes(result['forgetting_at'][fields])} | {result['seconds_at'][fields]:.0f} |"
        )
    return "\n".join([*rows, "", ways_table(result)])


def write_tables(text: str) -> str:
    """The page with both tables written anew."""
    tables = {"options": options_table(), "gain": gain_table(json.loads(FIGURES.read_text(encoding="utf-8")))}
    for name, table in tables.items():
        marks = re.compile(rf"(<!-- table:{name} -->\n).*?(<!-- /table:{name} -->)", re.DOTALL)
        text = marks.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    PAGE.write_text(write_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
