"""The cosines between samples before and after clustering."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from deepclust.reporting.figures._matrices import bins_by_class, name_classes
from deepclust.reporting.figures._style import WIDTH
from deepclust.reporting.finished import Cell, Needs
from deepclust.seeding import derive_seed

NEEDS = Needs(classes=True, files=("embedding.npy", "embedding_before.npy"))
SAMPLE_OF_CLASS = 100


def draw(run: Cell) -> Figure | None:
    y, before, after = run.classes, run.array("embedding_before.npy"), run.array("embedding.npy")
    if len(after) < 4:
        return None
    rows = sample_of_classes(y, derive_seed(0, run.title_of_seed))
    return plot(before[rows], after[rows], y[rows], run.title_of_seed)


def sample_of_classes(y: np.ndarray, random_state: int) -> np.ndarray:
    """Return the numbers (M,) of the samples that `plot` compares, class by class: all, or 100 without replacement."""
    rng = np.random.default_rng(random_state)
    members = [np.flatnonzero(y == k) for k in np.unique(y)]
    return np.concatenate([np.sort(rng.permutation(found)[:SAMPLE_OF_CLASS]) for found in members])


def plot(before: np.ndarray, after: np.ndarray, y: np.ndarray, title: str = "") -> Figure:
    """Return the cosines between samples before and after clustering side by side, in the order of their classes.

    Up to 200 samples, a pixel is a pair of samples; beyond 200, the mean over a block of pairs. A code of zero has the
    cosine 0 with all others. The titles give the mean over pairs of different samples. Lines part up to 20 classes.

    Parameters
    ----------
    before, after
        Codes (M, P) of the same M samples; the two sizes P may differ.
    y
        Their classes, shape (M,).
    """
    bins, n_bins = bins_by_class(y)
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
        name_classes(axes, y, n_bins)
        if len(sizes) <= 20:
            for end in np.cumsum(sizes)[:-1] * n_bins / len(y) - 0.5:
                axes.axhline(end, color="#666666", linewidth=0.3)
                axes.axvline(end, color="#666666", linewidth=0.3)
    figure.colorbar(image, ax=panels, label="cosine similarity", shrink=0.8, ticks=[-1, -0.5, 0, 0.5, 1])
    return figure


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
    # sums over ordered pairs: a sample with itself, samples of a class, all samples
    itself, same, every = (np.square(part).sum() for part in (unit, sums, sums.sum(axis=0)))
    n_same = (sizes**2).sum()
    within = _mean(same - itself, n_same - len(y))
    return f"within classes {within}\nbetween classes {_mean(every - same, len(y) ** 2 - n_same)}"


def _mean(total: float, n: int) -> str:
    if n == 0:
        return "no pairs"
    return f"{round(total / n, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")  # + 0.0 turns -0 into 0
