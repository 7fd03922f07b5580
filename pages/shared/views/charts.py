"""Plotly figures from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape  # Plotly reads names as a kind of HTML
from typing import Any

import plotly.graph_objects as go
from streamlit.delta_generator import DeltaGenerator

from mitosis_core.scoring.comparison import OperatingPoint
from train.selection.forecast import Forecast, Point

_COLOURS = {"champion": "#8a8590", "challenger": "#a05aab"}  # both readable on white and on near-black


@dataclass(frozen=True)
class LineStyle:
    """How a version is drawn: a colour, a dash and a symbol of Plotly."""

    colour: str
    dash: str = "solid"
    symbol: str = "circle"


_PAIR = {name: LineStyle(colour) for name, colour in _COLOURS.items()}
_FROC_REACH = 2.5  # times the most false positives at a threshold: nobody would go further
_LAYOUT = {
    "height": 300,
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 50, "r": 10, "t": 44, "b": 44},
    "legend": {"orientation": "h", "y": 1.18, "x": 1, "xanchor": "right"},
}


def show(place: DeltaGenerator, figure: go.Figure, *, key: str) -> None:
    """A figure without Plotly's toolbar, in the theme's font and colours."""
    place.plotly_chart(figure, key=key, theme="streamlit", config={"displayModeBar": False})


def training_curve(points: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Loss of every report, and F1 on held-out fields where it was measured, over the steps."""
    judged = [point for point in points if point.get("f1") is not None]
    figure = go.Figure()
    figure.add_scatter(
        x=[p["step"] for p in points], y=[p["loss"] for p in points], name="loss", line={"color": "#b9b4bd"}
    )
    figure.update_layout(**_LAYOUT, xaxis_title="step", yaxis_title="loss")
    if not judged:
        return figure
    figure.add_scatter(
        x=[p["step"] for p in judged],
        y=[p["f1"] for p in judged],
        name="F1, validation",
        yaxis="y2",
        mode="lines+markers",
        line={"color": _COLOURS["challenger"]},
    )
    right = {"overlaying": "y", "side": "right", "range": [0, 1], "title": "F1"}
    return figure.update_layout(yaxis2=right)


def precision_recall(sides: Mapping[str, OperatingPoint], lines: Mapping[str, LineStyle] = _PAIR) -> go.Figure:
    """lines: the sides to draw, by name."""
    return _curves(sides, lines, "recall", "precision", "Precision and recall")


def froc(sides: Mapping[str, OperatingPoint], lines: Mapping[str, LineStyle] = _PAIR) -> go.Figure:
    """Recall over false positives per mm², of the same sides."""
    figure = _curves(sides, lines, "fp_per_mm2", "recall", "FROC").update_xaxes(title="false positives per mm²")
    most = _FROC_REACH * max((sides[name].fp_per_mm2 or 0.0 for name in lines), default=0.0)
    return figure.update_xaxes(range=[-0.02 * most, most]) if most else figure


def learning_curve(points: Mapping[str, Point], ahead: Forecast | None) -> go.Figure:
    """F1 of versions by name over the corrected fields they learnt from, with intervals, and the forecast as a band."""
    figure, colour = go.Figure(), _COLOURS["challenger"]
    if ahead is not None:
        _add_forecast(figure, ahead)
    every = list(points.values())
    figure.add_scatter(
        x=[p.fields for p in every],
        y=[p.f1 for p in every],
        name="a version",
        mode="markers",
        marker={"color": colour, "size": 10},
        text=[escape(name) for name in points],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [p.high - p.f1 for p in every],
            "arrayminus": [p.f1 - p.low for p in every],
            "color": "#9a7aa0",
            "thickness": 1.3,
            "width": 5,
        },
        hovertemplate="%{text}<br>%{x} corrected fields, F1 %{y:.3f}<extra></extra>",
    )
    last = max([1, *(p.fields for p in every)]) if ahead is None else int(ahead.x[-1])
    figure.update_xaxes(range=[-0.03 * last, 1.03 * last], title="corrected fields trained on", zeroline=False)
    return figure.update_layout(**_LAYOUT, yaxis_title="F1 on the held-out fields", yaxis_tickformat=".2f")


def _add_forecast(figure: go.Figure, ahead: Forecast) -> None:
    """The fitted curve with its band, and the fields to come."""
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(x=ahead.x, y=ahead.upper, showlegend=False, **band)
    figure.add_scatter(
        x=ahead.x,
        y=ahead.lower,
        name="95 % band of the curve",
        fill="tonexty",
        fillcolor="rgba(107, 45, 115, 0.12)",
        **band,
    )
    figure.add_scatter(
        x=ahead.x,
        y=ahead.middle,
        name="fitted curve",
        mode="lines",
        hoverinfo="skip",
        line={"color": _COLOURS["challenger"], "dash": "dot", "width": 1.5},
    )
    figure.add_vrect(
        x0=ahead.fields,
        x1=ahead.x[-1],
        fillcolor="rgba(106, 101, 112, 0.07)",
        line_width=0,
        annotation_text=f"the next {ahead.x[-1] - ahead.fields}",
        annotation_position="top left",
        annotation_font_color=_COLOURS["champion"],
    )


def _curves(
    sides: Mapping[str, OperatingPoint], lines: Mapping[str, LineStyle], x: str, y: str, title: str
) -> go.Figure:
    """One line per side, and a point where it stands by its threshold."""
    figure = go.Figure()
    for name, line in lines.items():
        side = sides[name]
        if getattr(side.curve, x) is None:
            continue
        figure.add_scatter(
            x=getattr(side.curve, x),
            y=getattr(side.curve, y),
            name=escape(name),
            mode="lines",
            line={"color": line.colour, "dash": line.dash},
        )
        figure.add_scatter(
            x=[getattr(side, x)],
            y=[getattr(side, y)],
            mode="markers",
            showlegend=False,
            marker={"color": line.colour, "size": 11, "symbol": line.symbol},
            hovertext=f"{escape(name)} at its threshold",
        )
    return figure.update_layout(**_LAYOUT, title=title, xaxis_title=x, yaxis_title=y, yaxis_range=[0, 1.03])
