"""Measures of convergence over the epochs."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from deepclust.reporting.figures._series import figure_of_series, name_series, plot_series
from deepclust.reporting.figures._style import log_if_wide
from deepclust.reporting.finished import Cell, Needs

NEEDS = Needs()  # `draw` itself looks for one of these columns, with a value
REASONS = frozenset({"primal_residual", "largest_cosine"})

_MEASURES = {  # column -> the label of its panel's axis, and the factor on its values
    "primal_residual": ("primal residual", 1),
    "clustering": ("clustering cost of Y", 1),
    "label_change": ("labels changed (%)", 100),
    "largest_cosine": ("largest cosine\nof two centroids", 1),
}


def draw(run: Cell) -> Figure | None:
    return plot(run.by_seed, run.title) if run.recorded & REASONS else None


def plot(traces: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Return measures of convergence over the epochs, one panel for each that is recorded.

    The measures are those of `_MEASURES`. The share of labels changed has an axis that is linear below 0.1 % and
    logarithmic above. The others have a log axis where they fall far, without their zeros. `traces` as in
    `_half_steps.plot`, with at least one of the measures.
    """
    rows = pd.concat(traces.values()).dropna(axis="columns", how="all")
    shown = [name for name in _MEASURES if name in rows]
    figure, axes = figure_of_series(traces, title, len(shown))
    for panel, name in zip(axes, shown, strict=True):
        label, factor = _MEASURES[name]
        plot_series(panel, traces, name, factor)
        if name == "label_change":
            panel.set_yscale("symlog", linthresh=0.1, linscale=0.4)
            panel.yaxis.set_major_formatter("{x:g}")
            panel.set_ylim(bottom=0)
        else:
            values = rows[name].to_numpy(float)
            log_if_wide(panel, values[values != 0])  # ADMM starts at a residual of zero
        panel.set_ylabel(label)
    axes[-1].set_xlabel("epoch")
    name_series(figure, traces, {})
    return figure
