"""k-means and Gaussian mixtures, shared by methods that differ in their features alone."""

import warnings
from typing import Literal

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.mixture import GaussianMixture

from deepclust.errors import SeedFailed, UserError
from deepclust.methods.base import Clusterer
from deepclust.settings import Count, Weight, setting

_LLOYD = 200_000  # largest number of samples
_DISTANCES = 20_000_000  # largest number of distances from samples to centres
_BATCH = 8192
_ENTRIES = 2**22  # of float64 rows, or of their distances to centres, at a time
_SIZES = (1e-140, 1e140)  # of the largest value: sums of its squares fit float64
_SIZES_IN_FLOAT32 = (1e-15, 1e15)  # and float32
_REGULARIZED = 0.25  # share of the features' mean variance above which a covariance's regularization is remarked upon
_EXCESS = 1e-3  # by this share of it a label's squared distance may exceed the least one, as rounding has it
_TOO_WIDE = (
    "some samples are so far from the others that float64 has no digits left to tell these apart; drop those, or "
    "rescale the features"
)


def k_means(
    features: np.ndarray | sp.csr_matrix, n_clusters: int, *, n_init: int, random_state: int
) -> KMeans | MiniBatchKMeans:
    """Return scikit-learn's k-means fitted to features (N, P): k-means++ starts, Lloyd's, the best of `n_init`.

    Beyond 200,000 samples, or N K = 20 million distances, k-means runs by mini-batches (Sculley 2010), and the starts
    see three of these. Each of Lloyd's up to 300 iterations and 20 starts would be a pass over all distances: an hour
    at a million samples and K = 1,000.

    scikit-learn's float32 distances lose their digits if some values are far larger than the differences between
    samples. k-means is then repeated in float64: that is, if a label is not the nearest centre's, or clusters are
    missing. `cluster_centers_` have the features' precision; `labels_` (int64) are those of `nearest_center`.

    Raises SeedFailed if float64 has too few digits as well.
    """
    largest = max(float(features.max()), -float(features.min()))
    if largest and not _SIZES[0] < largest < _SIZES[1]:
        raise SeedFailed(f"k-means squares the features, the largest of which is {largest:g}; rescale them to about 1")
    n_samples = features.shape[0]
    if n_samples <= _LLOYD and n_samples * n_clusters <= _DISTANCES:
        model = KMeans(n_clusters, n_init=n_init, random_state=random_state)
    else:
        batch_size = max(_BATCH, 3 * n_clusters)
        model = MiniBatchKMeans(n_clusters, n_init=n_init, batch_size=batch_size, random_state=random_state)
    in_float32 = features.dtype == np.float32
    fits_float32 = in_float32 and (not largest or _SIZES_IN_FLOAT32[0] < largest < _SIZES_IN_FLOAT32[1])
    for precision in (np.float32, np.float64) if fits_float32 else (np.float64,):
        with warnings.catch_warnings(record=True) as said:  # of duplicates: what float32 takes for some is not told
            warnings.simplefilter("always")
            model.fit(features.astype(precision, copy=False) if in_float32 else features)
        if in_float32:
            model.cluster_centers_ = model.cluster_centers_.astype(np.float32, copy=False)
        labels = nearest_center(features, model.cluster_centers_)
        missing = len(np.unique(labels)) < n_clusters and _too_wide(features, precision)
        if not missing and not _mislabelled(features, model.cluster_centers_, model.labels_, labels):
            for warning in said:
                warnings.warn(warning.message, stacklevel=2)
            model.labels_ = labels
            return model
    raise SeedFailed(_TOO_WIDE)


def _mislabelled(
    features: np.ndarray | sp.csr_matrix, centers: np.ndarray, labels: np.ndarray, nearest: np.ndarray
) -> bool:
    """Return whether a label is not the nearest centre's, by more than the last digits of the features."""
    rows = np.flatnonzero(labels != nearest)
    some = _dense(features[rows])
    own, least = (np.square(some - centers[names[rows]].astype(np.float64)).sum(axis=1) for names in (labels, nearest))
    digits = np.square(8 * np.finfo(features.dtype).eps * some).sum(axis=1)
    return bool((own > (1 + _EXCESS) * least + digits).any())


def _too_wide(features: np.ndarray | sp.csr_matrix, precision: type) -> bool:
    """Return whether a squared distance, that of the farthest sample, leaves no digits to those of most others."""
    n_samples, n_features = features.shape
    size = max(1, _ENTRIES // n_features)
    middle = np.median(_dense(features[:: -(-n_samples // size)]), axis=0)
    parts = (_dense(features[start : start + size]) - middle for start in range(0, n_samples, size))
    squared = np.concatenate([np.square(part).sum(axis=1) for part in parts])
    apart = squared[squared > np.square(8 * np.finfo(features.dtype).eps * middle).sum()]
    return len(apart) > 0 and bool(np.finfo(precision).eps * squared.max() > np.median(apart))


def nearest_center(features: np.ndarray | sp.csr_matrix, centers: np.ndarray) -> np.ndarray:
    """Return the label (N,), int64, of the nearest of the centres (K, P) to each row; of equal ones the first.

    Squared distances of products of float64, about the centres' mean; those of differences where the two least ones are
    closer than rounding: labels depend neither on the rows beside one nor on how large all values are.
    """
    centers = centers.astype(np.float64)
    n_clusters, n_features = centers.shape
    middle = centers.mean(axis=0)
    placed = centers - middle
    norms = np.einsum("kp,kp->k", placed, placed)
    labels = np.zeros(features.shape[0], dtype=np.int64)
    size = max(1, _ENTRIES // max(n_clusters, n_features)) if n_clusters > 1 else len(labels)
    for start in range(0, len(labels) if n_clusters > 1 else 0, size):
        rows = _dense(features[start : start + size])
        Z = rows - middle
        squared = Z @ (-2 * placed.T)
        squared += norms
        every, found = np.arange(len(rows)), squared.argmin(axis=1)
        least = squared[every, found]
        squared[every, found] = np.inf
        # rounding of a sum of P products: Higham, "Accuracy and stability of numerical algorithms", section 3.1
        rounding = 4 * (n_features + 20) * np.finfo(np.float64).eps * (np.einsum("np,np->n", Z, Z) + norms.max())
        close = ~(squared.min(axis=1) - least > rounding)
        found[close] = cdist(rows[close], centers, "sqeuclidean").argmin(axis=1)
        labels[start : start + size] = found
    return labels


def _dense(rows: np.ndarray | sp.csr_matrix) -> np.ndarray:
    dense: np.ndarray = (rows.toarray() if sp.issparse(rows) else rows).astype(np.float64)
    return dense


class KMeansReadout(Clusterer):
    """k-means on the features, by `k_means`."""

    n_init: Count = setting("starts of k-means; the best by inertia is kept", default=20)

    def _cluster(self, features: np.ndarray) -> None:
        model = k_means(features, self.n_clusters, n_init=self.n_init, random_state=self._seed)
        self.labels_ = model.labels_
        self.cluster_centers_ = model.cluster_centers_
        self.n_iter_ = int(model.n_iter_)
        self.converged_ = self.n_iter_ < model.max_iter

    def _assign(self, features: np.ndarray) -> np.ndarray:
        return nearest_center(features, self.cluster_centers_)


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
        if len(features) < 2:
            raise UserError("a mixture's covariances need at least 2 samples, got 1 sample; give more")
        if _too_wide(features, np.float64):  # for k-means, from which EM starts
            raise SeedFailed(_TOO_WIDE)
        variance = float(features.var(axis=0, dtype=np.float64).mean())
        if variance and self.regularization > _REGULARIZED * variance:
            warnings.warn(
                f"regularization={self.regularization:g} is not small beside the features' mean variance, "
                f"{variance:.1g}, and may blur clusters into one; scale X to [0, 1], or lower it",
                stacklevel=2,
            )
        self._form = self.covariance
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
        form = getattr(self, "_form", self.covariance)  # that of the fit, whatever `set_params` has said since
        model = GaussianMixture(len(self.weights_), covariance_type=form)
        model.means_, model.weights_ = self.cluster_centers_, self.weights_
        model.precisions_cholesky_ = self.precisions_cholesky_
        return model

    def _responsibilities(self, features: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._mixture().predict_proba(features.astype(np.float64))
        return found

    def _assign(self, features: np.ndarray) -> np.ndarray:
        labels: np.ndarray = self._mixture().predict(features.astype(np.float64)).astype(np.int64)
        return labels
