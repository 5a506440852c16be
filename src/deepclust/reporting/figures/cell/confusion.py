"""The share of each class that lies in each cluster."""

import math

import numpy as np
from matplotlib.figure import Figure

from deepclust.metrics import match
from deepclust.metrics.external import contingency
from deepclust.reporting.figures._style import WIDTH
from deepclust.reporting.finished import Cell, Needs

NEEDS = Needs(classes=True)


def draw(run: Cell) -> Figure:
    return plot(run.classes, run.labels, run.title_of_seed)


def plot(y: np.ndarray, labels: np.ndarray, title: str = "") -> Figure:
    """Return the share of each class (row) that lies in each cluster (column), in percent of the class.

    Columns are in the order of the classes that their clusters are matched to; clusters left over follow. Up to 20 rows
    or columns, every share of at least half a percent is printed; beyond 20, a colour bar replaces the numbers.
    """
    classes, clusters, counts = contingency(y, match(y, labels))
    shares = counts / counts.sum(axis=1, keepdims=True) * 100
    size = max(shares.shape)
    figure = Figure(figsize=(WIDTH, 0.5 + 2.9 * min(1.0, len(classes) / len(clusters) + 0.1)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    axes.set_title(title)
    axes.set(xlabel="cluster, named by its class", ylabel="class (percent of its samples)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=6 if size > 12 else 7)
    step = 1 if size <= 20 else math.ceil(size / 10)
    axes.set_xticks(range(0, len(clusters), step), [str(c) for c in clusters[::step]])
    axes.set_yticks(range(0, len(classes), step), [str(k) for k in classes[::step]])
    if size > 20:
        figure.colorbar(image, label="percent of the class")
        return figure
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = "black" if share > 55 else "white"
            axes.text(
                column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=4.8 if size > 12 else 6
            )
    return figure
