"""One labeling of several runs, and how far they agree on each sample: no classes are needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deepclust.errors import UserError
from deepclust.metrics import match, stability
from deepclust.metrics.external import integers, several


@dataclass(frozen=True)
class Consensus:
    """Several labelings of the same samples as one.

    Attributes
    ----------
    labels : array of shape (N,), int64
        The cluster that most labelings give a sample, by the names of the nearest labeling.
    agreement : array of shape (N,)
        The share of labelings that give a sample this cluster, in (0, 1].
    nearest : int
        The position of the labeling with the highest mean adjusted Rand index with the others, the first of equals.
    """

    labels: np.ndarray
    agreement: np.ndarray
    nearest: int


def consensus(labelings: Sequence[ArrayLike]) -> Consensus:
    """Return the plurality vote of labelings whose clusters are matched to those of the nearest one.

    Each labeling's clusters are renamed one-to-one to those of the nearest labeling, so that as many samples as
    possible agree with it (Hungarian algorithm). Each sample then takes its most frequent name: of equally frequent
    ones that of the nearest labeling if it is among them, else the smallest. A cluster that is left over, where a
    labeling has more than the nearest one, has no vote.

    Parameters
    ----------
    labelings : sequence of arrays (N,), integers
        Names mean nothing across labelings. One labeling is its own consensus. A data frame, of which it is not clear
        whether rows or columns are labelings, is refused.

    Raises
    ------
    UserError
        For no labeling, or labelings that are not an integer for each of the same samples.

    Notes
    -----
    Dudoit and Fridlyand, "Bagging to improve the accuracy of a clustering procedure", Bioinformatics 2003, vote after
    such a matching, with the clusters of all samples as the reference; here the runs differ by their seed alone, and
    the one nearest to the others takes its place.
    """
    labelings = several(labelings)
    if not labelings:
        raise UserError("labelings must be at least one, got none")
    arrays = [integers("labelings", labels) for labels in labelings]
    if sizes := {len(labels) for labels in arrays} - {len(arrays[0])}:
        raise UserError(f"labelings must be of the same samples, got {len(arrays[0])} and {sizes.pop()}")
    if any(labels.dtype.kind == "u" and labels.max(initial=0) > np.iinfo(np.int64).max for labels in arrays):
        raise UserError("labelings must have names in int64, got larger ones; number the clusters from 0")
    nearest = int(np.argmax(np.round(stability(arrays), 12))) if len(arrays) > 1 else 0
    names, reference = np.unique(arrays[nearest], return_inverse=True)
    votes = np.zeros((len(reference), len(names)), dtype=np.int64)
    rows = np.arange(len(reference))
    for labels in arrays:
        voted = match(reference, labels)
        told = voted < len(names)
        votes[rows[told], voted[told]] += 1
    votes *= 2
    votes[rows, reference] += 1  # decides between equals alone
    chosen = votes.argmax(axis=1)
    agreement = (votes[rows, chosen] // 2) / len(arrays)
    return Consensus(names[chosen].astype(np.int64), agreement, nearest)
