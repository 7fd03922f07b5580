"""What one browser session remembers: every key of st.session_state, in one place and typed."""

from __future__ import annotations

import secrets

import streamlit as st

from pages.shared.actions import Analysis

UPLOADS = "uploads"  # the file uploader's own key
FIELD = "field"  # name of the field on show
SCORE = "score"  # lowest score that counts; absent: the version's threshold
SCALE = "um_per_px"  # µm/px the user gave for files that do not say
SCANNER = "scanner"
SAMPLE = "sample"
DIAMETER = "field_diameter_mm"
VERSION = "version"
_OPENED = "opened"
_USER = "user"


def user() -> str:
    """A name for this session, nothing to do with the person."""
    name: str = st.session_state.setdefault(_USER, secrets.token_hex(8))
    return name


def opened() -> dict[str, Analysis]:
    """Files read in this session, by the uploader's id of the file."""
    files: dict[str, Analysis] = st.session_state.setdefault(_OPENED, {})
    return files


def score() -> float | None:
    value: float | None = st.session_state.get(SCORE)
    return value


def keep_score(value: float | None) -> None:
    """Let this score be the lowest that counts, in every field."""
    if value is not None:
        st.session_state[SCORE] = value


def show_sample() -> None:
    st.session_state[SAMPLE] = True


def um_per_px() -> float | None:
    value: float | None = st.session_state.get(SCALE)
    return value


def sample() -> bool:
    return bool(st.session_state.get(SAMPLE))
