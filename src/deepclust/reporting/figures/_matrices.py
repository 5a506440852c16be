"""Matrices of samples by samples, drawn in the order of their classes."""

import math

import numpy as np
from matplotlib.axes import Axes

_BINS = 200  # bins along a matrix's rows and columns: fewer than its pixels, so that no lone entry is lost


def bins_by_class(y: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a bin for each sample, in the order of the classes, and the number of bins."""
    n_bins = min(len(y), _BINS)
    bins = np.empty(len(y), dtype=np.int64)
    bins[np.argsort(y, kind="stable")] = np.arange(len(y)) * n_bins // len(y)
    return bins, n_bins


def name_classes(axes: Axes, y: np.ndarray, n_bins: int) -> None:
    """Name both axes of a matrix of bins by at most ten of the classes."""
    classes, sizes = np.unique(y, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(sizes)]) * n_bins / len(y) - 0.5
    step = math.ceil(len(classes) / 10)
    axes.set_xticks(((ends[1:] + ends[:-1]) / 2)[::step], [str(k) for k in classes[::step]])
    axes.set_yticks(((ends[1:] + ends[:-1]) / 2)[::step], [str(k) for k in classes[::step]])
    axes.tick_params(length=0, labelsize=6)
    axes.set_xlabel("samples, by class")
