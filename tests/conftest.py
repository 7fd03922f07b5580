"""Laws hold at any speed: a busy machine is no reason for a property test to fail. Nothing is stored outside a test."""

import atexit
import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
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
    """Tests that ask for a PostgreSQL server are marked."""
    for item in items:
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")


@pytest.fixture(scope="session", autouse=True)
def _new_databases_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of one that the migrations made: a thousand tests begin with a new one."""
    from db.dialects import sqlite

    new = sqlite.SqliteDatabase(tmp_path_factory.mktemp("new") / sqlite.DATABASE, 1.0)
    new.migrate()
    with closing(sqlite3.connect(new.file)) as made:
        statements = [one for one in made.iterdump() if one not in ("BEGIN TRANSACTION;", "COMMIT;")]
    upgrade = sqlite.upgrade

    def copy_or_upgrade(connection: Any, to: str, *, before_a_new_one: Callable[[], object], **rest: Any) -> bool:
        if to != "head" or connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first():
            return upgrade(connection, to, before_a_new_one=before_a_new_one, **rest)
        before_a_new_one()
        for statement in statements:
            connection.exec_driver_sql(statement)
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "upgrade", copy_or_upgrade)
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
