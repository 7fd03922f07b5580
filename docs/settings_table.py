"""Writes the table of settings of docs/security.md: `python -m docs.settings_table`."""

from __future__ import annotations

import re
from pathlib import Path

from pages.shared.operation.settings import SETTINGS

PAGE = Path(__file__).parent / "security.md"
_MARKS = re.compile(r"(<!-- table:settings -->\n).*?(<!-- /table:settings -->)", re.DOTALL)


def settings_table() -> str:
    """Every environment variable with its default."""
    rows = [f"| `{one.name}` | {one.default} | {one.about} |" for one in SETTINGS]
    return "\n".join(["| variable | without it | what it is |", "|---|---|---|", *rows])


def write_table(text: str) -> str:
    """The page with its table written anew."""
    return _MARKS.sub(lambda found: f"{found[1]}{settings_table()}\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(write_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
