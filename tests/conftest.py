"""Laws hold at any speed: a busy machine is no reason for a property test to fail. Nothing is stored outside a test."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("no deadline")
sys.dont_write_bytecode = False  # the many processes of the tests need not compile the same code each time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["OMP_NUM_THREADS"] = "1"  # two processes test at once; threads that wait for each other's cores are slower
os.environ["CONCENTRIC_BACKUP_DAYS"] = "0"  # no test waits for, or trips over, the daily copy of a store
os.environ["CONCENTRIC_DATA"] = tempfile.mkdtemp(prefix="concentric-tests-")
atexit.register(shutil.rmtree, os.environ["CONCENTRIC_DATA"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on a PostgreSQL server are marked, whether they ask for it or are given it beside SQLite."""
    for item in items:
        given = getattr(item, "callspec", None)
        on_server = given and given.params.get("database") == "postgres"
        if on_server or "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")


@pytest.fixture(scope="session", autouse=True)
def _new_databases_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of one that the migrations made: a thousand tests begin with a new one."""
    from db.dialects.sqlite import DATABASE, SqliteDatabase
    from db.disk import create

    migrate = SqliteDatabase.migrate
    new = SqliteDatabase(tmp_path_factory.mktemp("new") / DATABASE, 1.0)
    migrate(new)
    content = new.file.read_bytes()

    def copy_and_migrate(self: SqliteDatabase, to: str = "head", *, beside_images: bool = False) -> None:
        images = self.folder / "images"
        if to == "head" and not self.file.exists() and not (images.is_dir() and any(images.iterdir())):
            with create(self.file) as file:
                file.write(content)
        migrate(self, to, beside_images=beside_images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteDatabase, "migrate", copy_and_migrate)
        yield


@pytest.fixture(scope="session", autouse=True)
def _components_are_sought_once() -> Iterator[None]:
    """Each AppTest lets Streamlit read the description of every installed package, half the time of a page."""
    from streamlit.components.v2 import manifest_scanner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


def pytest_collection_finish() -> None:
    """All that was imported stays; looking through it for garbage again and again takes a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)  # as the app has it


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Says how a process of the tests ended that should not have: minus the signal, where it was one."""
    if error:
        try:
            how = node.gateway._io.popen.wait(timeout=10)
        except subprocess.TimeoutExpired:
            how = "not at all: it only no longer answers"
        print(f"\n{node.gateway.id} ended with {how}", file=sys.stderr)
