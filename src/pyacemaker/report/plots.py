"""Traces and axes of plotly.js: colours that read on white and on black, axes with units.

What the page's style sheet colours (text, axes, grid) has no colour here, so that one switch turns it all.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyacemaker.structures import FloatArray, IntArray

MODEL_COLOURS = {
    "foundation": "#8a94a6",
    "teacher": "#3f83d1",
    "base": "#d6902c",
    "final": "#16a173",
    "student": "#16a173",
    "dft": "#d1495b",
}
MODEL_SYMBOLS = {
    "foundation": "square",
    "teacher": "diamond",
    "base": "triangle-up",
    "final": "circle",
    "student": "circle",
    "dft": "x",
}
PALETTE = (
    "#3f83d1",
    "#e0803a",
    "#2fa36b",
    "#c94f7c",
    "#8b6fd0",
    "#b3922a",
    "#22a2b8",
    "#a8584a",
    "#7d8ba0",
    "#6fae3d",
    "#d167c9",
    "#4c63c9",
    "#c9a400",
    "#00806e",
    "#e58fb0",
    "#5e4fa2",
    "#94b8e8",
    "#8c6d31",
    "#b5cf6b",
    "#d6616b",
)
NEUTRAL = "#8f98a6"
MAX_POINTS = 3000
"""Points of one panel; more are thinned evenly, and the caption says so."""
FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def tag_colours(tags: Sequence[str]) -> dict[str, str]:
    """A colour for each tag, in the order given."""
    return {tag: PALETTE[k % len(PALETTE)] for k, tag in enumerate(dict.fromkeys(tags))}


def layout(x: dict[str, Any], y: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The layout of a plot with these axes; margins grow with the labels."""
    return {
        "xaxis": x,
        "yaxis": y,
        "margin": {"l": 58, "r": 14, "t": 12, "b": 46},
        "font": {"family": FONT, "size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "showlegend": False,
        **more,
    }


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its title, which names the unit."""
    return {
        "title": {"text": title, "standoff": 8},
        "zeroline": False,
        "showline": True,
        "linewidth": 1,
        "ticks": "outside",
        "ticklen": 4,
        "automargin": True,
        **more,
    }


_DECADES = 1e5


def log_axis(title: str, *values: Any, **more: Any) -> dict[str, Any]:
    """A logarithmic axis with round ticks over the positive ones of `values`, five decades at most.

    What is smaller (errors that symmetry makes zero) lies outside.
    """
    every = np.concatenate([np.asarray(as_list(part), dtype=np.float64).ravel() for part in values])
    every = every[np.isfinite(every) & (every > 0.0)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (1.0, 10.0)
    low, high = max(low / 1.15, high / _DECADES), high * 1.15
    ticks = _log_ticks(low, high)
    labels = [f"{tick:g}" if 1e-4 < tick < 1e5 else f"{tick:.0e}" for tick in ticks]
    limits = [round(float(np.log10(low)), 4), round(float(np.log10(high)), 4)]
    return axis(title, type="log", tickvals=ticks, ticktext=labels, range=limits, **more)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between `low` and `high`: three at least where the range allows, nine at most."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    found: list[float] = []
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)):
        ticks = [float(f"{step * 10.0**k:.3g}") for k in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if found and len(ticks) > 9:
            break
        found = ticks
        if len(found) >= 4:
            break
    return found


def legend_above() -> dict[str, Any]:
    """A horizontal legend over the plot."""
    return {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"}


def markers(
    x: FloatArray | Sequence[Any],
    y: FloatArray | Sequence[Any],
    name: str,
    colour: str,
    text: Sequence[str] | None = None,
    **marker: Any,
) -> dict[str, Any]:
    """Points; `text` is what hovering shows."""
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": as_list(x),
        "y": as_list(y),
        "marker": {"color": colour, "size": 6, "opacity": 0.8, **marker},
    }
    if text is not None:
        trace |= {"text": list(text), "hovertemplate": "%{text}<extra></extra>"}
    return trace


def line(
    x: FloatArray | Sequence[Any],
    y: FloatArray | Sequence[Any],
    name: str,
    colour: str,
    *,
    dots: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """A line, with its points where `dots`."""
    return {
        "type": "scatter",
        "mode": "lines+markers" if dots else "lines",
        "name": name,
        "x": as_list(x),
        "y": as_list(y),
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 6},
        "connectgaps": True,
        **more,
    }


def diagonal(low: float, high: float) -> dict[str, Any]:
    """The line y = x."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [low, high],
        "y": [low, high],
        "line": {"color": NEUTRAL, "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def span(*arrays: FloatArray) -> tuple[float, float]:
    """The range of all values with a margin of 4 %."""
    values = np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in arrays])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.04 * (high - low or 1.0)
    return low - margin, high + margin


def thinned(n: int, limit: int = MAX_POINTS) -> IntArray:
    """Indices of at most `limit` of `n` points, evenly spaced."""
    return np.linspace(0, n - 1, min(n, limit)).round().astype(np.int64)


def as_list(values: Any) -> list[Any]:
    """Numbers with six significant digits, None where not finite; words as they are."""
    return [_plain(value) for value in np.asarray(values).tolist()]


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if np.isfinite(value) else None
