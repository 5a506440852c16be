"""The partition of the graph stage's weights into K clusters that has the highest modularity."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.utils._param_validation import Integral, Interval

from deepclust.errors import UserError
from deepclust.graph.knn import knn_graph
from deepclust.graph.partition import partition
from deepclust.graph.weights import gaussian_weights
from deepclust.methods.base import Clusterer


class GraphModularity(Clusterer):
    """Modularity maximised over partitions into exactly K clusters, by many starts, node moves and split-merge.

    No network and no features: what a deep method that reads its labels off a graph has to beat. `extras_` holds the
    candidates it chose from, without labels: `candidates` (origin, modularity, normalised cut) and `candidate_labels`,
    a row each. `n_iter_` counts them. `n_neighbors` is for a graph made by `fit` itself (local scaling); a graph handed
    in has its own.
    """

    reads: ClassVar[tuple[str, ...]] = ("graph",)
    paper: ClassVar[str] = "Clauset, Newman and Moore 2004; Blondel et al. 2008"
    transductive: ClassVar[str] = "modularity is defined on the graph's own nodes"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Clusterer._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
    }
    not_in_params: ClassVar[tuple[str, ...]] = (*Clusterer.not_in_params, "n_neighbors")

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_neighbors: int = 10,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.n_neighbors = n_neighbors
        self.random_state = random_state
        self.device = device

    def _fit(self, X: np.ndarray, graph: sp.csr_matrix | None = None, **_: Any) -> None:
        if len(X) < 2:
            raise UserError("a graph needs at least 2 samples, got n_samples=1")
        if graph is None:
            graph = gaussian_weights(knn_graph(X, min(self.n_neighbors, len(X) - 1)), bandwidth="local")
        found = partition(graph, self.n_clusters, random_state=self._seed)
        self.labels_ = found.labels
        columns = ("origin", "modularity", "normalized_cut")
        self.extras_: dict[str, Any] = {
            "candidates": pd.DataFrame({name: [getattr(c, name) for c in found.candidates] for name in columns}),
            "candidate_labels": np.stack([c.labels for c in found.candidates]).astype(np.int32),
        }
        self.n_iter_ = len(found.candidates)
        self.converged_ = True
