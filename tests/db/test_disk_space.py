"""The reserve on the disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from db import disk_space
from db.errors import StoreFull


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 MB are free."""
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: SimpleNamespace(free=600_000_000))


def test_what_leaves_the_reserve_free_may_be_written(free: None, tmp_path: Path) -> None:
    disk_space.check_disk_space(tmp_path)
    disk_space.check_disk_space(tmp_path, coming=100_000_000)
    with pytest.raises(StoreFull, match=r"Only 600 MB are free .* 500 MB are kept"):
        disk_space.check_disk_space(tmp_path, coming=100_000_001)
    assert disk_space.disk_space_warning(tmp_path) == ""


@pytest.mark.parametrize(
    ("said", "mb"), [("", 500), ("700", 700), ("0.5", 0.5), ("0", 0), ("-1", 0), ("much", 500), ("inf", 500)]
)
def test_the_reserve_is_the_operators(monkeypatch: pytest.MonkeyPatch, said: str, mb: float) -> None:
    monkeypatch.setenv("CONCENTRIC_RESERVE_MB", said)
    assert disk_space.reserve_bytes() == mb * 1e6


def test_a_warning_says_what_is_refused(free: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONCENTRIC_RESERVE_MB", "601")
    assert "no new fields, versions or runs" in disk_space.disk_space_warning(tmp_path)
    assert "Reviews are still saved." in disk_space.disk_space_warning(tmp_path)


def test_where_there_is_no_folder_there_is_no_warning(tmp_path: Path) -> None:
    assert disk_space.disk_space_warning(tmp_path / "none") == ""
