"""k-means and Gaussian mixtures, shared by methods that differ in their features alone."""

from typing import Literal

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.mixture import GaussianMixture

from deepclust.errors import SeedFailed
from deepclust.methods.base import Clusterer
from deepclust.settings import Count, Weight, setting

_LLOYD = 200_000  # largest number of samples
_DISTANCES = 20_000_000  # largest number of distances from samples to centres
_BATCH = 8192


def k_means(n_samples: int, n_clusters: int, *, n_init: int, random_state: int) -> KMeans | MiniBatchKMeans:
    """Return scikit-learn's k-means: k-means++ starts, Lloyd's algorithm, the best of `n_init` starts by inertia.

    Beyond 200,000 samples, or N K = 20 million distances, k-means runs by mini-batches (Sculley 2010), and the starts
    see three of these. Each of Lloyd's up to 300 iterations and 20 starts would be a pass over all distances: an hour
    at a million samples and K = 1,000.
    """
    if n_samples <= _LLOYD and n_samples * n_clusters <= _DISTANCES:
        return KMeans(n_clusters, n_init=n_init, random_state=random_state)
    batch_size = max(_BATCH, 3 * n_clusters)
    return MiniBatchKMeans(n_clusters, n_init=n_init, batch_size=batch_size, random_state=random_state)


class KMeansReadout(Clusterer):
    """k-means on the features, by `k_means`."""

    n_init: Count = setting("starts of k-means; the best by inertia is kept", default=20)

    def _cluster(self, features: np.ndarray) -> None:
        model = k_means(len(features), self.n_clusters, n_init=self.n_init, random_state=self._seed).fit(features)
        self.labels_ = model.labels_.astype(np.int64)
        self.cluster_centers_ = model.cluster_centers_
        self.n_iter_ = int(model.n_iter_)
        self.converged_ = self.n_iter_ < model.max_iter

    def _assign(self, features: np.ndarray) -> np.ndarray:
        labels: np.ndarray = pairwise_distances_argmin(features, self.cluster_centers_)
        return labels


class GMMReadout(Clusterer):
    """Mixture of Gaussians by EM from k-means starts, the best of `n_init` by likelihood (scikit-learn), in float64.

    `regularization` is added to the covariances' diagonals: features that never vary within a cluster, such as an
    image's border or a dead unit of the code, would otherwise make them singular. `covariances_`, `weights_` and
    `precisions_cholesky_` are scikit-learn's, `cluster_centers_` the means.
    """

    covariance: Literal["full", "tied", "diag", "spherical"] = setting("form of the covariances", default="full")
    regularization: Weight = setting("added to the diagonals of the covariances", default=1e-3)
    n_init: Count = setting("starts of EM; the best by likelihood is kept", default=1)

    def _cluster(self, features: np.ndarray) -> None:
        model = GaussianMixture(
            self.n_clusters,
            covariance_type=self.covariance,
            reg_covar=self.regularization,
            n_init=self.n_init,
            random_state=self._seed,
        )
        try:
            self.labels_ = model.fit_predict(features.astype(np.float64)).astype(np.int64)
        except ValueError as error:
            if "ill-defined empirical covariance" not in str(error):
                raise
            raise SeedFailed(f"a covariance became singular; raise regularization={self.regularization}") from error
        self.cluster_centers_, self.covariances_, self.weights_ = model.means_, model.covariances_, model.weights_
        self.precisions_cholesky_ = model.precisions_cholesky_
        self.n_iter_ = int(model.n_iter_)
        self.converged_ = bool(model.converged_)

    def _mixture(self) -> GaussianMixture:
        model = GaussianMixture(self.n_clusters, covariance_type=self.covariance)
        model.means_, model.weights_ = self.cluster_centers_, self.weights_
        model.precisions_cholesky_ = self.precisions_cholesky_
        return model

    def _assign(self, features: np.ndarray) -> np.ndarray:
        labels: np.ndarray = self._mixture().predict(features.astype(np.float64)).astype(np.int64)
        return labels
