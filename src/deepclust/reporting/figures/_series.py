"""Lines over the epochs: a series (a cell, a point of a sweep, a seed) has its colour and dash, and a name below."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deepclust.reporting.figures._style import COLOURS, WIDTH

SERIES = 32  # number of lines that colour and dash keep apart
SOLVERS = frozenset({"solver", "solver_iterations", "z_gap"})  # columns of a sweep over solvers; two are settings

_DASHES = ["-", "--", ":", "-."]


def figure_of_series(series: Mapping[str, Any], title: str, n_axes: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of axes one above the other, high enough for the names of all series below them."""
    height = 0.7 + 1.5 * n_axes**0.8 + 0.14 * math.ceil(len(series) / _columns(series))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    panels = list(figure.subplots(n_axes, 1, sharex=True, squeeze=False)[:, 0])
    panels[-1].xaxis.get_major_locator().set_params(integer=True, nbins=8)
    return figure, panels


def plot_series(axes: Axes, traces: Mapping[str, pd.DataFrame], name: str, factor: float = 1) -> None:
    """Draw a column over the epochs, a line a seed."""
    for series, style in styles(traces).items():
        for trace in by_seed(traces[series].dropna(subset=[name])):
            axes.plot(trace["epoch"], factor * trace[name], marker="." if len(trace) == 1 else "", **style)


def name_series(figure: Figure, series: Mapping[str, Any], marks: Mapping[str, str]) -> None:
    handles: list[Artist] = [Line2D([], [], label=name, **style) for name, style in styles(series).items()]
    grey: dict[str, Any] = {"color": "#666666", "linestyle": "none", "markersize": 3}
    handles += [Line2D([], [], label=name, marker=marker, **grey) for name, marker in marks.items()]
    n_rows = math.ceil(len(handles) / _columns([*series, *marks]))
    columns = math.ceil(len(handles) / n_rows)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.2)


def styles(series: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return colour and dash of each line; beyond `SERIES` of them they repeat."""
    count = len(COLOURS)
    return {
        name: {"color": COLOURS[i % count], "linestyle": _DASHES[i // count % len(_DASHES)], "alpha": 0.8}
        for i, name in enumerate(series)
    }


def by_seed(trace: pd.DataFrame) -> list[pd.DataFrame]:
    return [part for _, part in trace.groupby("seed")] if "seed" in trace else [trace]


def _columns(names: Iterable[str]) -> int:
    """Return how many names stand side by side below a figure: about 64 characters fit."""
    return max(1, min(4, 64 // (6 + max(map(len, names), default=0))))
