"""Gaussian mixture on the input features."""

from typing import Any, ClassVar

import numpy as np

from deepclust.methods._flat_clustering import GMMReadout
from deepclust.methods.base import Clusterer


class GMM(GMMReadout, Clusterer):
    """Gaussian mixture on the input features by EM, full covariances unless told otherwise."""

    paper: ClassVar[str] = "Dempster, Laird and Rubin 1977"

    def _memory(self, n_samples: int, n_features: int) -> int:
        """Count float64 copies of X, the responsibilities and their logarithms, means' and covariances' and factors."""
        covariances = self.n_clusters * n_features ** (2 if self.covariance == "full" else 1)
        return 8 * (2 * n_samples * n_features + 2 * n_samples * self.n_clusters + 3 * covariances)

    def _fit(self, X: np.ndarray, **_: Any) -> None:
        self._cluster(X)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return self._assign(X)

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self._responsibilities(X)
