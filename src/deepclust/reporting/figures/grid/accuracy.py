"""The accuracy of every cell on a data set, beside the papers' numbers."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from deepclust.errors import UserError
from deepclust.reporting.aggregate import NOT_RUN, compare
from deepclust.reporting.figures._style import COLOURS, WIDTH
from deepclust.reporting.finished import Grid, Needs
from deepclust.reporting.papers import PAPERS

NEEDS = Needs(classes=True)
CAPTION = "Accuracy on {dataset}, ours and as reported"


def draw(run: Grid) -> Figure:
    return plot(run.summary, run.reported, run.dataset)


def plot(summary: pd.DataFrame, reported: pd.DataFrame, dataset: str) -> Figure:
    """Return a bar for every cell's mean accuracy on a data set, best first, with its std, and a mark for each paper's.

    A cell without a finished seed has its status in place of a bar. Raises UserError for an unknown data set.
    """
    ours = summary[(summary["dataset"] == dataset) & (summary["metric"] == "acc")]
    if ours.empty:
        raise UserError(f"dataset must be one of {', '.join(summary['dataset'].unique())}, got {dataset!r}")
    ours = ours.sort_values("mean", ascending=False, kind="stable")  # without a finished seed: last
    published = compare(ours, reported)
    published = published[(published["metric"] == "acc") & (published["status"] != NOT_RUN)]
    cells = list(ours["cell"])
    figure = Figure(figsize=(WIDTH, 0.9 + 0.2 * len(cells)), layout="constrained")
    axes = figure.subplots()
    bars: dict[str, Any] = {"color": "#BBBBBB", "height": 0.7, "error_kw": {"elinewidth": 0.8, "capsize": 1.5}}
    axes.barh(range(len(cells)), 100 * ours["mean"].fillna(0), xerr=100 * ours["std"], label="ours, mean ± std", **bars)
    for position, status in enumerate(ours["status"]):
        if status != "ok":
            axes.text(1, position, status, va="center", style="italic")
    for place, paper in enumerate(PAPERS):
        rows = published[published["paper"] == paper]
        if not rows.empty:
            style: dict[str, Any] = {
                "color": COLOURS[place % len(COLOURS)],
                "marker": "osD^vP*X"[place % 8],
                "markersize": 2.8,
                "linestyle": "none",
            }
            aside = 0.16 * (place - (len(PAPERS) - 1) / 2)  # keeps equal numbers of two papers apart
            positions = [cells.index(cell) + aside for cell in rows["cell"]]
            axes.plot(rows["reported"], positions, label=f"reported, {PAPERS[paper].title}", **style)
    axes.set_yticks(range(len(cells)), cells)
    axes.set(xlim=(0, 100), ylim=(len(cells) - 0.4, -0.6), xlabel=f"ACC on {dataset} (%)")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    return figure
