"""External metrics: how well cluster labels agree with known classes.

Every function takes two integer vectors of shape (N,), the classes first, whose values are names and nothing more: they
need not start at 0, and the number of classes and of clusters may differ.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from deepclust.errors import UserError, refuse_masked


def accuracy(y: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of samples whose cluster is matched to their class, in [0, 1].

    The matching is one-to-one between clusters and classes and maximises this share (Hungarian algorithm). With more
    clusters than classes, the samples of the clusters left over count as wrong.
    """
    _, _, counts = contingency(y, labels)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def nmi(y: ArrayLike, labels: ArrayLike, normalizer: Literal["arithmetic", "max"] = "arithmetic") -> float:
    """Return the mutual information divided by the mean or the larger of the two entropies, in [0, 1].

    The value is 1.0 if both labelings are constant, 0.0 if only one is. Papers differ in the normaliser; the value by
    `max` is never larger.
    """
    from sklearn.metrics import normalized_mutual_info_score  # half a second, not for readers of results

    if normalizer not in ("arithmetic", "max"):
        raise UserError(f"normalizer must be 'arithmetic' or 'max', got {normalizer!r}")
    return float(np.clip(normalized_mutual_info_score(*_pair(y, labels), average_method=normalizer), 0, 1))


def ari(y: ArrayLike, labels: ArrayLike) -> float:
    """Return the adjusted Rand index, in [-0.5, 1]: 1 for equal partitions, 0 on average for independent ones."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(*_pair(y, labels)))


def purity(y: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of samples that belong to the largest class of their cluster, in (0, 1].

    Purity never falls when clusters are split: compare it at equal numbers of clusters only.
    """
    _, _, counts = contingency(y, labels)
    return float(counts.max(axis=0).sum() / counts.sum())


def match(y: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Return `labels` with each cluster renamed to the class that `accuracy` matches it to, shape (N,), int64.

    Clusters left over take the names following the largest class, so that none is mistaken for a class. Raises
    UserError where these names exceed int64.
    """
    classes, clusters, counts = contingency(y, labels)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    surplus = np.setdiff1d(np.arange(len(clusters)), columns)
    last = int(classes[-1])  # of int8, 127 + 1 would be -128
    if last + len(surplus) > np.iinfo(np.int64).max:
        raise UserError(f"y must have names that leave room for others in int64, got {last}; number the classes from 0")
    names = np.empty(len(clusters), dtype=np.int64)
    names[columns] = classes[rows]
    names[surplus] = last + 1 + np.arange(len(surplus))
    return names[np.searchsorted(clusters, np.asarray(labels))]


def contingency(y: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sorted class names, the sorted cluster names and the counts of samples, (classes, clusters)."""
    y, labels = _pair(y, labels)
    classes, rows = np.unique(y, return_inverse=True)
    clusters, columns = np.unique(labels, return_inverse=True)
    shape = len(classes), len(clusters)
    return classes, clusters, np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def integers(name: str, values: ArrayLike) -> np.ndarray:
    """Return a vector (N,), or raise UserError where it is empty or not of integers."""
    refuse_masked(name, values)
    vector = np.asarray(values)
    if vector.ndim != 1 or vector.size == 0 or vector.dtype.kind not in "iu":
        raise UserError(
            f"{name} must be a non-empty vector of integers, got shape {vector.shape} and dtype {vector.dtype}"
        )
    return vector


def several(labelings: Sequence[ArrayLike]) -> list[ArrayLike]:
    """Return labelings as a list; raise UserError for a data frame, whose rows or columns might be meant."""
    if hasattr(labelings, "columns"):
        raise UserError(
            "labelings must be a sequence of arrays, got a data frame; [*table.to_numpy().T] are its columns"
        )
    return list(labelings)


def _pair(y: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    y, labels = integers("y", y), integers("labels", labels)
    if len(y) != len(labels):
        raise UserError(f"y and labels must have equal lengths, got {len(y)} and {len(labels)}")
    return y, labels
