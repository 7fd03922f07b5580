"""A tour of the loop on the drawn sample: what one sees, how it is corrected, what comes out, and what is learnt.

Nothing of it is stored; the sample has no place in the store.
"""

from __future__ import annotations

import numpy as np
import streamlit as st

from mitosis_core.image.sample_field import the_sample
from mitosis_core.types import Float32, UInt8
from pages.shared import navigation, session

_CROP_PX = 72
_CROPS = 6
STEPS = {
    "Detect": "Every circle is a mitosis that the detector has found; the panel beside the image counts them. Move the "
    "**score** to see what lies just below the threshold, or click a cell in the gallery to see it in its place.",
    "Correct": "In **Review** a reader judges each cell: **1** mitosis, **2** look-alike, **3** unsure, **X** reject; "
    "a click adds one that was missed. Every change is stored at once. On the drawn field the truth is known:",
    "Result": "**Results** gives the corrected count of a case per mm² and per 10 fields of your microscope, with "
    "pictures of what was counted and who has read it, as PDF, HTML and CSV.",
    "Retrain": "From finished cases **Retrain** makes a new version. It is compared with the active one on cases it "
    "has not learnt from; you see what it newly finds and newly misses, and decide. Earlier versions stay.",
}


def show_tour() -> None:
    """One step of it, while the sample is on show and the tour was not ended."""
    names = list(STEPS)
    step = st.session_state.get(session.TOUR_STEP, 0)
    if not 0 <= step < len(names):
        return
    with st.container(border=True, key="tour"):
        st.markdown(f"**{step + 1} of {len(names)}: {names[step]}.** {STEPS[names[step]]}")
        if names[step] == "Correct":
            _show_truth()
        with st.container(horizontal=True):
            last = step == len(names) - 1
            if last and st.button("Begin with your own fields", type="primary"):
                st.session_state[session.TOUR_STEP] = len(names)
                st.switch_page(navigation.page("cases"))
            if not last:
                st.button("Next", type="primary", on_click=_go, args=(step + 1,))
            if step:
                st.button("Back", on_click=_go, args=(step - 1,))
            st.button("End the tour", type="tertiary", on_click=_go, args=(len(names),))


def _go(step: int) -> None:
    st.session_state[session.TOUR_STEP] = step


def _show_truth() -> None:
    sample = the_sample()
    for caption, places in (("Mitoses", sample.mitoses_xy_px), ("Look-alikes", sample.lookalikes_xy_px)):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(caption, width=90)
            for crop in _crops(sample.field.pixels, places[:_CROPS]):
                st.image(crop, width=_CROP_PX)


def _crops(pixels: UInt8, xy_px: Float32) -> list[UInt8]:
    """Squares of _CROP_PX round places, moved inside where they would reach over the border."""
    height, width = pixels.shape[:2]
    corners = np.clip(np.rint(xy_px - _CROP_PX / 2).astype(int), 0, [width - _CROP_PX, height - _CROP_PX])
    return [pixels[y : y + _CROP_PX, x : x + _CROP_PX] for x, y in corners]
