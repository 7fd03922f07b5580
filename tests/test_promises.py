"""What the documents promise is there."""

import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from docs.settings_table import write_table
from mitosis_core import __version__
from mitosis_core.methods import METHODS
from pages.shared.operation.settings import SETTINGS
from train.config import TrainConfig
from train.retrain.config import RetrainConfig

ROOT = Path(__file__).parent.parent


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^(\w+):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"`make (\w+)`", text("README.md") + text("CONTRIBUTING.md")))
    assert {"run", "test"} <= named <= targets


def test_every_dependency_is_explained() -> None:
    fixed = {"streamlit", "torch", "torchvision", "pillow", "numpy", "scikit-image", "plotly", "sqlalchemy"}
    lines = [line for kind in ("", "-dev", "-scale") for line in text(f"requirements{kind}.txt").splitlines()]
    names = {re.split(r"[<>=;\[ ]", line)[0] for line in lines if line and line[0] not in "#-"}
    explained = set(re.findall(r"[\w.-]+", text("docs/architecture.md")))
    assert len(names) > 30 and names - fixed <= explained


def test_the_lock_holds_every_requirement_within_its_range_and_with_digests() -> None:
    lock = text("requirements.lock")
    pins: dict[str, set[str]] = {}
    for pin in re.split(r"\n(?=[a-z])", lock):
        name, release = re.match(r"([\w.-]+)==([\w.]+)", pin).groups()  # type: ignore[union-attr]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin), name
        pins.setdefault(name, set()).add(release)
    wanted = [Requirement(line) for line in text("requirements.txt").splitlines() if line and line[0] != "#"]
    assert len(wanted) > 10
    for one in wanted:
        assert pins.get(one.name), f"{one.name}: please run `make lock`"
        assert all(release in one.specifier for release in pins[one.name]), one.name
    assert "://" not in lock and "index" not in lock and "find-links" not in lock


def test_every_environment_variable_is_in_the_table_of_settings() -> None:
    files = [
        ROOT / "app.py",
        *(f for part in ("pages", "train", "db", "mitosis_core") for f in (ROOT / part).rglob("*.py")),
    ]
    read = {name for f in files for name in re.findall(r"\bCONCENTRIC_[A-Z_]*[A-Z]\b", f.read_text(encoding="utf-8"))}
    assert read <= {one.name for one in SETTINGS}
    assert write_table(text("docs/security.md")) == text("docs/security.md"), "python -m docs.settings_table"


def test_every_method_is_described() -> None:
    headings = set(re.findall(r"^## (\w+)", text("docs/methods.md"), re.MULTILINE))
    assert set(METHODS) <= headings


def test_links_of_the_documents_lead_somewhere() -> None:
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
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


def test_the_names_that_contributors_are_sent_to_stand_in_their_files() -> None:
    """`file` (`name`, and `name` ...): each name is in that file."""
    found = re.findall(r"`([\w./-]+)` \(((?:[^()]*`[^`]+`)[^()]*)\)", text("CONTRIBUTING.md"))
    assert len(found) >= 7
    for file, names in found:
        assert not [name for name in re.findall(r"`(\w+)`", names) if name not in text(file)], file


def test_the_key_for_reject_stands_in_one_file() -> None:
    acts = [
        path for path in (ROOT / "pages/shared/viewer").glob("*.js") if "viewer.reject()" in path.read_text("utf-8")
    ]
    assert [path.name for path in acts] == ["keys.js"]


def test_the_loss_weight_has_one_default() -> None:
    assert RetrainConfig().mitosis_weight == TrainConfig().mitosis_weight
    assert "TrainConfig.mitosis_weight" in text("train/retrain/config.py")


def test_every_decision_is_listed() -> None:
    pages = {path.name for path in (ROOT / "docs/decisions").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", text("docs/decisions/README.md"))) == pages


def test_the_version_is_in_the_changelog_or_under_way() -> None:
    newest = re.findall(r"^## \[([^]]+)\]", text("CHANGELOG.md"), re.MULTILINE)
    assert newest[0] == "Unreleased"
    assert ".dev" in __version__ or newest[1] == __version__
