"""The objective of alternating minimisation, for figures of cells, sweeps and grids."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deepclust.reporting.figures._series import by_seed, figure_of_series, name_series, styles
from deepclust.reporting.figures._style import log_if_wide

COLUMNS = frozenset({"z_objective", "theta_objective", "accepted"})  # columns that the trace has


def plot(traces: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Return the objective of alternating minimisation after every half-step, and the steps that were undone.

    Parameters
    ----------
    traces
        For each series (a cell, a point of a sweep, a seed) its trace with the columns `COLUMNS`: a row is an epoch,
        whose Z-step comes before its theta-step; the last may have a Z-step alone. A rejected theta-step leaves the
        objective where the Z-step had brought it: the line goes on from there, and a cross marks the rejected value.
        With a column `seed`, every seed is a line of its own in the series' colour.
    """
    figure, axes = figure_of_series(traces, title, 1)
    ends, undone = [np.zeros(0)], False
    for series, style in styles(traces).items():
        for trace in by_seed(traces[series].dropna(subset=["z_objective"])):
            epoch, z, theta = (trace[name].to_numpy(float) for name in ("epoch", "z_objective", "theta_objective"))
            refused = trace["accepted"].isin([False]).to_numpy() & np.isfinite(theta)
            x = np.stack([epoch, epoch + 0.5], axis=1).ravel()
            y = np.stack([z, np.where(refused, z, theta)], axis=1).ravel()
            kept = np.isfinite(y)
            axes[0].plot(x[kept], y[kept], marker=".", markersize=2, markevery=2, **style)
            axes[0].plot(epoch[refused] + 0.5, theta[refused], "x", markersize=3, color=style["color"])
            ends += [y, theta]
            undone |= bool(refused.any())
    log_if_wide(axes[0], np.concatenate(ends))
    axes[0].set(xlabel="epoch", ylabel="objective F")
    name_series(figure, traces, {"after a Z-step": "."} | ({"theta-step undone": "x"} if undone else {}))
    return figure
