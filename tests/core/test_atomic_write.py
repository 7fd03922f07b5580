"""A file that is written is whole, or it is as it was before."""

from __future__ import annotations

from pathlib import Path

import pytest

from mitosis_core.atomic_write import atomic_write


def test_the_new_content_is_there_at_the_end_of_the_block_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "card.json"
    for content in ("first", "second"):
        with atomic_write(path) as part:
            part.write_text(content)
            assert part.parent == path.parent and (not path.exists() or path.read_text() != content)
        assert path.read_text() == content and list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_content_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
