"""Plotly figures from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

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
