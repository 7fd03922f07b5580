"""The commands: 0 only when all is well, a sentence otherwise."""

from pathlib import Path

import pytest

from db.__main__ import main
from db.engine import Store
from db.fields import image_path, list_fields


@pytest.fixture
def configured(filled: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that the environment leads to."""
    monkeypatch.setenv("CONCENTRIC_DATABASE", filled.url)
    return filled


def test_backup_verify_restore_doctor(
    configured: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = configured
    file, back, data = str(tmp_path / "b.zip"), str(tmp_path / "back"), str(filled.folder)
    assert main(["backup", file, "--data", data]) == 0
    assert main(["verify", file]) == 0 and main(["restore", file, back]) == 0 and main(["doctor", data]) == 0
    monkeypatch.delenv("CONCENTRIC_DATABASE")  # an archive is unpacked into a folder with a database of its own
    assert main(["doctor", back]) == 0
    assert "2 fields, 4 events" in capsys.readouterr().out
    assert main(["restore", file, back]) == 2 and "not empty" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "none.zip")]) == 2
    Path(file).write_bytes(Path(file).read_bytes()[:-200])
    assert main(["verify", file]) == 2 and "no backup" in capsys.readouterr().err


def test_the_exit_code_tells_that_something_is_wrong(
    configured: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = configured
    data, file = str(filled.folder), str(tmp_path / "b.zip")
    (filled.images / "left.png").write_bytes(b"x")
    assert main(["doctor", data]) == 1 and "can be repaired with --repair" in capsys.readouterr().out
    assert main(["doctor", data, "--mend"]) == 0 and "[note] 1 file without a field" in capsys.readouterr().out
    image_path(filled, list_fields(filled)[0].digest).unlink()
    assert main(["doctor", data]) == 1 and main(["backup", file, "--data", data]) == 1
    assert main(["verify", file]) == 1 and "was missing" in capsys.readouterr().err


def test_commands_make_no_store_where_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["backup", str(tmp_path / "b.zip"), "--data"], ["audit", "--data"], ["doctor"]):
        assert main([*command, str(tmp_path / "none")]) == 2
        assert main([*command, str(tmp_path)]) in (1, 2)
    assert list(tmp_path.iterdir()) == [] and "There is no database" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_audit_goes_to_the_terminal_or_a_new_file(
    configured: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    asked = ["audit", "--data", str(configured.folder), "--format", form]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert main([*asked, "--out", str(tmp_path / "audit")]) == 0
    assert (tmp_path / "audit").read_bytes().decode() == shown and "6 entries" in capsys.readouterr().out
    assert main([*asked, "--out", str(tmp_path / "audit")]) == 2
