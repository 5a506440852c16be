"""The accuracy of every candidate partition against its modularity, by which one was chosen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deepclust.metrics import accuracy
from deepclust.reporting.figures._style import COLOURS, WIDTH
from deepclust.reporting.finished import Cell, Needs

NEEDS = Needs(classes=True, files=("candidates.csv", "candidate_labels.npy"))


def draw(run: Cell) -> Figure:
    accuracies = [accuracy(run.classes, candidate) for candidate in run.array("candidate_labels.npy")]
    return plot(run.table("candidates.csv"), accuracies, run.title_of_seed)


def plot(table: pd.DataFrame, accuracies: Sequence[float], title: str = "") -> Figure:
    """Return the accuracy of every candidate partition of a run against its modularity, by which one was chosen.

    Parameters
    ----------
    table
        One row a candidate: `modularity` and `normalized_cut`, the colour. The first of largest modularity is ringed.
    accuracies
        One for each candidate, as fractions.
    """
    modularity, percent = table["modularity"].to_numpy(), 100 * np.asarray(accuracies)
    chosen = int(modularity.argmax())
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    axes = figure.subplots()
    marks: dict[str, Any] = {"cmap": "cividis", "s": 14, "linewidths": 0.3, "edgecolors": "white"}
    points = axes.scatter(modularity, percent, c=table["normalized_cut"], **marks)
    label = f"chosen: modularity {modularity[chosen]:.4f}, ACC {percent[chosen]:.1f} %"
    ring: dict[str, Any] = {"s": 50, "facecolors": "none", "edgecolors": COLOURS[5], "linewidths": 0.9}
    axes.scatter(modularity[chosen], percent[chosen], label=label, **ring)
    axes.set(title=title, xlabel="modularity", ylabel="ACC (%)")
    figure.colorbar(points, label="normalized cut")
    figure.legend(loc="outside lower center")
    return figure
