"""Laws hold at any speed: a busy machine is no reason for a property test to fail. Nothing is stored outside a test."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("no deadline")
os.environ["OMP_NUM_THREADS"] = "1"  # two processes test at once; threads that wait for each other's cores are slower
os.environ["CONCENTRIC_BACKUP_DAYS"] = "0"  # no test waits for, or trips over, the daily copy of a store
os.environ["CONCENTRIC_DATA"] = tempfile.mkdtemp(prefix="concentric-tests-")
atexit.register(shutil.rmtree, os.environ["CONCENTRIC_DATA"], ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Says how a process of the tests ended that should not have: minus the signal, where it was one."""
    if error:
        try:
            how = node.gateway._io.popen.wait(timeout=10)
        except subprocess.TimeoutExpired:
            how = "not at all: it only no longer answers"
        print(f"\n{node.gateway.id} ended with {how}", file=sys.stderr)
