"""Spectral clustering by normalised cuts on the graph stage's weights."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.utils._param_validation import Integral, Interval

from deepclust.errors import UserError
from deepclust.graph.knn import knn_graph
from deepclust.graph.spectral import smallest_eigenvectors
from deepclust.graph.weights import gaussian_weights
from deepclust.methods.base import Clusterer


class SCNcut(Clusterer):
    """k-means on the K smallest generalised eigenvectors, L v = lambda D v, of the graph (Shi and Malik).

    The relaxed normalised cut over K groups. `n_neighbors` is for a graph made by `fit` itself (local scaling); a
    graph handed in has its own. Components of the graph beyond K make the smallest eigenvectors ambiguous.
    """

    reads: ClassVar[tuple[str, ...]] = ("graph",)
    paper: ClassVar[str] = "Shi and Malik 2000"
    transductive: ClassVar[str] = "the eigenvectors are defined on the graph's own nodes"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Clusterer._parameter_constraints,
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
    }
    not_in_params: ClassVar[tuple[str, ...]] = (*Clusterer.not_in_params, "n_neighbors")

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_init: int = 20,
        n_neighbors: int = 10,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.n_neighbors = n_neighbors
        self.random_state = random_state
        self.device = device

    def _fit(self, X: np.ndarray, graph: sp.csr_matrix | None = None, **_: Any) -> None:
        if len(X) < 2:
            raise UserError("a graph needs at least 2 samples, got n_samples=1")
        if graph is None:
            graph = gaussian_weights(knn_graph(X, min(self.n_neighbors, len(X) - 1)), bandwidth="local")
        vectors = smallest_eigenvectors(graph, self.n_clusters, random_state=self._seed).vectors
        degree = np.asarray(graph.sum(axis=1)).ravel()
        # D^-1/2 u turns eigenvectors of the normalised Laplacian into the generalised ones; isolated nodes stay at 0
        scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
        self.embedding_ = vectors * scale[:, None]
        model = KMeans(self.n_clusters, n_init=self.n_init, random_state=self._seed).fit(self.embedding_)
        self.labels_ = model.labels_.astype(np.int64)
        self.n_iter_ = model.n_iter_
        self.converged_ = model.n_iter_ < model.max_iter
