"""Spectral clustering by normalised cuts on the graph stage's weights."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from deepclust.methods._flat_clustering import k_means
from deepclust.methods._graph_cuts import ncut_vectors, neighbour_graph
from deepclust.methods.base import Clusterer
from deepclust.settings import Count, setting


class SCNcut(Clusterer):
    """k-means on the K smallest generalised eigenvectors, L v = lambda D v, of the graph (Shi and Malik).

    The method is the relaxed normalised cut over K groups. `n_neighbors` is for a graph made by `fit` itself (local
    scaling); a graph handed in has its own. Components of the graph beyond K make the smallest eigenvectors ambiguous.
    """

    reads_graph: ClassVar[bool] = True
    needs_samples: ClassVar[bool] = False
    sparse_samples: ClassVar[str] = "kept"
    paper: ClassVar[str] = "Shi and Malik 2000"
    why_no_predict: ClassVar[str] = "the eigenvectors are defined on the graph's own nodes"
    not_in_params: ClassVar[tuple[str, ...]] = (*Clusterer.not_in_params, "n_neighbors")

    n_init: Count = setting("starts of k-means on the eigenvectors", default=20)
    n_neighbors: Count = setting("neighbours a sample in a graph that `fit` makes", default=10)

    def _memory(self, n_samples: int, n_features: int) -> int:
        return 8 * n_samples * (2 * self.n_clusters + 1)  # ARPACK's basis

    def _fit(self, X: np.ndarray | sp.csr_matrix, graph: sp.csr_matrix | None = None, **_: Any) -> None:
        if graph is None:
            graph = neighbour_graph(X, self.n_neighbors)
        self.embedding_ = ncut_vectors(graph, self.n_clusters, random_state=self._seed)
        model = k_means(self.embedding_, self.n_clusters, n_init=self.n_init, random_state=self._seed)
        self.labels_ = model.labels_
        self.n_iter_ = model.n_iter_
        self.converged_ = model.n_iter_ < model.max_iter
