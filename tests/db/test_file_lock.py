"""One process has the lock, the next one when it is let go; and where the system has none the program still starts."""

import subprocess
import sys
from pathlib import Path

from db.file_lock import file_lock


def test_one_has_it_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with file_lock(path) as first, file_lock(path) as second:
        assert first() and not second()
        assert first()  # still
    with file_lock(path) as third:
        assert third()


def test_without_such_locks_the_store_of_the_app_is_there_and_every_lock_is_free(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["fcntl"] = None
import pages.shared.store
from pathlib import Path
from db.file_lock import file_lock
with file_lock(Path({str(tmp_path / "a.lock")!r})) as one, file_lock(Path({str(tmp_path / "a.lock")!r})) as other:
    print(one(), other())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
