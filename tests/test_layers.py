"""Imports go one way, and the core is cheap to import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WEB, SQL = {"streamlit"}, {"sqlalchemy"}
OURS = {"db", "train", "pages", "app", "benchmarks", "tests"}
BANNED = {
    "mitosis_core": WEB | SQL | OURS,
    "db": WEB | {"torch"} | (OURS - {"db"}),
    "train": WEB | (OURS - {"train", "db"}),
    "pages/shared/actions.py": WEB,
    "pages/shared/reviewing.py": WEB,
    "pages/shared/comparing.py": WEB,
    "pages/shared/training.py": WEB,
    "pages/shared/efficiency.py": WEB,
    "pages/shared/keeping.py": WEB,
    "pages/shared/versus.py": WEB,
    "benchmarks": WEB,
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
    place = ROOT / part
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    wrong = {str(f.relative_to(ROOT)): imported(f) & BANNED[part] for f in files}
    assert not {name: names for name, names in wrong.items() if names}


def test_only_the_job_of_a_run_knows_the_store() -> None:
    assert not [f.name for f in (ROOT / "train").glob("*.py") if f.name != "job.py" and "db" in imported(f)]


def test_importing_the_core_is_cheap() -> None:
    code = "import sys, mitosis_core; print([m for m in ('torch', 'cv2', 'openvino', 'streamlit') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
