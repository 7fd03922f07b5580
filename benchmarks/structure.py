"""The structure of the code in figures: folders, imports, sizes, loose types.

`python -m benchmarks.structure [--quick]` reads the source as text, writes benchmarks/results/structure.json and prints
the same JSON as its last line. It takes about a second either way.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import write_result

ROOT = Path(__file__).parent.parent
PARTS = ("mitosis_core", "db", "train", "pages", "benchmarks")
_HERE = Path(__file__).relative_to(ROOT)
_COUNTED = ("dict[str, Any]", "fmt: skip")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

Graph = dict[str, set[str]]


def sources() -> dict[Path, str]:
    """Every Python file of the product, relative to the repository, and its text; without migrations and tests."""
    files = [path for part in PARTS for path in sorted((ROOT / part).rglob("*.py")) if "migrations" not in path.parts]
    return {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in [ROOT / "app.py", *files]}


def module_name(path: Path) -> str:
    """The dotted name of a file: that of its folder for `__init__.py`."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def import_graph(texts: Mapping[Path, str]) -> Graph:
    """Every module and those of ours that it imports, also inside its functions and for types alone."""
    graph: Graph = {module_name(path): set() for path in texts}
    for path, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                named = [name if name in graph else node.module for name in whole]
            else:
                continue
            graph[module_name(path)] |= {name for name in named if name in graph and name != module_name(path)}
    return graph


def within(graph: Graph, part: str, *, by_room: bool) -> Graph:
    """The imports inside one part: between its files, or between its rooms, the files and folders directly in it."""

    def place(module: str) -> str:
        return ".".join(module.split(".")[:2]) if by_room else module

    inside = {module: uses for module, uses in graph.items() if module.startswith(f"{part}.")}
    found: Graph = {place(module): set() for module in inside}
    for module, uses in inside.items():
        found[place(module)] |= {place(used) for used in uses if used in inside} - {place(module)}
    return found


def floors(graph: Graph) -> int:
    """How many modules the longest chain of imports holds. Raises CycleError where imports go in a circle."""
    height: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        height[name] = 1 + max((height[used] for used in graph[name]), default=0)
    return max(height.values())


def functions(texts: Mapping[Path, str]) -> dict[str, int]:
    """Lines of every function, its docstring among them."""
    return {
        f"{path.as_posix()}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, _FUNCTIONS)
    }


def measure() -> dict[str, Any]:
    """Counts over the product, and the shape of train/: its files, and its rooms (files and folders directly in it)."""
    texts = sources()
    lines = [len(text.splitlines()) for path, text in texts.items() if text.strip()]
    graph, longest = import_graph(texts), functions(texts)
    counts = {word: sum(text.count(word) for path, text in texts.items() if path != _HERE) for word in _COUNTED}
    name = max(longest, key=longest.__getitem__)
    shapes = {kind: within(graph, "train", by_room=kind == "rooms") for kind in ("files", "rooms")}
    return {
        "files_per_folder": dict(
            sorted(Counter(path.parent.as_posix() for path, text in texts.items() if text.strip()).items())
        ),
        "train": {
            kind: {"count": len(shape), "floors": floors(shape), "arrows": sum(map(len, shape.values()))}
            for kind, shape in shapes.items()
        },
        "modules": len(lines),
        "module_lines_median": median(lines),
        "module_lines_max": max(lines),
        "dict_str_any": counts["dict[str, Any]"],
        "fmt_skip": counts["fmt: skip"],
        "longest_function": name,
        "longest_function_lines": longest[name],
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same: it is quick")
    parser.parse_args()
    write_result("structure", measure())


if __name__ == "__main__":
    main()
