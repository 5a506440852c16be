"""The weights between samples before and after self-expression."""

import numpy as np
import scipy.sparse as sp
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from deepclust.reporting.figures._matrices import bins_by_class, name_classes
from deepclust.reporting.figures._style import WIDTH
from deepclust.reporting.finished import Cell, Needs

NEEDS = Needs(classes=True, files=("affinity.npz", "candidate_weights.npz"))


def draw(run: Cell) -> Figure:
    Z = abs(run.sparse("affinity.npz"))
    return plot(run.sparse("candidate_weights.npz"), Z + Z.T, run.classes, run.title_of_seed)


def plot(before: sp.csr_matrix, after: sp.csr_matrix, y: np.ndarray, title: str = "") -> Figure:
    """Return two weight matrices (N, N) side by side, samples in the order of their classes, on one colour scale.

    A colour is a density: a bin's share of the weight over its share of the pairs of samples; 1 is an even spread. Bins
    without weight are black. The titles give the share of the weight between samples of different classes.
    """
    bins, n_bins = bins_by_class(y)
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
        name_classes(axes, y, n_bins)
    figure.colorbar(image, ax=panels, label="weight, 1 = even spread", shrink=0.8)
    return figure


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
