"""The only st.cache_*: what all browser sessions share.

Predictions are found by our own digest: st.cache_data hashes only a part of a large array.
"""

from __future__ import annotations

import streamlit as st

from pages.shared.service.detecting import Analysis, PredictionCache, describe_device, open_sample


@st.cache_resource(show_spinner=False)
def predictions() -> PredictionCache:
    """The one cache of predictions of this server."""
    return PredictionCache()


@st.cache_resource(show_spinner=False)
def device_name(device: str = "auto") -> str:
    """What the analysis runs on, in words."""
    return describe_device(device)


@st.cache_resource(show_spinner="Drawing a sample field…")
def sample() -> Analysis:
    """The field that the program draws itself."""
    return open_sample()
