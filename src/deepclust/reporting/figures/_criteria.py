"""Criteria without classes over the number of clusters K: the mean over seeds, each seed, and the K that was chosen."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from deepclust.reporting.figures._saving import save_pdf, save_png
from deepclust.reporting.figures._style import COLOURS, WIDTH, styled
from deepclust.reporting.tables import CRITERIA_HEADINGS


def save(
    table: pd.DataFrame, best: Mapping[str, int], n_clusters: int, title: str, image: Path | str, page: Path | str
) -> None:
    """Draw `plot` in the house style, as PNG and as PDF."""
    with styled():
        figure = plot(table, best, n_clusters, title)
        save_png(figure, image)
        save_pdf(figure, page)


def plot(table: pd.DataFrame, best: Mapping[str, int], n_clusters: int, title: str = "") -> Figure:
    """Return the criteria over K, one above the other: a line for the mean over seeds, a dot for each of several seeds.

    Parameters
    ----------
    table
        A row for every K and seed: `n_clusters`, `seed`, and the criteria, NaN where not defined.
    best
        The K that each criterion would choose by itself, by the criterion's name: a ring. No other criterion is drawn.
    n_clusters
        The K that was chosen: the dashed line.
    """
    figure = Figure(figsize=(WIDTH, 0.6 + 0.95 * len(best)), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    panels = figure.subplots(len(best), 1, sharex=True, squeeze=False)[:, 0]
    means = table.groupby("n_clusters")[list(best)].mean()
    for panel, colour, (name, K) in zip(panels, COLOURS, best.items(), strict=False):
        panel.axvline(n_clusters, color="#666666", linestyle="--", linewidth=0.8)
        if table["seed"].nunique() > 1:
            panel.plot(table["n_clusters"], table[name], ".", color="#666666", markersize=2)
        panel.plot(means.index, means[name], color=colour, marker="o", markersize=2)
        panel.plot(K, means[name][K], "o", color=colour, markersize=6, fillstyle="none")
        panel.margins(y=0.15)  # room for the ring
        panel.set_title(CRITERIA_HEADINGS[name], loc="left", fontsize=7)
    panels[-1].set_xlabel("K, number of clusters")
    panels[-1].xaxis.get_major_locator().set_params(integer=True, nbins=10)
    return figure
