"""Both losses of PC-X and the certainty of its assignments over the epochs (PC-X, Fig. 4)."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from deepclust.reporting.figures._series import figure_of_series, name_series, plot_series
from deepclust.reporting.figures._style import log_if_wide
from deepclust.reporting.finished import Cell, Needs

_PANELS = {  # column -> the label of its panel's axis
    "loss_reconstruction": "reconstruction\nloss",
    "loss_clustering": "clustering loss,\ntimes $\\eta_1$",
    "certainty": "mean largest\nassignment",
}
NEEDS = Needs(columns=frozenset({*_PANELS, "loss_entropy"}))
CAPTION = "The paper's Fig. 4: the mean largest assignment falls\nbefore the end of the burn-in and rises after it."


def draw(run: Cell) -> Figure:
    return plot(run.by_seed, run.title)


def plot(traces: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Return both losses and the mean largest assignment over the epochs, with a line where the burn-in ends.

    The burn-in ends before the first epoch whose entropy has a weight; there is no line if that is the first epoch, or
    none. `CAPTION` below the panels says what the paper's figure shows, by which a reading can be checked without
    labels.

    Parameters
    ----------
    traces
        For each series (a seed) its trace with the columns of `NEEDS`; epochs without a certainty, those of a warm-up,
        are left out.
    """
    traces = {name: trace.dropna(subset=["certainty"]) for name, trace in traces.items()}
    rows = pd.concat(traces.values())
    figure, axes = figure_of_series(traces, title, len(_PANELS))
    for panel, (name, label) in zip(axes, _PANELS.items(), strict=True):
        plot_series(panel, traces, name)
        log_if_wide(panel, rows[name].to_numpy(float))
        panel.set_ylabel(label)
    first = rows["epoch"][rows["loss_entropy"] > 0].min()
    if first > rows["epoch"].min():
        for panel in axes:
            panel.axvline(first - 0.5, color="#666666", linestyle="--", linewidth=0.8, zorder=1)
        beside: dict[str, Any] = {"xytext": (-3, -2), "textcoords": "offset points", "ha": "right", "va": "top"}
        axes[0].annotate("burn-in", (first - 0.5, 1), xycoords=axes[0].get_xaxis_transform(), **beside)
    axes[-1].set_xlabel(f"epoch\n{CAPTION}")
    name_series(figure, traces, {})
    return figure
