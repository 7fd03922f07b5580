"""Concentric: the server with its routes. Start it with `streamlit run app.py`."""

from __future__ import annotations

import streamlit as st
from starlette.middleware import Middleware
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.shared.board.routes import FILE_ROUTES
from pages.shared.guard import MIDDLEWARE, refuse_to_start_unsafely
from pages.shared.navigation import sections
from pages.shared.operation.metrics import CountAnswers
from pages.shared.operation.routes import OPERATION_ROUTES
from pages.shared.operation.start import operation
from pages.shared.shell import show_unexpected_error
from pages.shared.theme import remember_theme
from pages.shared.viewer.routes import ROUTES

# A folder pages/ would make Streamlit run the first page it is asked for without this file, and so without the menu.
PagesManager.uses_pages_directory = False

app = st.App(
    __file__,
    routes=[*ROUTES, *FILE_ROUTES, *OPERATION_ROUTES],
    middleware=[*MIDDLEWARE, Middleware(CountAnswers)],
    lifespan=operation,
    on_script_error=show_unexpected_error,
)


def main() -> None:
    """Run by Streamlit for every session; the pages do the rest."""
    remember_theme()
    st.navigation(sections(), position="top").run()


if get_script_run_ctx(suppress_warning=True) is not None:
    main()
else:
    refuse_to_start_unsafely()
