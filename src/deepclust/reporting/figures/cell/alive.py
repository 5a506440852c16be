"""The number of clusters that have members after every epoch."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from deepclust.reporting.figures._series import figure_of_series, name_series, plot_series
from deepclust.reporting.finished import Cell, Needs

NEEDS = Needs(columns=frozenset({"alive"}))


def draw(run: Cell) -> Figure | None:
    return plot(run.by_seed, run.n_clusters, run.title) if "alive" in run.recorded else None


def plot(traces: Mapping[str, pd.DataFrame], n_clusters: int, title: str = "") -> Figure:
    """Return the number of clusters that have members after every epoch, below a dashed line at K.

    `traces` as in `_half_steps.plot`, with the column `alive`. Lines are shifted apart, by half a cluster in all, so
    that equal lines show.
    """
    figure, (axes,) = figure_of_series(traces, title, 1)
    plot_series(axes, traces, "alive")
    lines = list(axes.lines)
    for place, line in enumerate(lines):
        lift = (place - (len(lines) - 1) / 2) / max(10, 2 * len(lines))
        line.set_transform(Affine2D().translate(0, lift) + axes.transData)
    axes.axhline(n_clusters, color="#666666", linestyle="--", linewidth=0.8, zorder=1)
    above: dict[str, Any] = {"xytext": (0, 4), "textcoords": "offset points", "ha": "right"}
    axes.annotate(f"K = {n_clusters}", (1, n_clusters), xycoords=axes.get_yaxis_transform(), **above)
    axes.set(xlabel="epoch", ylabel="clusters alive", ylim=(0, 1.15 * n_clusters))
    axes.locator_params(axis="y", integer=True)
    name_series(figure, traces, {})
    return figure
