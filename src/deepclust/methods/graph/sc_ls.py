"""Spectral clustering on the bipartite graph of samples and landmarks."""

import warnings
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from deepclust.mapped import chunks
from deepclust.methods._flat_clustering import k_means, nearest_center
from deepclust.methods.base import Clusterer
from deepclust.settings import Count, setting

_LLOYD = 5  # iterations of k-means for the landmarks, as in the authors' code
_ROWS = 1024  # samples whose distances to all landmarks are held at a time
_SMALLEST = 1e-12  # of a landmark's degree, and of an eigenvalue whose vector is not rounding


class SCLS(Clusterer):
    """k-means on singular vectors of the samples' affinities to landmarks: spectral clustering in O(N p) (SC-LS).

    A sample's affinities z to its r nearest landmarks sum to 1. With D the landmarks' sums of Z (N, p), the graph
    Z D^-1 Z' has degree 1 everywhere; the embedding holds its eigenvectors 2 to K + 1, rows scaled to norm 1. With
    fewer than K + 1 landmarks there are fewer columns.

    `distance: squared` is the paper's kernel exp(-d^2 / (2 sigma^2)), `released` the authors' code's,
    exp(-d / (2 sigma^2)), in which d is not squared, so that results depend on the scale of X. sigma is the mean
    distance of all samples to all landmarks.
    """

    paper: ClassVar[str] = "Chen and Cai 2011; Cai and Chen 2015"
    sparse_samples: ClassVar[str] = "made dense"

    n_landmarks: Count = setting("p, at most N", default=1000)
    n_nearest: Count = setting("r, the landmarks that a sample is tied to, at most p", default=5)
    landmarks: Literal["kmeans", "random"] = setting(
        "centres after five of Lloyd's iterations, or samples", default="kmeans"
    )
    distance: Literal["squared", "released"] = setting("in the kernel", default="squared")
    n_init: Count = setting("starts of k-means on the embedding", default=10)

    def _memory(self, n_samples: int, n_features: int) -> int:
        p = min(self.n_landmarks, n_samples)
        return 8 * (n_samples * n_features + 4 * p**2 + _ROWS * (2 * p + self.n_nearest * n_features))

    def _fit(self, X: np.ndarray, **_: Any) -> None:
        self.landmarks_ = self._chosen_landmarks(X)
        indices, distances, total = self._nearest_landmarks(X)
        self.sigma_ = total / (len(X) * len(self.landmarks_)) or 1.0
        Z = self._affinities(indices, distances)
        self.projection_ = _projection(Z, self.n_clusters)
        self.embedding_ = _unit_rows(Z @ self.projection_)
        model = k_means(self.embedding_, self.n_clusters, n_init=self.n_init, random_state=self._seed)
        self.cluster_centers_ = model.cluster_centers_
        self.labels_ = model.labels_
        self.n_iter_ = model.n_iter_
        self.converged_ = model.n_iter_ < model.max_iter

    def _predict(self, X: np.ndarray) -> np.ndarray:
        indices, distances, _ = self._nearest_landmarks(X)
        return nearest_center(
            _unit_rows(self._affinities(indices, distances) @ self.projection_), self.cluster_centers_
        )

    def _chosen_landmarks(self, X: np.ndarray) -> np.ndarray:
        """Return the landmarks (p, D); all samples if there are no more than p."""
        if len(X) <= self.n_landmarks:
            return np.array(X)
        chosen = np.random.default_rng(self._seed).choice(len(X), self.n_landmarks, replace=False)
        start = np.array(X[np.sort(chosen)])
        if self.landmarks == "random":
            return start
        model = KMeans(len(start), init=start, n_init=1, max_iter=_LLOYD, tol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of duplicates, which are landmarks like others
            centers: np.ndarray = model.fit(X).cluster_centers_
        return centers

    def _nearest_landmarks(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the r nearest landmarks (N, r) of each sample, their distances, and the sum of distances to all p."""
        r = min(self.n_nearest, len(self.landmarks_))
        landmarks = self.landmarks_.astype(np.float64)
        middle = landmarks.mean(axis=0)
        placed = landmarks - middle
        norms = np.einsum("pd,pd->p", placed, placed)
        indices, distances, total, start = np.empty((len(X), r), dtype=np.int64), np.empty((len(X), r)), 0.0, 0
        for rows in chunks(X, _ROWS):
            some = slice(start, start + len(rows))
            here = rows - middle
            squared = here @ (-2 * placed.T) + norms + np.einsum("nd,nd->n", here, here)[:, None]
            indices[some] = np.argpartition(squared, r - 1, axis=1)[:, :r]
            distances[some] = np.linalg.norm(here[:, None] - placed[indices[some]], axis=2)
            total += float(np.sqrt(np.maximum(squared, 0)).sum())
            start += len(rows)
        return indices, distances, total

    def _affinities(self, indices: np.ndarray, distances: np.ndarray) -> sp.csr_matrix:
        """Return Z (N, p), r entries a row, whose sum is 1."""
        if self.distance == "squared":
            exponents = np.square(distances / self.sigma_) / 2
        else:
            exponents = distances / (2 * self.sigma_**2)
        z = np.exp(exponents.min(axis=1, keepdims=True) - exponents)  # a common factor, that not all underflow
        z /= z.sum(axis=1, keepdims=True)
        N, r = indices.shape
        return sp.csr_matrix((z.ravel(), indices.ravel(), np.arange(0, N * r + 1, r)), shape=(N, len(self.landmarks_)))


def _projection(Z: sp.csr_matrix, n_clusters: int) -> np.ndarray:
    """Return M (p, k), k = min(K, p - 1) or 1: Z M holds the left singular vectors of Z D^-1/2 from the second.

    The first, constant, has singular value 1, as has one for every further component: it is deflated, not counted off.
    Directions without variance become columns of zeros.
    """
    roots = np.sqrt(np.maximum(np.asarray(Z.sum(axis=0)).ravel(), _SMALLEST))
    first = roots / np.linalg.norm(roots)
    gram = (Z.T @ Z).toarray() / np.outer(roots, roots) - 2 * np.outer(first, first)
    p = len(roots)
    count = min(n_clusters, max(p - 1, 1))
    values, vectors = (found[..., ::-1] for found in scipy.linalg.eigh(gram, subset_by_index=(p - count, p - 1)))
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(count)]
    scales = np.divide(np.sign(peaks), np.sqrt(np.abs(values)), out=np.zeros(count), where=values > _SMALLEST)
    return np.asarray(vectors * scales / roots[:, None])


def _unit_rows(U: np.ndarray) -> np.ndarray:
    """Return rows divided by their Euclidean norms; rows of zeros stay."""
    norms = np.linalg.norm(U, axis=1, keepdims=True)
    return np.asarray(np.divide(U, norms, out=np.zeros_like(U), where=norms > 0))
