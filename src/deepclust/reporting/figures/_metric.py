"""A metric at the points of a sweep."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from deepclust.reporting.figures._style import COLOURS, WIDTH
from deepclust.reporting.tables import HEADINGS, number


def plot(results: pd.DataFrame, metric: str, title: str = "") -> Figure:
    """Return a metric at the points of a sweep, in percent, as the mean over the finished seeds.

    One setting gives a line, with the seeds as dots. Two settings give a map, the first downwards. Three give a map for
    each value of the third. The scale spans at least 5 points. A point without a finished seed has its status in place
    of a number.

    Parameters
    ----------
    results
        A row for every point, seed and metric. The settings are the columns before `point`; the columns after it
        include `seed`, `status`, `metric` and `value`, a fraction.
    """
    rows = results[results["metric"] == metric].assign(value=lambda rows: 100 * rows["value"])
    settings = list(rows.columns[: rows.columns.get_loc("point")])
    values = {setting: list(rows[setting].astype(str).unique()) for setting in settings}
    shape = [len(values[setting]) for setting in settings]
    by_point = rows.groupby("point", sort=False)
    means = by_point["value"].mean().to_numpy().reshape(shape)
    texts = np.array([number(mean) for mean in means.flat], dtype=object).reshape(shape)
    texts[np.isnan(means)] = by_point["status"].first().to_numpy().reshape(shape)[np.isnan(means)]
    label = f"{HEADINGS[metric]} (%)"
    if len(settings) == 1:
        return _line(rows, means, texts, values[settings[0]], label, title)
    return _maps(means.reshape(*shape[:2], -1), texts.reshape(*shape[:2], -1), values, label, title)


def _line(
    rows: pd.DataFrame, means: np.ndarray, texts: np.ndarray, values: Sequence[str], label: str, title: str
) -> Figure:
    figure = Figure(figsize=(WIDTH, 2.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(len(means)), means, color=COLOURS[0], marker="o", markersize=2.5)
    if rows["seed"].nunique() > 1:
        places = [values.index(str(value)) for value in rows.iloc[:, 0]]
        axes.plot(places, rows["value"], ".", color="#666666", markersize=2, zorder=1)
    for position, (mean, text) in enumerate(zip(means, texts, strict=True)):
        if np.isnan(mean):
            axes.text(position, 0.05, text, ha="center", style="italic", transform=axes.get_xaxis_transform())
        else:
            beside: dict[str, Any] = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "fontsize": 6}
            beside["path_effects"] = [withStroke(linewidth=1.5, foreground="white")]
            axes.annotate(text, (position, mean), **beside)
    axes.set_xticks(range(len(means)), values)
    low, high = _span(rows["value"].to_numpy())
    edge = 0.15 * (high - low)
    axes.margins(x=0.12)
    axes.set(title=title, xlabel=rows.columns[0], ylabel=label, ylim=(low - edge, high + edge))
    return figure


def _maps(means: np.ndarray, texts: np.ndarray, values: Mapping[str, Sequence[str]], label: str, title: str) -> Figure:
    """Draw means (rows, columns, panels)."""
    down, across, *further = values
    n_rows, n_columns, n_panels = means.shape
    side = max(1, min(n_panels, 9 // n_columns))  # panels beside each other, so that the numbers stay legible
    lines = math.ceil(n_panels / side)
    figure = Figure(figsize=(WIDTH, 0.6 + lines * (0.42 + 0.22 * n_rows)), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    panels = figure.subplots(lines, side, squeeze=False, sharex=True, sharey=True)
    low, high = _span(means)
    cmap = colormaps["cividis"].with_extremes(bad="#DDDDDD")
    size = min(6.0, 60 / (n_columns * side))
    crowded = side * n_columns * max(map(len, values[across])) > 36
    for panel, axes in enumerate(panels.flat):
        if panel >= n_panels:
            axes.set_visible(False)
            continue
        image = axes.imshow(means[..., panel], cmap=cmap, vmin=low, vmax=high, aspect="auto")
        if further:
            axes.set_title(f"{further[0]} = {values[further[0]][panel]}", fontsize=7)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=6)
        axes.set_xticks(range(n_columns), values[across], rotation=90 if crowded else 0)
        axes.set_yticks(range(n_rows), values[down])
        for (row, column), text in np.ndenumerate(texts[..., panel]):
            dark = means[row, column, panel] < (low + high) / 2
            axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=size)
    figure.supxlabel(across, fontsize=7)
    figure.supylabel(down, fontsize=7)
    figure.colorbar(image, ax=panels, label=label)
    return figure


def _span(values: np.ndarray) -> tuple[float, float]:
    """Return the range of the finite values, at least 5 points wide, so that noise does not look like a trend."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 100.0
    middle, half = (finite.max() + finite.min()) / 2, max(5.0, float(np.ptp(finite))) / 2
    return middle - half, middle + half
