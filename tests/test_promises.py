"""What the documents promise is there."""

import re
import subprocess
from pathlib import Path

import pytest

from mitosis_core import __version__
from mitosis_core.methods import METHODS

ROOT = Path(__file__).parent.parent


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^(\w+):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"`make (\w+)`", text("README.md") + text("CONTRIBUTING.md")))
    assert {"run", "test"} <= named <= targets


def test_every_dependency_is_explained() -> None:
    fixed = {"streamlit", "torch", "torchvision", "pillow", "numpy", "scikit-image", "plotly", "sqlalchemy"}
    lines = (text("requirements.txt") + text("requirements-dev.txt")).splitlines()
    names = {re.split(r"[<>=;\[ ]", line)[0] for line in lines if line and line[0] not in "#-"}
    assert not [name for name in names - fixed if name not in text("docs/architecture.md")]


def test_every_method_is_described() -> None:
    headings = set(re.findall(r"^## (\w+)", text("docs/methods.md"), re.MULTILINE))
    assert set(METHODS) <= headings


def test_links_of_the_documents_lead_somewhere() -> None:
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
    ):
        for link in re.findall(r"\]\(([^)#:]+)\)", text(name)):
            assert ((ROOT / name).parent / link).exists(), f"{name}: {link}"


def test_nothing_committed_points_outside_the_repository() -> None:
    try:
        files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    outside = "../" + "shared"
    assert not [f for f in files if f.endswith((".py", ".md", ".toml", ".js", "Makefile")) and outside in text(f)]


def test_every_file_that_the_recipes_for_contributors_name_exists() -> None:
    named = set(re.findall(r"`((?:[\w.-]+/)+(?:[\w.-]+)?)`", text("CONTRIBUTING.md")))
    assert len(named) > 10
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_every_decision_is_listed() -> None:
    pages = {path.name for path in (ROOT / "docs/decisions").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", text("docs/decisions/README.md"))) == pages


def test_the_version_is_in_the_changelog_or_under_way() -> None:
    newest = re.findall(r"^## \[([^]]+)\]", text("CHANGELOG.md"), re.MULTILINE)
    assert newest[0] == "Unreleased"
    assert ".dev" in __version__ or newest[1] == __version__
