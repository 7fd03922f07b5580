"""The files that containers are made from. Nothing is built: that needs an engine."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pages.shared.operation.settings import SETTINGS

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
OWN = [name for name, service in COMPOSE["services"].items() if "concentric" in service["image"]]


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if not hadolint:
        pytest.skip("hadolint is not installed (pip install -r requirements-dev.txt)")
    said = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    sources = [name for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    assert {"app.py", "pages", "requirements.lock"} <= set(sources)
    for name in sources:
        assert (ROOT / name).exists() and any(one == name or one.startswith(f"{name}/") for one in kept), name


def test_every_package_of_the_program_is_in_the_image() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks", "docs"}
    assert packages and all(re.search(rf"^COPY {name} {name}$", DOCKERFILE, re.MULTILINE) for name in packages)


def test_the_app_and_the_workers_may_change_nothing_but_their_volumes() -> None:
    assert re.search(r"^USER \d{4,}$", DOCKERFILE, re.MULTILINE) and {"app", "worker"} <= set(OWN)
    for name in OWN:
        service = COMPOSE["services"][name]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_only_the_proxy_is_reached_from_outside() -> None:
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["proxy"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    outside = [name for name, service in COMPOSE["services"].items() if "outside" in service["networks"]]
    assert outside == ["proxy"]


def test_every_variable_of_the_program_that_is_set_exists() -> None:
    named = set(re.findall(r"\b(CONCENTRIC_[A-Z_]+)[=:]", DOCKERFILE + (ROOT / "compose.yaml").read_text("utf-8")))
    assert "CONCENTRIC_DATA" in named
    assert named - {"CONCENTRIC_TARGET"} <= {one.name for one in SETTINGS}


def test_every_variable_that_the_operator_has_to_give_is_described() -> None:
    wanted = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text("utf-8")))
    described = (ROOT / "docs/containers.md").read_text("utf-8")
    assert not [name for name in wanted if f"`{name}`" not in described]
