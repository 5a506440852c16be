"""k-means on the input features: the baseline of every table."""

from typing import Any, ClassVar

import numpy as np

from deepclust.methods._flat_clustering import KMeansReadout
from deepclust.methods.base import Clusterer


class KMeans(KMeansReadout, Clusterer):
    """k-means on the input features, the best of `n_init` starts by inertia."""

    paper: ClassVar[str] = "Lloyd 1982; Arthur and Vassilvitskii 2007"
    sparse_samples: ClassVar[str] = "kept"

    def _memory(self, n_samples: int, n_features: int) -> int:
        return 8 * n_samples * n_features  # scikit-learn's centred copy, of float16 in float64

    def _fit(self, X: np.ndarray, **_: Any) -> None:
        self._cluster(X)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return self._assign(X)
