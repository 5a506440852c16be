"""The duality gap of the Z-step against the iterations that its solver is allowed."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deepclust.reporting.figures._series import SOLVERS
from deepclust.reporting.figures._style import COLOURS, WIDTH
from deepclust.reporting.finished import Needs, Sweep

NEEDS = Needs(columns=SOLVERS)
CAPTION = "duality gap of the Z-step against the iterations allowed"

_SMALLEST_GAP = 1e-12  # a gap of zero has no place on a log axis


def draw(run: Sweep) -> Figure:
    return plot(pd.concat(run.traces.values()), run.title)


def plot(traces: pd.DataFrame, title: str = "") -> Figure:
    """Return the largest duality gap over the rows of Z after the first Z-step against the solver's budget, log axes.

    Parameters
    ----------
    traces
        Traces of all points with the columns `SOLVERS`: a gap is relative to the objective; the first Z-step of each
        run counts. A line for each solver, the mean over seeds; the dashed line is the 50 iterations of the hybrid's
        paper.
    """
    figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
    axes = figure.subplots()
    first = (
        traces.dropna(subset=["z_gap"]).groupby(["solver", "solver_iterations", "seed"], sort=False)["z_gap"].first()
    )
    for colour, (solver, found) in zip(COLOURS, first.groupby("solver", sort=False), strict=False):
        means = found.groupby("solver_iterations").mean()
        budget = means.index.to_numpy(float)
        order = np.argsort(budget)
        shown = np.maximum(means.to_numpy()[order], _SMALLEST_GAP)
        axes.plot(budget[order], shown, marker="o", markersize=2.5, color=colour, label=solver)
    axes.axvline(50, color="#666666", linestyle="--", linewidth=0.8)
    axes.set(xscale="log", yscale="log", title=title, xlabel="iterations allowed", ylabel="largest relative gap")
    axes.legend()
    return figure
