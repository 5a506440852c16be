"""A map of the codes (before and after clustering, if the run kept both), or of the samples as they are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from deepclust.metrics import match
from deepclust.reporting.figures._style import COLOURS, WIDTH
from deepclust.reporting.figures._tsne import sample, tsne
from deepclust.reporting.finished import Cell, Needs
from deepclust.seeding import derive_seed

NEEDS = Needs()  # `draw` itself looks for codes, else takes the samples, and at least four of either

_MARKERS = ["o", "x", "^", "+", "s", "v", "D", "*"]


def draw(run: Cell) -> Figure | None:
    """Return the map by class and cluster, by cluster alone without classes, or by class before and after."""
    title = run.title_of_seed
    if run.has(Needs(files=("embedding.npy",))):
        points, seed = run.array("embedding.npy"), derive_seed(0, title)
    elif run.X.shape[1]:  # one map for all such cells on a data set
        points, seed, title = run.X, derive_seed(0, run.dataset), f"{title}, samples as they are"
    else:  # a graph alone
        return None
    if len(points) < 4:
        return None
    rows = sample(len(points), seed)
    if run.y is not None and run.has(Needs(files=("embedding_before.npy",))):
        before = tsne(run.array("embedding_before.npy"), seed)
        return plot_before_after(before, tsne(points, seed), run.y[rows], title)
    return plot(tsne(points, seed), None if run.y is None else run.y[rows], run.labels[rows], title)


def plot(coordinates: np.ndarray, y: np.ndarray | None, labels: np.ndarray, title: str = "") -> Figure:
    """Return a map of M samples coloured by class and by cluster, or by cluster alone where `y` is None.

    Clusters bear the name and colour of the class they are matched to. Names stand among their points, so that no
    legend is needed. Beyond eight, colours come again darker, then paler, each time with another marker.
    """
    if y is None:
        return _panels({"clusters": (coordinates, labels)}, title)
    groups = {"classes": y, "clusters, named by their class": match(y, labels)}
    return _panels({heading: (coordinates, found) for heading, found in groups.items()}, title)


def plot_before_after(before: np.ndarray, after: np.ndarray, y: np.ndarray, title: str = "") -> Figure:
    """Return the maps of the same M samples before and after clustering, coloured and named by class."""
    figure = _panels({"before clustering": (before, y), "after clustering": (after, y)}, title)
    for axes in figure.axes:
        axes.set(adjustable="datalim", box_aspect=1)  # maps of different shapes side by side
    return figure


def _panels(panels: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str) -> Figure:
    """Draw under each heading points (M, 2) in the colours of their groups (M,), which are alike in all panels."""
    names = np.unique(np.concatenate([groups for _, groups in panels.values()]))
    sizes = [np.ptp(coordinates, axis=0) for coordinates, _ in panels.values()]
    shape = max(height / width if width else 1.0 for width, height in sizes)  # the figure's, so that maps fill it
    height = 0.45 + float(np.clip(shape, 0.5, 1.25)) * WIDTH / len(panels)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (heading, (coordinates, groups)) in zip(grid, panels.items(), strict=True):
        axes.set_title(heading)
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.margins(0.02)
        axes.spines[:].set_visible(False)
        _scatter(axes, coordinates, np.searchsorted(names, groups))
        size = 7 if len(names) <= 10 else 5.5
        halo = [withStroke(linewidth=1.5, foreground="white")]
        for name, place in _places(coordinates, groups).items():
            axes.text(*place, str(name), ha="center", va="center", fontsize=size, fontweight="bold", path_effects=halo)
    return figure


def _scatter(axes: Axes, coordinates: np.ndarray, groups: np.ndarray) -> None:
    """Draw points in the order of the samples, so that no group covers another; a marker for each eight groups."""
    colours = _shades()[groups % len(_shades())]
    for block in np.unique(groups // len(COLOURS)):
        chosen = groups // len(COLOURS) == block
        marker = _MARKERS[block % len(_MARKERS)]
        size: dict[str, Any] = {
            "s": 2.5 if marker == "o" else 4,
            "linewidths": 0.0 if marker not in "x+" else 0.4,
            "rasterized": True,
        }
        axes.scatter(coordinates[chosen, 0], coordinates[chosen, 1], c=colours[chosen], marker=marker, **size)


def _shades() -> np.ndarray:
    """Return the palette, its colours darker, and its colours paler: RGB, shape (3 C, 3)."""
    plain = np.array([to_rgb(colour) for colour in COLOURS])
    return np.concatenate([plain, 0.5 * plain, 0.5 + 0.5 * plain])


def _places(coordinates: np.ndarray, groups: np.ndarray) -> dict[int, np.ndarray]:
    """Return a place for each group's name: its point nearest to its median that keeps clear of earlier names."""
    clear = 0.07 * np.ptp(coordinates, axis=0).max()
    places: dict[int, np.ndarray] = {}
    for name in np.unique(groups):
        points = coordinates[groups == name]
        points = points[np.argsort(np.linalg.norm(points - np.median(points, axis=0), axis=1), kind="stable")]
        gaps = np.array([np.linalg.norm(points - place, axis=1) for place in places.values()])
        free = np.flatnonzero((gaps >= clear).all(axis=0)) if places else np.array([0])
        places[int(name)] = points[free[0] if free.size else 0]
    return places
