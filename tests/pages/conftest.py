from __future__ import annotations

import pytest
import streamlit as st

from pages.shared import actions, cache
from tests.pages.fakes import FakeDetector


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> FakeDetector:
    """The fake detector in the place of the real one, for one test."""
    for name in ("predict", "load_model", "list_versions", "describe_device"):
        monkeypatch.setattr(actions, name, None)  # so that the real ones come back afterwards
    fake = FakeDetector()
    fake.install(actions)
    monkeypatch.setattr(cache, "describe_device", actions.describe_device)
    st.cache_resource.clear()
    return fake
