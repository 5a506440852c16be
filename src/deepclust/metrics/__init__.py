"""Scores of a clustering, against known classes or by its shape, computed by the evaluation alone."""

from collections.abc import Callable

from numpy.typing import ArrayLike

from deepclust.metrics.external import accuracy, ari, match, nmi, purity
from deepclust.metrics.internal import internal, stability

__all__ = [
    "EXTERNAL",
    "INTERNAL",
    "accuracy",
    "ari",
    "external",
    "internal",
    "match",
    "nmi",
    "purity",
    "stability",
]

_EXTERNAL: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "acc": accuracy,
    "nmi": nmi,
    "nmi_max": lambda y, labels: nmi(y, labels, normalizer="max"),
    "ari": ari,
    "purity": purity,
}
EXTERNAL = tuple(_EXTERNAL)
INTERNAL = ("silhouette", "davies_bouldin", "modularity", "stability")  # need no labels


def external(y: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Return every external metric by its name, as fractions: acc, nmi (arithmetic), nmi_max, ari and purity."""
    return {name: metric(y, labels) for name, metric in _EXTERNAL.items()}
