"""Laws hold at any speed: a busy machine is no reason for a property test to fail. Nothing is stored outside a test."""

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

settings.register_profile("no deadline", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("no deadline")
os.environ["OMP_NUM_THREADS"] = "1"  # two processes test at once; threads that wait for each other's cores are slower
os.environ["CONCENTRIC_BACKUP_DAYS"] = "0"  # no test waits for, or trips over, the daily copy of a store
os.environ["CONCENTRIC_DATA"] = tempfile.mkdtemp(prefix="concentric-tests-")
atexit.register(shutil.rmtree, os.environ["CONCENTRIC_DATA"], ignore_errors=True)
