from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner

from db.engine import Store
from mitosis_core import model
from mitosis_core.model import DEFAULT_VERSION
from pages.shared import cache
from pages.shared.service import detecting
from pages.shared.service.tissue_cache import TISSUES
from pages.shared.store import the_store
from tests.pages.fakes import FakeDetector
from tests.train.finished import finished_fields


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> FakeDetector:
    """The fake detector in the place of the real one, for one test."""
    for name in ("predict", "load_model", "list_versions", "describe_device"):
        monkeypatch.setattr(detecting, name, None)  # so that the real ones come back afterwards
    fake = FakeDetector()
    fake.install(detecting)
    monkeypatch.setattr(cache, "describe_device", detecting.describe_device)
    st.cache_resource.clear()
    return fake


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store of the pages, with two fields that Anna has finished: 3 mitoses and 2 look-alikes each."""
    finished_fields(tmp_path / "data", fields=2)
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    st.cache_resource.clear()
    yield the_store()
    st.cache_resource.clear()


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page opens the store."""
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))


@pytest.fixture(autouse=True)
def _tissue_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages do not wait for the tissue of a field; tests do, so that their figures are the same every time."""
    monkeypatch.setattr(TISSUES, "soon", TISSUES.of)


@pytest.fixture(autouse=True)
def _one_shipped_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The pages here have the default version alone; how many are shipped is another question."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for suffix in (".safetensors", ".json"):
        (shipped / f"{DEFAULT_VERSION}{suffix}").symlink_to((model._SHIPPED / f"{DEFAULT_VERSION}{suffix}").resolve())
    monkeypatch.setattr(model, "_SHIPPED", shipped)
    model.load_model.cache_clear()
    yield
    model.load_model.cache_clear()  # the files that it knows go with the test


@pytest.fixture(scope="session", autouse=True)
def _components_are_sought_once() -> Iterator[None]:
    """Each AppTest lets Streamlit read the description of every installed package, half the time of a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            manifest_scanner, "scan_component_manifests", functools.cache(manifest_scanner.scan_component_manifests)
        )
        yield
