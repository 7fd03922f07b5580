"""The real pages and routes over a detector whose answers are known: `streamlit run tests/browser/fake_app.py`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from pages.shared import cache
from pages.shared.board.routes import FILE_ROUTES
from pages.shared.guard import MIDDLEWARE
from pages.shared.service import detecting
from pages.shared.shell import show_unexpected_error
from pages.shared.viewer.routes import ROUTES
from tests.pages.fakes import FakeDetector

PagesManager.uses_pages_directory = False  # as app.py does, which here is read only when a page is asked for
FakeDetector().install(detecting)
cache.describe_device = detecting.describe_device

app = st.App(
    Path(__file__).parents[2] / "app.py",
    routes=[*ROUTES, *FILE_ROUTES],
    middleware=MIDDLEWARE,
    on_script_error=show_unexpected_error,
)
