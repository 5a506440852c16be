"""Gaussian mixture on the code of a pretrained autoencoder."""

from typing import ClassVar

import numpy as np

from deepclust.methods._deep import CodeReader
from deepclust.methods._flat_clustering import GMMReadout
from deepclust.settings import Count, Weight, setting


class AEGMM(GMMReadout, CodeReader):
    """Gaussian mixture on a pretrained autoencoder's code; the network is left as it is."""

    paper: ClassVar[str] = "baseline of DC-GMM (deepcluster_admm, Table 2)"

    regularization: Weight = setting("added to the diagonals of the covariances", default=1e-6)
    n_init: Count = setting("starts of EM; the best by likelihood is kept", default=5)

    def _memory(self, n_samples: int, n_features: int) -> int:
        return 24 * n_samples * self.n_clusters  # responsibilities in float64, their logarithms, and a copy

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self._responsibilities(self._exact_codes(X))
