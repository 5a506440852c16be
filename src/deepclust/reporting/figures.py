"""Figures one column (3.4 in) wide: what a run found, how it got there, accuracy bars, sweeps.

The same inputs give the same bytes: fonts and settings are matplotlib's own, not the user's, and files carry no date.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
import scipy.sparse as sp
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Affine2D

from deepclust import files
from deepclust.errors import UserError
from deepclust.metrics import match
from deepclust.reporting.aggregate import NOT_RUN, compare
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.tables import HEADINGS, number

WIDTH = 3.4
SAMPLE = 5000
SAMPLE_OF_CLASS = 100
SERIES = 32  # lines that colour and dash keep apart
HALF_STEPS = frozenset({"z_objective", "theta_objective", "accepted"})  # columns of a trace that `half_steps` reads
CODE = frozenset({"code_scale", "code_rank"})  # and `scale_and_rank`
GAPS = frozenset({"solver", "solver_iterations", "z_gap"})  # and `gaps`, the first two being settings of a sweep
CONVERGENCE = frozenset({"primal_residual", "largest_cosine", "certainty"})  # any of these is reason for `convergence`

# Okabe and Ito's palette, safe for colour-blind readers; grey instead of black, which would drown the others
_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#666666"]
_MARKERS = ["o", "x", "^", "+", "s", "v", "D", "*"]
_DASHES = ["-", "--", ":", "-."]
_SMALLEST_GAP = 1e-12  # a gap of zero has no place on a log axis
_BINS = 200  # of a matrix's rows and columns: fewer than its pixels, so that no lone entry is lost
_MEASURES = {  # a panel of `convergence` each: the label of its axis, and what its values are multiplied by
    "primal_residual": ("primal residual", 1),
    "clustering": ("clustering cost of Y", 1),
    "label_change": ("labels changed (%)", 100),
    "largest_cosine": ("largest cosine\nof two centroids", 1),
    "certainty": ("mean largest\nassignment", 1),
}
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


def sample_of_classes(y: np.ndarray, random_state: int) -> np.ndarray:
    """Return which samples `cosine` compares, shape (M,), class by class: of each all, or 100 without replacement."""
    rng = np.random.default_rng(random_state)
    members = [np.flatnonzero(y == k) for k in np.unique(y)]
    return np.concatenate([np.sort(rng.permutation(found)[:SAMPLE_OF_CLASS]) for found in members])


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
    from openTSNE.affinity import MultiscaleMixture
    from openTSNE.nearest_neighbors import Sklearn
    from threadpoolctl import threadpool_limits

    points = np.asarray(embedding, dtype=np.float64)[sample(len(embedding), random_state)]
    if len(points) < 4 or not np.isfinite(points).all():
        raise UserError(f"embedding must be finite with at least 4 samples, got shape {np.shape(embedding)}")
    if not np.ptp(points, axis=0).any():
        return np.zeros((len(points), 2))
    if points.shape[1] == 1:
        points = np.pad(points, ((0, 0), (0, 1)))  # the start takes two principal components
    perplexity = min(30, (len(points) - 1) / 3)
    # Barnes-Hut: at 5,000 points it takes half the time of the interpolation that pays off beyond 10,000
    model = TSNE(initialization="pca", negative_gradient_method="bh", n_jobs=1, random_state=random_state)
    with threadpool_limits(1):
        # an index of its own: to choose one, openTSNE loads pynndescent, for a second, where that is installed
        index = Sklearn(points, min(len(points) - 1, int(3 * perplexity)), n_jobs=1)
        return np.asarray(model.fit(points, MultiscaleMixture(perplexities=perplexity, knn_index=index)))


@matplotlib.style.context(_STYLE)
def tsne_map(coordinates: np.ndarray, y: np.ndarray | None, labels: np.ndarray, title: str = "") -> Figure:
    """Return a map of M samples coloured by class and by cluster, or by cluster alone where `y` is None.

    Clusters bear the name and colour of the class they are matched to. Names stand among their points, so that no
    legend is needed and colours may repeat (with another marker) beyond eight.
    """
    if y is None:
        return _maps({"clusters": (coordinates, labels)}, title)
    groups = {"classes": y, "clusters, named by their class": match(y, labels)}
    return _maps({heading: (coordinates, found) for heading, found in groups.items()}, title)


@matplotlib.style.context(_STYLE)
def tsne_before_after(before: np.ndarray, after: np.ndarray, y: np.ndarray, title: str = "") -> Figure:
    """Return the maps of the same M samples before and after clustering, coloured and named by class."""
    figure = _maps({"before clustering": (before, y), "after clustering": (after, y)}, title)
    for axes in figure.axes:
        axes.set(adjustable="datalim", box_aspect=1)  # maps of different shapes side by side
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
def centers(
    images: np.ndarray, image_shape: Sequence[int], y: np.ndarray, labels: np.ndarray, title: str = ""
) -> Figure:
    """Return the decoded centres of clusters as a grid of images, each named by the class of most of its members.

    They are in the order of these classes, so that duplicates stand side by side. Where a cluster is matched to another
    class, as in `confusion`, an arrow leads to that one. A cluster without members is named empty.

    Parameters
    ----------
    images
        Centres (K, C * H * W), where row k belongs to label k; drawn from black at 0 to white at 1, values beyond
        clipped. Three channels are red, green and blue; of any other number the mean is drawn.
    image_shape
        (C, H, W)
    """
    channels, height, width = image_shape
    tiles = np.clip(images, 0, 1).reshape(len(images), channels, height, width)
    named = _classes_of_clusters(y, labels)
    order = sorted(named, key=lambda cluster: (named[cluster][0], len(set(named[cluster]))))
    order += [cluster for cluster in range(len(images)) if cluster not in named]

    # everything below is in inches, the axes' units too
    columns = min(len(images), max(5, min(10, math.ceil(math.sqrt(2 * len(images))))))
    step = (WIDTH - 0.04) / max(columns, 5)  # fewer than five images are no larger than five
    side, left = step - 0.04, (WIDTH - columns * step + 0.04) / 2
    top, head, tall = 0.22 if title else 0.02, 0.15, side * height / width
    size = WIDTH, top + math.ceil(len(images) / columns) * (head + tall) + 0.02
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    axes.text(WIDTH / 2, 0.04, title, ha="center", va="top", fontsize=7.5)
    for place, cluster in enumerate(order):
        row, column = divmod(place, columns)
        x, upper = left + column * step, top + row * (head + tall) + head
        tile = tiles[cluster].transpose(1, 2, 0) if channels == 3 else tiles[cluster].mean(axis=0)
        extent = (x, x + side, upper + tall, upper)
        axes.imshow(tile, cmap="gray", vmin=0, vmax=1, interpolation="none", extent=extent)
        most, matched = named.get(cluster, ("empty", "empty"))
        name = str(most) if most == matched else f"{most}\N{RIGHTWARDS ARROW}{matched}"
        colour = "black" if most == matched != "empty" else _COLOURS[5]
        axes.text(x + side / 2, upper - 0.03, name, ha="center", va="baseline", fontsize=7, color=colour)
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
    if not any("loss" in trace and trace["loss"].notna().any() for trace in traces.values()):
        raise UserError(f"traces must hold the loss of at least one epoch, got none in {len(traces)} seeds")
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
        _log_if_wide(top, part[list(colours)].to_numpy())
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
def half_steps(traces: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Return the objective of alternating minimisation after every half-step, and the steps that were undone.

    Parameters
    ----------
    traces
        Of each series (a cell, a point of a sweep, a seed), its trace with the columns `HALF_STEPS`: a row is an epoch,
        whose Z-step comes before its theta-step; the last may have a Z-step alone. A theta-step not accepted left the
        objective at what the Z-step had reached, which is where the line goes on; the cross is the value refused. With
        a column `seed`, every seed is a line of its own in the series' colour.
    """
    figure, axes = _figure_of_series(traces, title, 1)
    ends, undone = [np.zeros(0)], False
    for series, style in _styles(traces).items():
        for trace in _by_seed(traces[series].dropna(subset=["z_objective"])):
            epoch, z, theta = (trace[name].to_numpy(float) for name in ("epoch", "z_objective", "theta_objective"))
            refused = trace["accepted"].isin([False]).to_numpy() & np.isfinite(theta)
            x = np.stack([epoch, epoch + 0.5], axis=1).ravel()
            y = np.stack([z, np.where(refused, z, theta)], axis=1).ravel()
            kept = np.isfinite(y)
            axes[0].plot(x[kept], y[kept], marker=".", markersize=2, markevery=2, **style)
            axes[0].plot(epoch[refused] + 0.5, theta[refused], "x", markersize=3, color=style["color"])
            ends += [y, theta]
            undone |= bool(refused.any())
    _log_if_wide(axes[0], np.concatenate(ends))
    axes[0].set(xlabel="epoch", ylabel="objective F")
    _name_series(figure, traces, {"after a Z-step": "."} | ({"theta-step undone": "x"} if undone else {}))
    return figure


@matplotlib.style.context(_STYLE)
def scale_and_rank(traces: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Return the code's scale (mean of ||h||^2, log axis) and its effective rank after every epoch.

    `traces` as in `half_steps`, with the columns `CODE`.
    """
    figure, axes = _figure_of_series(traces, title, 2)
    for panel, name in zip(axes, ("code_scale", "code_rank"), strict=True):
        _plot_series(panel, traces, name)
    scales = np.concatenate([trace["code_scale"].dropna() for trace in traces.values()])
    if (positive := scales[scales > 0]).size:
        low, high = positive.min(), positive.max()
        wider = max(1.1, math.sqrt(10 * low / high))  # at least a decade: a scale that is held shows as a level line
        axes[0].set_ylim(low / wider, high * wider)
    axes[0].set(yscale="log", ylabel=r"scale, mean of $\|h\|^2$")
    axes[1].set(xlabel="epoch", ylabel="effective rank")
    axes[1].set_ylim(bottom=0)
    _name_series(figure, traces, {})
    return figure


@matplotlib.style.context(_STYLE)
def convergence(traces: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Return what tells of convergence over the epochs, one panel a measure that is recorded.

    The primal residual of ADMM, the objective, the share of labels changed and the largest cosine of two centroids. The
    third is on an axis that is linear below 0.1 % and else logarithmic, the others on a log axis where they fall far,
    without their zeros.
    `traces` as in `half_steps`, with at least one of `CONVERGENCE`.
    """
    rows = pd.concat(traces.values()).dropna(axis="columns", how="all")
    shown = [name for name in _MEASURES if name in rows]
    figure, axes = _figure_of_series(traces, title, len(shown))
    for panel, name in zip(axes, shown, strict=True):
        label, factor = _MEASURES[name]
        _plot_series(panel, traces, name, factor)
        if name == "label_change":
            panel.set_yscale("symlog", linthresh=0.1, linscale=0.4)
            panel.yaxis.set_major_formatter("{x:g}")
            panel.set_ylim(bottom=0)
        else:
            values = rows[name].to_numpy(float)
            _log_if_wide(panel, values[values != 0])  # ADMM starts at a residual of zero
        panel.set_ylabel(label)
    axes[-1].set_xlabel("epoch")
    _name_series(figure, traces, {})
    return figure


@matplotlib.style.context(_STYLE)
def alive(traces: Mapping[str, pd.DataFrame], n_clusters: int, title: str = "") -> Figure:
    """Return the number of clusters that have members after every epoch, below a dashed line at K.

    `traces` as in `half_steps`, with the column `alive`. Lines are drawn apart, by half a cluster in all, so that
    equal ones show.
    """
    figure, (axes,) = _figure_of_series(traces, title, 1)
    _plot_series(axes, traces, "alive")
    lines = list(axes.lines)
    for place, line in enumerate(lines):
        lift = (place - (len(lines) - 1) / 2) / max(10, 2 * len(lines))
        line.set_transform(Affine2D().translate(0, lift) + axes.transData)
    axes.axhline(n_clusters, color="#666666", linestyle="--", linewidth=0.8, zorder=1)
    above: dict[str, Any] = {"xytext": (0, 4), "textcoords": "offset points", "ha": "right"}
    axes.annotate(f"K = {n_clusters}", (1, n_clusters), xycoords=axes.get_yaxis_transform(), **above)
    axes.set(xlabel="epoch", ylabel="clusters alive", ylim=(0, 1.15 * n_clusters))
    axes.locator_params(axis="y", integer=True)
    _name_series(figure, traces, {})
    return figure


@matplotlib.style.context(_STYLE)
def gaps(traces: pd.DataFrame, title: str = "") -> Figure:
    """Return the largest duality gap over the rows of Z after the first Z-step against the solver's budget, log axes.

    Parameters
    ----------
    traces
        Traces of all points with the columns `GAPS`: a gap is relative to the objective; the first Z-step of each run
        counts. A line for each solver, the mean over seeds; the dashed line is the 50 iterations of the hybrid's paper.
    """
    figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
    axes = figure.subplots()
    first = (
        traces.dropna(subset=["z_gap"]).groupby(["solver", "solver_iterations", "seed"], sort=False)["z_gap"].first()
    )
    for colour, (solver, found) in zip(_COLOURS, first.groupby("solver", sort=False), strict=False):
        means = found.groupby("solver_iterations").mean()
        budget = means.index.to_numpy(float)
        order = np.argsort(budget)
        shown = np.maximum(means.to_numpy()[order], _SMALLEST_GAP)
        axes.plot(budget[order], shown, marker="o", markersize=2.5, color=colour, label=solver)
    axes.axvline(50, color="#666666", linestyle="--", linewidth=0.8)
    axes.set(xscale="log", yscale="log", title=title, xlabel="iterations allowed", ylabel="largest relative gap")
    axes.legend()
    return figure


@matplotlib.style.context(_STYLE)
def candidates(table: pd.DataFrame, accuracies: Sequence[float], title: str = "") -> Figure:
    """Return the accuracy of every candidate partition of a run against the modularity by which it was chosen.

    Parameters
    ----------
    table
        One row a candidate: `modularity` and `normalized_cut`, the colour. The first of largest modularity is ringed.
    accuracies
        Of each candidate, as fractions.
    """
    modularity, percent = table["modularity"].to_numpy(), 100 * np.asarray(accuracies)
    chosen = int(modularity.argmax())
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    axes = figure.subplots()
    marks: dict[str, Any] = {"cmap": "cividis", "s": 14, "linewidths": 0.3, "edgecolors": "white"}
    points = axes.scatter(modularity, percent, c=table["normalized_cut"], **marks)
    label = f"chosen: modularity {modularity[chosen]:.4f}, ACC {percent[chosen]:.1f} %"
    ring: dict[str, Any] = {"s": 50, "facecolors": "none", "edgecolors": _COLOURS[5], "linewidths": 0.9}
    axes.scatter(modularity[chosen], percent[chosen], label=label, **ring)
    axes.set(title=title, xlabel="modularity", ylabel="ACC (%)")
    figure.colorbar(points, label="normalized cut")
    figure.legend(loc="outside lower center")
    return figure


@matplotlib.style.context(_STYLE)
def affinity(before: sp.csr_matrix, after: sp.csr_matrix, y: np.ndarray, title: str = "") -> Figure:
    """Return two weight matrices (N, N) side by side, samples in the order of their classes, on one colour scale.

    A colour is a density: a bin's share of the weight over its share of the pairs of samples, so that 1 is an even
    spread. Bins without weight are black. The titles give the share of the weight between samples of different classes.
    """
    bins, n_bins = _bins_by_class(y)
    heads = ["candidates' weights W", "affinity $|Z| + |Z^T|$"]
    densities = [_densities(weights, bins, n_bins) for weights in (before, after)]
    weighty = np.concatenate([density[density > 0] for density in densities])
    limits = (max(weighty.min(), weighty.max() / 1e4), weighty.max()) if weighty.size else (0.1, 1.0)

    figure = Figure(figsize=(WIDTH, 2.15), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    panels = figure.subplots(1, 2, sharey=True)
    cmap = colormaps["cividis"].with_extremes(bad="black", under="black")
    for axes, head, weights, density in zip(panels, heads, (before, after), densities, strict=True):
        image = axes.imshow(np.where(density > 0, density, np.nan), cmap=cmap, norm=LogNorm(*limits), aspect="equal")
        axes.set_title(f"{head}\n{_between_classes(weights, y)}", fontsize=7)
        _name_classes(axes, y, n_bins)
    figure.colorbar(image, ax=panels, label="weight, 1 = even spread", shrink=0.8)
    return figure


@matplotlib.style.context(_STYLE)
def cosine(before: np.ndarray, after: np.ndarray, y: np.ndarray, title: str = "") -> Figure:
    """Return the cosines between samples before and after clustering side by side, in the order of their classes.

    Up to 200 samples a pixel is a pair; beyond that it is the mean over a block of pairs. A code of zero has the cosine
    0 with all others. The titles give the mean over pairs of different samples. Lines part the classes, up to 20.

    Parameters
    ----------
    before, after
        Codes (M, P) of the same M samples; the two sizes P may differ.
    y
        Their classes, shape (M,).
    """
    bins, n_bins = _bins_by_class(y)
    _, sizes = np.unique(y, return_counts=True)
    cmap = colormaps["RdBu_r"].resampled(65)  # no coarser to the eye than 256 colours, and smaller
    figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, head, codes in zip(panels, ("before clustering", "after clustering"), (before, after), strict=True):
        unit = _unit(codes)
        means = _sums(unit, bins) / np.bincount(bins)[:, None]
        # the mean over a block of pairs is the product of the means; einsum's sums do not depend on threads
        blocks = np.einsum("ip,jp->ij", means, means)
        image = axes.imshow(blocks, cmap=cmap, vmin=-1, vmax=1, interpolation="none", aspect="equal")
        axes.set_title(f"{head}\n{_mean_cosines(unit, y)}", fontsize=7)
        _name_classes(axes, y, n_bins)
        if len(sizes) <= 20:
            for end in np.cumsum(sizes)[:-1] * n_bins / len(y) - 0.5:
                axes.axhline(end, color="#666666", linewidth=0.3)
                axes.axvline(end, color="#666666", linewidth=0.3)
    figure.colorbar(image, ax=panels, label="cosine similarity", shrink=0.8, ticks=[-1, -0.5, 0, 0.5, 1])
    return figure


@matplotlib.style.context(_STYLE)
def singular_values(table: pd.DataFrame, title: str = "") -> Figure:
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
    for name, colour, marker in (("before", _COLOURS[0], "o"), ("after", _COLOURS[5], "s")):
        mean = table[name].mean()
        axes.axhline(mean, color=colour, linestyle="--", linewidth=0.8, zorder=1)
        label = f"{name} fusion, mean {mean:.1f} %"
        axes.plot(table["cluster"], table[name], color=colour, marker=marker, label=label, **mark)
    axes.locator_params(axis="x", integer=True, nbins=12)
    axes.set(title=title, xlabel="cluster", ylabel="largest singular value\n(% of the sum)")
    axes.set(xlim=(table["cluster"].min() - 0.6, table["cluster"].max() + 0.6), ylim=(0, 105))
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    return figure


@matplotlib.style.context(_STYLE)
def sweep(results: pd.DataFrame, metric: str, title: str = "") -> Figure:
    """Return a metric at the points of a sweep, in percent, as the mean over the finished seeds.

    A line for one setting, with the seeds as dots; a map for two, the first downwards; a map for each value of a third.
    The scale spans at least 5 points.
    A point without a finished seed has its status in place of a number.

    Parameters
    ----------
    results
        Rows of points, seeds and metrics: the settings in the columns before `point`, then among others `seed`,
        `status`, `metric` and `value`, a fraction.
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
        return _sweep_line(rows, means, texts, values[settings[0]], label, title)
    return _sweep_maps(means.reshape(*shape[:2], -1), texts.reshape(*shape[:2], -1), values, label, title)


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
    for place, paper in enumerate(PAPERS):
        rows = published[published["paper"] == paper]
        if not rows.empty:
            style: dict[str, Any] = {
                "color": _COLOURS[place % len(_COLOURS)],
                "marker": "osD^vP*X"[place % 8],
                "markersize": 2.8,
                "linestyle": "none",
            }
            aside = 0.16 * (place - (len(PAPERS) - 1) / 2)  # equal numbers of two papers stay apart
            positions = [cells.index(cell) + aside for cell in rows["cell"]]
            axes.plot(rows["reported"], positions, label=f"reported, {PAPERS[paper].title}", **style)
    axes.set_yticks(range(len(cells)), cells)
    axes.set(xlim=(0, 100), ylim=(len(cells) - 0.4, -0.6), xlabel=f"ACC on {dataset} (%)")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    return figure


@matplotlib.style.context(_STYLE)
def save(figure: Figure, stem: Path | str) -> None:
    """Write `stem`.png and `stem`.pdf, each atomically."""
    save_png(figure, f"{stem}.png")
    save_pdf(figure, f"{stem}.pdf")


def save_png(figure: Figure, path: Path | str) -> None:
    """Write an image (200 dpi), the same bytes for the same figure whenever it is drawn."""
    with files.atomic(path) as file:
        figure.savefig(file, format="png", dpi=200, metadata={"Software": None}, pil_kwargs={"optimize": True})


def save_pdf(figure: Figure, path: Path | str) -> None:
    """Write a page, the same bytes for the same figure whenever it is drawn."""
    with files.atomic(path) as file:
        nothing = {"Creator": None, "Producer": None, "CreationDate": None}
        figure.savefig(file, format="pdf", dpi=300, metadata=nothing)


def _maps(panels: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str) -> Figure:
    """Draw under each heading points (M, 2) in the colours of their groups (M,), which are alike in all panels."""
    names = np.unique(np.concatenate([groups for _, groups in panels.values()]))
    figure = Figure(figsize=(WIDTH, 3.2 if len(panels) == 1 else 2.0), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (heading, (coordinates, groups)) in zip(grid, panels.items(), strict=True):
        axes.set_title(heading)
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)
        _scatter(axes, coordinates, np.searchsorted(names, groups))
        size = 7 if len(names) <= 10 else 5.5
        halo = [withStroke(linewidth=1.5, foreground="white")]
        for name, place in _places(coordinates, groups).items():
            axes.text(*place, str(name), ha="center", va="center", fontsize=size, fontweight="bold", path_effects=halo)
    return figure


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


def _classes_of_clusters(y: np.ndarray, labels: np.ndarray) -> dict[int, tuple[int, int]]:
    """Return of each cluster the class of most of its members, and that it is matched to; the former again if none."""
    matched, classes = match(y, labels), np.unique(y)
    found: dict[int, tuple[int, int]] = {}
    for cluster in np.unique(labels):
        members = labels == cluster
        most, partner = int(np.bincount(y[members]).argmax()), int(matched[members][0])
        found[int(cluster)] = most, partner if partner in classes else most
    return found


def _lines(axes: Axes, rows: pd.DataFrame, name: str, scale: float, colour: str, width: float) -> None:
    for _, trace in rows.dropna(subset=[name]).groupby("seed"):
        marker = "." if len(trace) == 1 else ""
        axes.plot(trace["epoch"], scale * trace[name], color=colour, linewidth=width, marker=marker, alpha=0.7)


def _log_if_wide(axes: Axes, values: np.ndarray) -> None:
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > 50 * values.min():
        axes.set_yscale("log", nonpositive="mask")


def _by_seed(trace: pd.DataFrame) -> list[pd.DataFrame]:
    return [part for _, part in trace.groupby("seed")] if "seed" in trace else [trace]


def _styles(series: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return colour and dash of each line; beyond `SERIES` of them they repeat."""
    count = len(_COLOURS)
    return {
        name: {"color": _COLOURS[i % count], "linestyle": _DASHES[i // count % len(_DASHES)], "alpha": 0.8}
        for i, name in enumerate(series)
    }


def _columns(names: Iterable[str]) -> int:
    """Return how many names stand side by side below a figure: about 64 characters fit."""
    return max(1, min(4, 64 // (6 + max(map(len, names), default=0))))


def _figure_of_series(series: Mapping[str, Any], title: str, n_axes: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of axes one above the other, high enough for the names of all series below them."""
    height = 0.7 + 1.5 * n_axes**0.8 + 0.14 * math.ceil(len(series) / _columns(series))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    panels = list(figure.subplots(n_axes, 1, sharex=True, squeeze=False)[:, 0])
    panels[-1].xaxis.get_major_locator().set_params(integer=True, nbins=8)
    return figure, panels


def _plot_series(axes: Axes, traces: Mapping[str, pd.DataFrame], name: str, factor: float = 1) -> None:
    """Draw a column over the epochs, a line a seed."""
    for series, style in _styles(traces).items():
        for trace in _by_seed(traces[series].dropna(subset=[name])):
            axes.plot(trace["epoch"], factor * trace[name], marker="." if len(trace) == 1 else "", **style)


def _name_series(figure: Figure, series: Mapping[str, Any], marks: Mapping[str, str]) -> None:
    handles: list[Artist] = [Line2D([], [], label=name, **style) for name, style in _styles(series).items()]
    grey: dict[str, Any] = {"color": "#666666", "linestyle": "none", "markersize": 3}
    handles += [Line2D([], [], label=name, marker=marker, **grey) for name, marker in marks.items()]
    n_rows = math.ceil(len(handles) / _columns([*series, *marks]))
    columns = math.ceil(len(handles) / n_rows)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.2)


def _bins_by_class(y: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a bin for each sample, in the order of the classes, and how many there are."""
    n_bins = min(len(y), _BINS)
    bins = np.empty(len(y), dtype=np.int64)
    bins[np.argsort(y, kind="stable")] = np.arange(len(y)) * n_bins // len(y)
    return bins, n_bins


def _name_classes(axes: Axes, y: np.ndarray, n_bins: int) -> None:
    """Name both axes of a matrix of bins by at most ten of the classes."""
    classes, sizes = np.unique(y, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(sizes)]) * n_bins / len(y) - 0.5
    step = math.ceil(len(classes) / 10)
    axes.set_xticks(((ends[1:] + ends[:-1]) / 2)[::step], [str(k) for k in classes[::step]])
    axes.set_yticks(((ends[1:] + ends[:-1]) / 2)[::step], [str(k) for k in classes[::step]])
    axes.tick_params(length=0, labelsize=6)
    axes.set_xlabel("samples, by class")


def _unit(codes: np.ndarray) -> np.ndarray:
    """Return codes (M, P) scaled to length 1, those of length 0 as they are."""
    codes = np.asarray(codes, dtype=np.float64)
    lengths = np.linalg.norm(codes, axis=1, keepdims=True)
    return codes / np.where(lengths > 0, lengths, 1)


def _sums(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the sums of rows (M, P) by their group (M,), shape (groups, P)."""
    sums = np.zeros((groups.max() + 1, rows.shape[1]))
    np.add.at(sums, groups, rows)
    return sums


def _mean_cosines(unit: np.ndarray, y: np.ndarray) -> str:
    _, groups, sizes = np.unique(y, return_inverse=True, return_counts=True)
    sums = _sums(unit, groups)
    # sums over ordered pairs: of a sample with itself, of a class, of all
    itself, same, every = (np.square(part).sum() for part in (unit, sums, sums.sum(axis=0)))
    n_same = (sizes**2).sum()
    within = _mean(same - itself, n_same - len(y))
    return f"within classes {within}\nbetween classes {_mean(every - same, len(y) ** 2 - n_same)}"


def _mean(total: float, n: int) -> str:
    if n == 0:
        return "no pairs"
    return f"{round(total / n, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")  # + 0.0: without the sign of a zero


def _densities(weights: sp.csr_matrix, bins: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the (bins, bins) shares of the weight over the shares of the pairs; zeros for a matrix without weight."""
    places = weights.tocoo()
    flat = np.bincount(bins[places.row] * n_bins + bins[places.col], weights=places.data, minlength=n_bins**2)
    share = np.bincount(bins, minlength=n_bins) / len(bins)
    total = flat.sum()
    return flat.reshape(n_bins, n_bins) / (total if total > 0 else 1) / np.outer(share, share)


def _between_classes(weights: sp.csr_matrix, y: np.ndarray) -> str:
    places = weights.tocoo()
    total = places.data.sum()
    if total <= 0:
        return "no weight"
    return f"{100 * places.data[y[places.row] != y[places.col]].sum() / total:.2f} % between classes"


def _sweep_line(
    rows: pd.DataFrame, means: np.ndarray, texts: np.ndarray, values: Sequence[str], label: str, title: str
) -> Figure:
    figure = Figure(figsize=(WIDTH, 2.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(len(means)), means, color=_COLOURS[0], marker="o", markersize=2.5)
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


def _span(values: np.ndarray) -> tuple[float, float]:
    """Return the range of the finite values, at least 5 points wide, so that noise does not look like a trend."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 100.0
    middle, half = (finite.max() + finite.min()) / 2, max(5.0, float(np.ptp(finite))) / 2
    return middle - half, middle + half


def _sweep_maps(
    means: np.ndarray, texts: np.ndarray, values: Mapping[str, Sequence[str]], label: str, title: str
) -> Figure:
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
