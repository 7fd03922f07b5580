"""Plotly figures from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from train.forecast import Forecast, Point

_COLOURS = {"champion": "#6a6570", "challenger": "#6b2d73"}
_LAYOUT = {
    "height": 300,
    "margin": {"l": 50, "r": 10, "t": 44, "b": 44},
    "legend": {"orientation": "h", "y": 1.18, "x": 1, "xanchor": "right"},
}


def training_curve(points: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Loss of every report, and F1 on held-out fields where it was measured, over the steps."""
    judged = [point for point in points if point.get("f1") is not None]
    figure = go.Figure()
    figure.add_scatter(
        x=[p["step"] for p in points], y=[p["loss"] for p in points], name="loss", line={"color": "#b9b4bd"}
    )
    figure.add_scatter(
        x=[p["step"] for p in judged], y=[p["f1"] for p in judged], name="F1, validation", yaxis="y2",
        mode="lines+markers", line={"color": _COLOURS["challenger"]},
    )  # fmt: skip
    right = {"overlaying": "y", "side": "right", "range": [0, 1], "title": "F1"}
    return figure.update_layout(**_LAYOUT, xaxis_title="step", yaxis_title="loss", yaxis2=right)


def precision_recall(comparison: Mapping[str, Any]) -> go.Figure:
    return _curves(comparison, "recall", "precision", "Precision and recall")


def froc(comparison: Mapping[str, Any]) -> go.Figure:
    """Recall over false positives per mm²."""
    return _curves(comparison, "fp_per_mm2", "recall", "FROC").update_xaxes(title="false positives per mm²")


def learning_curve(points: Mapping[str, Point], ahead: Forecast | None) -> go.Figure:
    """F1 of versions by name over the corrected fields they learnt from, with intervals, and the forecast as a band."""
    figure, colour = go.Figure(), _COLOURS["challenger"]
    if ahead is not None:
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_scatter(x=ahead.x, y=ahead.upper, showlegend=False, **band)
        figure.add_scatter(x=ahead.x, y=ahead.lower, name="where the curve may lie (95 %)", fill="tonexty",
                           fillcolor="rgba(107, 45, 115, 0.12)", **band)  # fmt: skip
        figure.add_scatter(x=ahead.x, y=ahead.middle, name="fitted curve", mode="lines", hoverinfo="skip",
                           line={"color": colour, "dash": "dot", "width": 1.5})  # fmt: skip
        figure.add_vrect(x0=ahead.fields, x1=ahead.x[-1], fillcolor="rgba(106, 101, 112, 0.07)", line_width=0,
                         annotation_text=f"the next {ahead.x[-1] - ahead.fields}",
                         annotation_position="top left", annotation_font_color=_COLOURS["champion"])  # fmt: skip
    every = list(points.values())
    figure.add_scatter(
        x=[p.fields for p in every], y=[p.f1 for p in every], name="a version", mode="markers",
        marker={"color": colour, "size": 10}, text=list(points),
        error_y={"type": "data", "symmetric": False, "array": [p.high - p.f1 for p in every],
                 "arrayminus": [p.f1 - p.low for p in every], "color": "#9a7aa0", "thickness": 1.3, "width": 5},
        hovertemplate="%{text}<br>%{x} corrected fields, F1 %{y:.3f}<extra></extra>",
    )  # fmt: skip
    last = max([1, *(p.fields for p in every)]) if ahead is None else int(ahead.x[-1])
    figure.update_xaxes(range=[-0.03 * last, 1.03 * last], title="corrected fields learnt from", zeroline=False)
    return figure.update_layout(**_LAYOUT, yaxis_title="F1 on the held-out fields", yaxis_tickformat=".2f")


def _curves(comparison: Mapping[str, Any], x: str, y: str, title: str) -> go.Figure:
    figure = go.Figure()
    for name, colour in _COLOURS.items():
        side = comparison[name]
        if side["curve"][x] is None:
            continue
        figure.add_scatter(x=side["curve"][x], y=side["curve"][y], name=name, line={"color": colour})
        at = {"recall": side["recall"], "precision": side["precision"], "fp_per_mm2": side["fp_per_mm2"]}
        figure.add_scatter(x=[at[x]], y=[at[y]], mode="markers", marker={"color": colour, "size": 11}, showlegend=False,
                           hovertext=f"{name} at its threshold")  # fmt: skip
    return figure.update_layout(**_LAYOUT, title=title, xaxis_title=x, yaxis_title=y, yaxis_range=[0, 1.03])
