"""Figures one column (3.4 in) wide: maps of the embedding, confusion matrices, training curves, accuracy bars.

The same inputs give the same bytes: fonts and settings are matplotlib's own, not the user's, and files carry no date.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from deepclust import files
from deepclust.errors import UserError
from deepclust.metrics import match
from deepclust.reporting.aggregate import NOT_RUN, compare
from deepclust.reporting.papers import PAPERS

WIDTH = 3.4
SAMPLE = 5000

# Okabe and Ito's palette, safe for colour-blind readers; grey instead of black, which would drown the others
_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#666666"]
_MARKERS = ["o", "x", "^", "+", "s", "v", "D", "*"]
_STYLE: list[str | dict[str, Any]] = [
    "default",
    {
        "font.size": 7,
        "axes.titlesize": 7.5,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.frameon": False,
        "legend.handlelength": 1.4,
        "lines.linewidth": 0.9,
        "pdf.fonttype": 42,
    },
]


def sample(n: int, random_state: int) -> np.ndarray:
    """Return which of `n` samples `tsne` maps, shape (M,), sorted: all, or 5,000 drawn without replacement."""
    if n <= SAMPLE:
        return np.arange(n)
    return np.sort(np.random.default_rng(random_state).choice(n, SAMPLE, replace=False))


def tsne(embedding: np.ndarray, random_state: int) -> np.ndarray:
    """Return the t-SNE coordinates of the samples `sample(N, random_state)` of an (N, P) embedding, shape (M, 2).

    Perplexity 30 (less below 91 samples), started from the principal components. On one thread, since sums on more
    differ in their last bits, and t-SNE amplifies those. An embedding collapsed to a point is mapped to a point.

    Raises
    ------
    UserError
        If there are fewer than 4 samples or the embedding is not finite.
    """
    from openTSNE import TSNE
    from threadpoolctl import threadpool_limits

    points = np.asarray(embedding, dtype=np.float64)[sample(len(embedding), random_state)]
    if len(points) < 4 or not np.isfinite(points).all():
        raise UserError(f"embedding must be finite with at least 4 samples, got shape {np.shape(embedding)}")
    if not np.ptp(points, axis=0).any():
        return np.zeros((len(points), 2))
    if points.shape[1] == 1:
        points = np.pad(points, ((0, 0), (0, 1)))  # the start takes two principal components
    # Barnes-Hut: at 5,000 points it takes half the time of the interpolation that pays off beyond 10,000
    model = TSNE(
        perplexity=min(30, (len(points) - 1) / 3),
        initialization="pca",
        neighbors="exact",
        negative_gradient_method="bh",
        n_jobs=1,
        random_state=random_state,
    )
    with threadpool_limits(1):
        return np.asarray(model.fit(points))


@matplotlib.style.context(_STYLE)
def tsne_map(coordinates: np.ndarray, y: np.ndarray | None, labels: np.ndarray, title: str = "") -> Figure:
    """Return a map of M samples coloured by class and by cluster, or by cluster alone where `y` is None.

    Clusters bear the name and colour of the class they are matched to. Names stand among their points, so that no
    legend is needed and colours may repeat (with another marker) beyond eight.
    """
    panels = {"clusters": labels} if y is None else {"classes": y, "clusters, named by their class": match(y, labels)}
    names = np.unique(np.concatenate(list(panels.values())))
    figure = Figure(figsize=(WIDTH, 3.2 if y is None else 2.0), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    for axes, (heading, groups) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        axes.set_title(heading)
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)
        _scatter(axes, coordinates, np.searchsorted(names, groups))
        size = 7 if len(names) <= 10 else 5.5
        halo = [withStroke(linewidth=1.5, foreground="white")]
        for name, place in _places(coordinates, groups).items():
            axes.text(*place, str(name), ha="center", va="center", fontsize=size, fontweight="bold", path_effects=halo)
    return figure


@matplotlib.style.context(_STYLE)
def confusion(y: np.ndarray, labels: np.ndarray, title: str = "") -> Figure:
    """Return the share of each class (row) that lies in each cluster (column), in percent of the class.

    Columns are in the order of the classes their clusters are matched to; clusters left over follow. Up to 20 rows or
    columns every share of at least half a percent is printed; beyond that a colour bar replaces the numbers.
    """
    renamed = match(y, labels)
    classes, clusters = np.unique(y), np.unique(renamed)
    shares = np.array([[np.mean(renamed[y == k] == c) * 100 for c in clusters] for k in classes])
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


@matplotlib.style.context(_STYLE)
def curves(traces: Mapping[int, pd.DataFrame], title: str = "") -> Figure:
    """Return the loss curves of every seed, one column of axes a phase, and below them the label changes if recorded.

    Parameters
    ----------
    traces
        Of each seed, its trace: `phase`, `epoch`, `loss`, further terms as `loss_*`, and perhaps `label_change`, a
        fraction. A term that a phase does not have is empty there. All seeds of a term share its colour.
    """
    if not any(len(trace) for trace in traces.values()):
        raise UserError(f"traces must hold at least one epoch, got none in {len(traces)} seeds")
    rows = pd.concat([trace.assign(seed=seed) for seed, trace in traces.items()])
    phases = list(dict.fromkeys(rows["phase"]))
    terms = [name for name in rows.columns if name.startswith("loss_")]
    # the total lies beneath its terms, and broader, so that it shows where it consists of one of them
    colours = {"loss": "black"} | {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(terms)}
    changes = "label_change" in rows and rows["label_change"].notna().any()
    figure = Figure(figsize=(WIDTH, 3.4 if changes else 2.2), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    grid = figure.subplots(
        2 if changes else 1, len(phases), squeeze=False, sharex="col", height_ratios=[3, 2][: 1 + changes]
    )
    for column, phase in enumerate(phases):
        part = rows[rows["phase"] == phase]
        top, bottom = grid[0, column], grid[-1, column]
        top.set_title(phase)
        for term, colour in colours.items():
            _lines(top, part, term, 1, colour, 1.6 if term == "loss" else 0.8)
        values = part[list(colours)].to_numpy()
        values = values[np.isfinite(values)]
        if values.size and values.min() > 0 and values.max() > 50 * values.min():
            top.set_yscale("log")
        if changes:
            _lines(bottom, part, "label_change", 100, _COLOURS[0], 0.8)
            if part["label_change"].isna().all():
                bottom.set_yticks([])
                bottom.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=bottom.transAxes)
            else:
                bottom.set_ylim(bottom=0)
        bottom.set_xlabel("epoch")
        bottom.xaxis.get_major_locator().set_params(integer=True, nbins=5)
    grid[0, 0].set_ylabel("loss")
    if changes:
        grid[1, 0].set_ylabel("labels changed (%)")
    handles = [
        Line2D([], [], color=colour, label=term.removeprefix("loss_").replace("_", " "))
        for term, colour in colours.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), columnspacing=1.2)
    return figure


@matplotlib.style.context(_STYLE)
def accuracy_bars(summary: pd.DataFrame, reported: pd.DataFrame, dataset: str) -> Figure:
    """Return a bar for every cell's mean accuracy on a data set, with its std, and a mark for each paper's number.

    A cell without a finished seed has its status in place of a bar. Raises UserError for an unknown data set.
    """
    ours = summary[(summary["dataset"] == dataset) & (summary["metric"] == "acc")]
    if ours.empty:
        raise UserError(f"dataset must be one of {', '.join(summary['dataset'].unique())}, got {dataset!r}")
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
    for number, paper in enumerate(PAPERS):
        rows = published[published["paper"] == paper]
        if not rows.empty:
            style: dict[str, Any] = {
                "color": _COLOURS[number % len(_COLOURS)],
                "marker": "osD^vP*X"[number % 8],
                "markersize": 2.8,
                "linestyle": "none",
            }
            aside = 0.16 * (number - (len(PAPERS) - 1) / 2)  # equal numbers of two papers stay apart
            positions = [cells.index(cell) + aside for cell in rows["cell"]]
            axes.plot(rows["reported"], positions, label=f"reported, {PAPERS[paper].title}", **style)
    axes.set_yticks(range(len(cells)), cells)
    axes.set(xlim=(0, 100), ylim=(len(cells) - 0.4, -0.6), xlabel=f"ACC on {dataset} (%)")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    return figure


@matplotlib.style.context(_STYLE)
def save(figure: Figure, stem: Path | str) -> None:
    """Write `stem`.png (200 dpi) and `stem`.pdf atomically, the same bytes for the same figure whenever it is drawn."""
    with files.atomic(f"{stem}.png") as file:
        figure.savefig(file, format="png", dpi=200, metadata={"Software": None}, pil_kwargs={"optimize": True})
    with files.atomic(f"{stem}.pdf") as file:
        nothing = {"Creator": None, "Producer": None, "CreationDate": None}
        figure.savefig(file, format="pdf", dpi=300, metadata=nothing)


def _scatter(axes: Axes, coordinates: np.ndarray, groups: np.ndarray) -> None:
    """Draw points in the order of the samples, so that no group covers another; a marker for each eight groups."""
    colours = np.array(_COLOURS)[groups % len(_COLOURS)]
    for block in np.unique(groups // len(_COLOURS)):
        chosen = groups // len(_COLOURS) == block
        marker = _MARKERS[block % len(_MARKERS)]
        size: dict[str, Any] = {
            "s": 2.5 if marker == "o" else 4,
            "linewidths": 0.0 if marker not in "x+" else 0.4,
            "rasterized": True,
        }
        axes.scatter(coordinates[chosen, 0], coordinates[chosen, 1], c=colours[chosen], marker=marker, **size)


def _places(coordinates: np.ndarray, groups: np.ndarray) -> dict[int, np.ndarray]:
    """Return for each group the point of its own nearest to its median that keeps clear of the names placed before."""
    clear = 0.07 * np.ptp(coordinates, axis=0).max()
    places: dict[int, np.ndarray] = {}
    for name in np.unique(groups):
        points = coordinates[groups == name]
        points = points[np.argsort(np.linalg.norm(points - np.median(points, axis=0), axis=1), kind="stable")]
        gaps = np.array([np.linalg.norm(points - place, axis=1) for place in places.values()])
        free = np.flatnonzero((gaps >= clear).all(axis=0)) if places else np.array([0])
        places[int(name)] = points[free[0] if free.size else 0]
    return places


def _lines(axes: Axes, rows: pd.DataFrame, name: str, scale: float, colour: str, width: float) -> None:
    for _, trace in rows.dropna(subset=[name]).groupby("seed"):
        marker = "." if len(trace) == 1 else ""
        axes.plot(trace["epoch"], scale * trace[name], color=colour, linewidth=width, marker=marker, alpha=0.7)
