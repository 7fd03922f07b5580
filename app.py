"""Concentric: `streamlit run app.py`. The server imports this file; every browser session runs it as a script."""

from __future__ import annotations

import streamlit as st

if __name__ == "__main__":
    st.navigation(
        [
            st.Page("pages/detect.py", title="Detect", icon=":material/adjust:", default=True),
            st.Page("pages/about.py", title="About", icon=":material/info:"),
        ],
        position="top",
    ).run()
else:
    from pages.shared.shell import say_it_went_wrong
    from pages.shared.viewer.routes import ROUTES

    app = st.App(__file__, routes=ROUTES, on_script_error=say_it_went_wrong)
