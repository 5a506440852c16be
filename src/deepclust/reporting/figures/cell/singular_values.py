"""The share of the largest singular value of every cluster's codes."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from deepclust.reporting.figures._style import COLOURS, WIDTH
from deepclust.reporting.finished import Cell, Needs

NEEDS = Needs(files=("singular_values.csv",))
TABLES = ("singular_values.csv",)  # tables of the run that are kept beside this figure's PDF


def draw(run: Cell) -> Figure:
    return plot(run.table("singular_values.csv"), run.title_of_seed)


def plot(table: pd.DataFrame, title: str = "") -> Figure:
    """Return the share of the largest singular value of every cluster's codes, before and after the fusion.

    Parameters
    ----------
    table
        One row a cluster: `cluster`, and in percent `before` and `after`, nan without codes. Dashed lines are means.
    """
    figure = Figure(figsize=(WIDTH, 2.3), layout="constrained")
    axes = figure.subplots()
    axes.vlines(table["cluster"], table["before"], table["after"], color="#BBBBBB", linewidth=0.8, zorder=1)
    mark: dict[str, Any] = {"linestyle": "none", "markersize": 3.5 if len(table) <= 20 else 2}
    for name, colour, marker in (("before", COLOURS[0], "o"), ("after", COLOURS[5], "s")):
        mean = table[name].mean()
        axes.axhline(mean, color=colour, linestyle="--", linewidth=0.8, zorder=1)
        label = f"{name} fusion, mean {mean:.1f} %"
        axes.plot(table["cluster"], table[name], color=colour, marker=marker, label=label, **mark)
    axes.locator_params(axis="x", integer=True, nbins=12)
    axes.set(title=title, xlabel="cluster", ylabel="largest singular value\n(% of the sum)")
    axes.set(xlim=(table["cluster"].min() - 0.6, table["cluster"].max() + 0.6), ylim=(0, 105))
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    return figure
