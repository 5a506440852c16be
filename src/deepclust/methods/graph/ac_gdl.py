"""Agglomerative clustering by graph degree linkage, or by path integrals, on a directed nearest-neighbour graph."""

from typing import Any, ClassVar, Literal

import numpy as np

from deepclust.errors import UserError
from deepclust.graph.agglomerate import BYTES_AN_EDGE, agglomerate_neighbors
from deepclust.graph.knn import knn_graph
from deepclust.mapped import chunks
from deepclust.methods.base import Clusterer
from deepclust.settings import Count, setting


class ACGDL(Clusterer):
    """Merge the two clusters with the strongest links in both directions until K are left (AC-GDL, AC-PIC).

    Merging starts from the components of the 1-nearest-neighbour graph; affinities are those of `graph.agglomerate`.
    Nothing is random. `affinity: path_integral` is AC-PIC. `weights: global` are those of the papers and of the
    authors' toolbox, `local` those of their later code. `normalize` applies one rule to all data; the published numbers
    mix raw and normalised data. `n_iter_` is the number of merges.
    """

    paper: ClassVar[str] = "Zhang, Wang, Zhao and Tang 2012; Zhang, Zhao and Wang 2013"
    why_no_predict: ClassVar[str] = "a merge tree has no rule for them"
    sparse_samples: ClassVar[str] = "made dense"

    n_neighbors: Count = setting("neighbours a sample, at most N - 1", default=20)
    normalize: bool = setting("centre features and scale samples to norm 1 first; false: as they are", default=True)
    weights: Literal["global", "local"] = setting("of edges: one scale for all, or one a sample", default="global")
    affinity: Literal["degree_linkage", "path_integral"] = setting("of two clusters", default="degree_linkage")

    def _memory(self, n_samples: int, n_features: int) -> int:
        n_edges = n_samples * min(self.n_neighbors, n_samples)
        return BYTES_AN_EDGE * n_edges + 8 * n_samples * n_features  # and X twice in float32

    def _fit(self, X: np.ndarray, **_: Any) -> None:
        if len(X) < 2:
            raise UserError(f"a graph needs at least 2 samples, got n_samples={len(X)}")
        knn = knn_graph(_normalized(X) if self.normalize else X, min(self.n_neighbors, len(X) - 1))
        found = agglomerate_neighbors(knn, self.n_clusters, scale=self.weights, affinity=self.affinity)
        self.labels_ = found.labels
        self.n_iter_ = len(found.merges)
        self.converged_ = True


def _normalized(X: np.ndarray) -> np.ndarray:
    """Return X (N, D) less its mean row, its rows then divided by their Euclidean norms, float32; zero rows stay."""
    mean, Z, start = X.mean(axis=0, dtype=np.float64), np.empty(X.shape, dtype=np.float32), 0
    for rows in chunks(X):
        centred = rows - mean
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        Z[start : start + len(rows)] = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)
        start += len(rows)
    return Z
