"""The reference has a page for each module, and what the library offers stands on its first one."""

from pathlib import Path

import pytest

import mitosis_core
from docs import api_reference


@pytest.mark.slow
def test_every_module_has_its_page_and_the_first_names_what_is_offered(tmp_path: Path) -> None:
    api_reference.main(tmp_path)
    pages = {
        path.relative_to(tmp_path).with_suffix("").as_posix().replace("/", ".") for path in tmp_path.rglob("*.html")
    }
    assert pages >= set(api_reference.modules())
    first = (tmp_path / "mitosis_core.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in first for name in mitosis_core.__all__)
