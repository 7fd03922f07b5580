"""Imports go one way, between parts and between the rooms of a part; the core is cheap to import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.structure import floors, import_graph, sources, within

ROOT = Path(__file__).parent.parent
WEB, SQL = {"streamlit"}, {"sqlalchemy"}
OURS = {"db", "train", "pages", "app", "benchmarks", "tests"}
BANNED = {
    "mitosis_core": WEB | SQL | OURS,
    "db": WEB | {"torch"} | (OURS - {"db"}),
    "train": WEB | (OURS - {"train", "db"}),
    "pages/shared/service": WEB,
    "benchmarks": WEB,
}
# What a room may not know of its own part, as beginnings of module names.
ABOVE = {
    "mitosis_core.image": "mitosis_core.inference mitosis_core.scoring mitosis_core.methods mitosis_core.model",
    "mitosis_core.inference": "mitosis_core.scoring mitosis_core.prediction",
    "train.data": "train.methods train.selection train.retrain train.loop train.fit train.job",
    "train.methods": "train.selection train.retrain train.loop train.fit train.job",
    "train.selection": "train.retrain train.loop train.fit train.job",
    "pages.shared.service": "pages.shared.views pages.shared.viewer pages.shared.shell pages.shared.session",
}


def imported(path: Path) -> set[str]:
    """First names of everything a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("part", BANNED)
def test_imports_go_one_way(part: str) -> None:
    files = sorted((ROOT / part).rglob("*.py"))
    assert files
    wrong = {str(f.relative_to(ROOT)): imported(f) & BANNED[part] for f in files}
    assert not {name: names for name, names in wrong.items() if names}


@pytest.mark.parametrize("room", ABOVE)
def test_a_room_does_not_know_what_is_built_on_it(room: str) -> None:
    uses = {name: used for name, used in import_graph(sources()).items() if name.startswith(f"{room}.")}
    assert uses
    assert not [
        (name, one) for name, used in uses.items() for one in used if one.startswith(tuple(ABOVE[room].split()))
    ]


def test_the_rooms_of_training_import_each_other_one_way() -> None:
    assert floors(within(import_graph(sources()), "train", by_room=True)) > 1  # raises CycleError


def test_what_the_pages_do_runs_without_streamlit() -> None:
    names = [f"pages.shared.service.{path.stem}" for path in (ROOT / "pages/shared/service").glob("[a-z]*.py")]
    code = f"import sys, {', '.join(names)}; print('streamlit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_only_the_job_of_a_run_knows_the_store() -> None:
    assert [f.name for f in (ROOT / "train").rglob("*.py") if "db" in imported(f)] == ["job.py"]


def test_importing_the_core_is_cheap() -> None:
    code = "import sys, mitosis_core; print([m for m in ('torch', 'cv2', 'openvino', 'streamlit') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
