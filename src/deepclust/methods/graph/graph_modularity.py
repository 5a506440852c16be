"""The partition of the graph stage's weights into K clusters that has the highest modularity."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from deepclust.graph.partition import partition
from deepclust.methods._graph_cuts import candidate_extras, neighbour_graph
from deepclust.methods.base import Clusterer
from deepclust.settings import Count, setting


class GraphModularity(Clusterer):
    """Modularity maximised over partitions into exactly K clusters, by many starts, node moves and split-merge.

    Starts are k-means on eigenvectors, small clusters joined to K, the graph's components, and Louvain's groups at
    three resolutions; the best partitions end with regrouping, in which parts of clusters move whole
    (`deepclust.graph.partition` has every step).

    The method uses no network and no features: a deep method that reads its labels off a graph has to beat it.
    `extras_` holds the candidates, found without labels: a row each in `candidates` (origin, modularity, normalised
    cut) and in `candidate_labels`. `n_iter_` is their number. `n_neighbors` is for a graph made by `fit` itself (local
    scaling); a graph handed in has its own.
    """

    reads_graph: ClassVar[bool] = True
    needs_samples: ClassVar[bool] = False
    sparse_samples: ClassVar[str] = "kept"
    paper: ClassVar[str] = "Clauset, Newman and Moore 2004; Blondel et al. 2008"
    why_no_predict: ClassVar[str] = "modularity is defined on the graph's own nodes"
    not_in_params: ClassVar[tuple[str, ...]] = (*Clusterer.not_in_params, "n_neighbors")

    n_neighbors: Count = setting("neighbours a sample in a graph that `fit` makes", default=10)

    def _fit(self, X: np.ndarray | sp.csr_matrix, graph: sp.csr_matrix | None = None, **_: Any) -> None:
        if graph is None:
            graph = neighbour_graph(X, self.n_neighbors)
        found = partition(graph, self.n_clusters, random_state=self._seed)
        self.labels_ = found.labels
        self.extras_ = candidate_extras(found)
        self.n_iter_ = len(found.candidates)
        self.converged_ = True
