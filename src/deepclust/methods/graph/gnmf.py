"""Non-negative matrix factorisation whose codes are smooth on a nearest-neighbour graph."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from deepclust.errors import NotApplicable, UserError
from deepclust.graph.knn import knn_graph
from deepclust.methods._flat_clustering import k_means
from deepclust.methods.base import Clusterer
from deepclust.settings import Count, Weight, setting

_SMALLEST = 1e-10  # of a divisor, as in the authors' code
_TRIED = 30  # iterations of every start, as there
_MEMORY = 0.1  # of the running mean of the objective that the stop rule compares with


class GNMF(Clusterer):
    """Minimise ||X' - U V'||^2 + lam tr(V' L V) over U, V >= 0, then k-means on the rows of V (graph regularised NMF).

    Both terms are sums: of squares over the (D, N) entries, and over pairs i < j of w_ij ||v_i - v_j||^2, with w_ij = 1
    if i is one of j's nearest neighbours or j of i's. U (D, K) and V (N, K) change by multiplicative updates, V first,
    which never raise the objective. The best of `n_starts` after 30 iterations goes on. `objective_` is what it comes
    to. Columns of U are scaled to norm 1 at a start and once more at the end, V by the inverse; `embedding_` is V then,
    and `components_` is U' (K, D).

    lam weighs a graph term without a scale of its own against squares of X: data on another scale want another lam,
    unless `normalize` scales every sample to norm 1, as the paper does with images. A negative entry raises
    NotApplicable.
    """

    paper: ClassVar[str] = "Cai, He, Han and Huang 2011"
    why_no_predict: ClassVar[str] = "a sample's code depends on the codes of its neighbours in the graph"
    sparse_samples: ClassVar[str] = "made dense"

    lam: Weight = setting("weight of the graph's term; 0 is NMF", default=100.0)
    n_neighbors: Count = setting("neighbours a sample, at most N - 1", default=5)
    normalize: bool = setting("scale samples to Euclidean norm 1 first", default=True)
    n_starts: Count = setting("random starts, the best of which by the objective goes on", default=10)
    max_iter: Count = setting("iterations of the start that goes on, at most", default=500)
    tolerance: Weight = setting(
        "relative fall of the objective, below its running mean, at which to stop", default=1e-5
    )
    n_init: Count = setting("starts of k-means on V", default=20)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def _memory(self, n_samples: int, n_features: int) -> int:
        return 8 * n_samples * (n_features + 6 * self.n_clusters)

    def _fit(self, X: np.ndarray, **_: Any) -> None:
        if X.min() < 0:
            raise NotApplicable(
                f"Negative values in data passed to GNMF, which factors data >= 0; the least is {X.min():g}"
            )
        if len(X) < 2:
            raise UserError(f"a graph needs at least 2 samples, got n_samples={len(X)}")
        data = _Data(X.astype(np.float64), self.lam, self.n_neighbors, self.normalize)
        rng = np.random.default_rng(self._seed)
        n_tried = min(_TRIED, self.max_iter)
        best: tuple[float, np.ndarray, np.ndarray] = (np.inf, np.empty(0), np.empty(0))
        for _start in range(self.n_starts):
            U, V = _scaled(*(rng.random((n, self.n_clusters)) for n in data.X.T.shape))
            objective = [data.step(U, V) for _step in range(n_tried)][-1]
            best = min(best, (objective, U, V), key=lambda start: start[0])
        objective, U, V = best
        mean, n_iter, converged = objective, n_tried, False
        while n_iter < self.max_iter and not converged:
            objective = data.step(U, V)
            n_iter += 1
            mean = _MEMORY * mean + (1 - _MEMORY) * objective
            converged = bool(mean - objective <= self.tolerance * mean)
        self.objective_, self.n_iter_, self.converged_ = objective, n_iter, converged
        U, self.embedding_ = _scaled(U, V)
        self.components_ = U.T.copy()
        self.labels_ = k_means(self.embedding_, self.n_clusters, n_init=self.n_init, random_state=self._seed).labels_


class _Data:
    """X (N, D) in float64 and its graph, and the step that both make of factors."""

    def __init__(self, X: np.ndarray, lam: float, n_neighbors: int, normalize: bool) -> None:
        if normalize:
            norms = np.linalg.norm(X, axis=1, keepdims=True)
            np.divide(X, norms, out=X, where=norms > 0)
        knn = knn_graph(X, min(n_neighbors, len(X) - 1))
        knn.data[:] = 1
        self.X, self.lam, self.W = X, lam, sp.csr_matrix(knn.maximum(knn.T), dtype=np.float64)
        self.degrees = np.asarray(self.W.sum(axis=1))
        self.size = float(np.einsum("nd,nd->", X, X))

    def step(self, U: np.ndarray, V: np.ndarray) -> float:
        """Update V (N, K), then U (D, K), in place, and return the objective of both (Cai et al. 2011)."""
        V *= (self.X @ U + self.lam * (self.W @ V)) / np.maximum(V @ (U.T @ U) + self.lam * self.degrees * V, _SMALLEST)
        products, gram = self.X.T @ V, V.T @ V
        U *= products / np.maximum(U @ gram, _SMALLEST)
        fit = self.size - 2 * np.vdot(products, U) + np.vdot(U.T @ U, gram)
        return float(fit + self.lam * np.vdot(V, self.degrees * V - self.W @ V))


def _scaled(U: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return U with columns of norm 1, and V by the inverse; a column of zeros stays."""
    norms = np.linalg.norm(U, axis=0)
    norms[norms == 0] = 1
    return U / norms, V * norms
