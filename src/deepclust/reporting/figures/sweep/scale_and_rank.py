"""The scale and the effective rank of the code after every epoch."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deepclust.reporting.figures._series import SERIES, figure_of_series, name_series, plot_series
from deepclust.reporting.finished import Needs, Sweep

COLUMNS = frozenset({"code_scale", "code_rank"})
NEEDS = Needs(columns=COLUMNS)
CAPTION = "scale and effective rank of the code"


def draw(run: Sweep) -> Figure | None:
    return plot(run.traces, run.title) if len(run.traces) <= SERIES else None


def plot(traces: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Return the code's scale (mean of ||h||^2, log axis) and its effective rank after every epoch.

    `traces` as in `_half_steps.plot`, with the columns `COLUMNS`.
    """
    figure, axes = figure_of_series(traces, title, 2)
    for panel, name in zip(axes, ("code_scale", "code_rank"), strict=True):
        plot_series(panel, traces, name)
    scales = np.concatenate([trace["code_scale"].dropna() for trace in traces.values()])
    if (positive := scales[scales > 0]).size:
        low, high = positive.min(), positive.max()
        wider = max(1.1, math.sqrt(10 * low / high))  # at least a decade: a scale that is held shows as a level line
        axes[0].set_ylim(low / wider, high * wider)
    axes[0].set(yscale="log", ylabel=r"scale, mean of $\|h\|^2$")
    axes[1].set(xlabel="epoch", ylabel="effective rank")
    axes[1].set_ylim(bottom=0)
    name_series(figure, traces, {})
    return figure
