"""Convex clustering of the samples: a path of certified minimisers, read where it has K clusters."""

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.metrics import euclidean_distances

from deepclust.errors import NotApplicable, UserError
from deepclust.graph.knn import knn_graph
from deepclust.graph.weights import gaussian_weights, median_scale
from deepclust.methods._flat_clustering import k_means, nearest_center
from deepclust.methods.base import Clusterer
from deepclust.settings import Count, Natural, Positive, Weight, setting
from deepclust.solvers.convex_clustering import ConvexClustering as Solution
from deepclust.solvers.convex_clustering import convex_clustering

_log = logging.getLogger(__name__)

_SMALL = 20  # a cluster has at least N / (20 K) samples
_GROWTH = 2.0  # of gamma from one point of the path to the next, until the clusters are K or fewer


class ConvexClustering(Clusterer):
    """Move neighbouring samples together by weighted norms of their differences, until K clusters are left.

    Minimise 1/2 sum ||x_i - u_i||^2 + gamma sum w_ij ||u_i - u_j|| for growing gamma: sums over samples and over pairs
    of neighbours, Euclidean norms, w_ij = exp(-phi d_ij^2 / s^2) with s the median of the neighbours' distances d.

    A cluster is a component of samples of equal u, fused pair by pair, that has at least N / (20 K) members. The other
    samples join the nearest cluster's u. gamma doubles until at most K clusters hold at least half of the samples; then
    the last interval is halved, in ratio, up to `n_bisections` times. The relative duality gap of every point is at
    most `tolerance`. A path may jump over K: `converged_` is then False, and the labels are those of the point closest
    to K, of its K largest clusters at most. Nothing is random but the read-out `kmeans`.

    `embedding_` is U. The read-outs are `components`, all of them, however many and small, and `kmeans`, k-means on the
    rows of U. `extras_` holds `path`, a row for each gamma solved. `n_iter_` adds up the iterations of all gammas.
    """

    paper: ClassVar[str] = "Hocking, Joulin, Bach and Vert 2011; Chi and Lange 2015"
    why_no_predict: ClassVar[str] = "only the samples of the fit have a u"

    n_neighbors: Count = setting("nearest neighbours a sample; pairs of which either is the other's", default=10)
    phi: Weight = setting("decay of the weights with squared distance; 0 makes all weights 1", default=0.5)
    solver: Literal["ama", "admm"] = setting("accelerated dual gradient, or the splitting of the paper", default="ama")
    tolerance: Positive = setting("largest relative duality gap at each gamma", default=1e-5)
    max_iter: Count = setting("iterations at each gamma, at most", default=2000)
    n_bisections: Natural = setting("of gamma's interval, at most, to meet K", default=8)
    n_init: Count = setting("starts of k-means for the read-out `kmeans`", default=20)
    max_samples: Count = setting("largest N; beyond it the cell is skipped", default=10_000)

    def _memory(self, n_samples: int, n_features: int) -> int:
        """Count eight arrays of the neighbours' differences in float64, and X twice."""
        return 8 * n_samples * min(n_features, n_samples) * (8 * min(self.n_neighbors, n_samples) + 2)

    def _fit(self, X: np.ndarray, **_: Any) -> None:
        N, K = len(X), self.n_clusters
        if self.max_samples < N:
            raise NotApplicable(
                "convex clustering updates the differences of all neighbours thousands of times; a data set of "
                f"{N:,} samples is above max_samples={self.max_samples:,}"
            )
        if N < 2:
            raise UserError("convex clustering needs neighbours, got 1 sample; give at least 2")
        mean = X.mean(axis=0, dtype=np.float64)
        rows, basis = _reduced(X - mean)
        knn = knn_graph(X, min(self.n_neighbors, N - 1))
        graph = gaussian_weights(knn)
        graph.data **= self.phi
        self.n_graph_components_, component = connected_components(graph, directed=False)
        upper = sp.triu(graph, 1).tocoo()
        pairs, weights = np.column_stack([upper.row, upper.col]).astype(np.int64), upper.data
        if self.n_graph_components_ > K:
            bridges = _bridges(rows, component)
            pairs = np.concatenate([pairs, bridges])
            weights = np.concatenate([weights, np.full(len(bridges), np.median(weights))])

        path: list[dict[str, int | float]] = []

        def solve(gamma: float, near: _Point | None = None) -> _Point:
            found = convex_clustering(
                rows,
                pairs,
                weights,
                gamma,
                solver=self.solver,
                start=None if near is None else near.solution.dual,
                tolerance=self.tolerance,
                max_iter=self.max_iter,
            )
            sizes = np.bincount(found.components)
            large = sizes[sizes * _SMALL * K >= N]
            point = _Point(gamma, found, len(large), float(large.sum() / N))
            facts = {"n_components": len(sizes), "n_clusters": len(large), "share": point.share}
            path.append({"gamma": gamma, **facts, "gap": found.gap, "n_iter": found.n_iter})
            return point

        # gamma s moves a sample at most, s the sum of its weights: at the first gamma, about a neighbour's distance
        gamma = median_scale(knn) / float(np.median(np.asarray(graph.sum(axis=1))))
        low, high = None, solve(0.0)
        best = high
        while not high.few(K):
            low, high = high, solve(gamma, high)
            best, gamma = min(high, best, key=lambda point: point.misses(K)), gamma * _GROWTH
        for _step in range(self.n_bisections):
            if low is None or not any(best.misses(K)):
                break
            middle = solve(np.sqrt(low.gamma * high.gamma) or high.gamma / _GROWTH**2, low)
            low, high = (low, middle) if middle.few(K) else (middle, high)
            best = min(middle, best, key=lambda point: point.misses(K))

        attained = not any(best.misses(K))
        if not attained:
            found = best.n_clusters, best.gamma
            _log.info("the path jumps over K=%d; labels are those of its %d clusters at gamma=%.6g", K, *found)
        U, components = best.solution.U, best.solution.components
        self.labels_ = _labels(U, components, min(K, best.n_clusters))
        few = components.max() < K
        by_means = components if few else k_means(U, K, n_init=self.n_init, random_state=self._seed).labels_
        self.readouts_ = {"components": components, "kmeans": by_means}
        self.embedding_ = (mean + (U if basis is None else U @ basis)).astype(X.dtype)
        self.extras_ = {"path": pd.DataFrame(path)}
        self.n_iter_ = sum(int(point["n_iter"]) for point in path)
        self.converged_ = attained and best.solution.converged


@dataclass(frozen=True)
class _Point:
    """One gamma of the path: its minimiser, how many components are large enough, and their share of the samples."""

    gamma: float
    solution: Solution
    n_clusters: int
    share: float

    def few(self, K: int) -> bool:
        """Return whether gamma is large enough: on the way there, too, few clusters are large, but of few samples."""
        return self.n_clusters <= K and self.share >= 0.5

    def misses(self, K: int) -> tuple[bool, int, bool]:
        """Return a key, least for the point to read: half of the samples in clusters, and K of these or rather more."""
        return self.share < 0.5, abs(self.n_clusters - K), self.n_clusters < K


def _reduced(X: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return coordinates (N, R) of centred X and their basis (R, D) where there are no more samples than features.

    u_i - x_i lies in the span of X: nothing is lost but rounding.
    """
    if len(X) > X.shape[1]:
        return X, None
    _, sizes, basis = np.linalg.svd(X, full_matrices=False)
    rank = max(1, int((sizes > sizes[0] * max(X.shape) * np.finfo(np.float64).eps).sum()))
    return X @ basis[:rank].T, basis[:rank]


def _bridges(X: np.ndarray, component: np.ndarray) -> np.ndarray:
    """Return the shortest pairs (C - 1, 2) that join C components (N,) of samples X, by Euclidean distances."""
    members = [np.flatnonzero(component == c) for c in range(component.max() + 1)]
    order, starts = np.concatenate(members), np.cumsum([0, *map(len, members[:-1])])
    squared = np.stack(
        [
            np.minimum.reduceat(euclidean_distances(X[own], X[order], squared=True).min(axis=0), starts)
            for own in members
        ]
    )
    squared += 1e-6 * squared.max() + np.finfo(np.float64).tiny  # SciPy takes 0 for no edge; the tree is the same
    tree = minimum_spanning_tree(squared).tocoo()
    pairs = []
    for a, b in zip(tree.row, tree.col, strict=True):
        apart = cdist(X[members[a]], X[members[b]])
        i, j = np.unravel_index(apart.argmin(), apart.shape)
        pairs.append((members[a][i], members[b][j]))
    return np.array(pairs)


def _labels(U: np.ndarray, components: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return labels (N,): the largest components, in the order of first samples, and elsewhere the nearest."""
    _, first, sizes = np.unique(components, return_index=True, return_counts=True)
    kept = np.sort(np.argsort(-sizes, kind="stable")[:n_clusters])
    number = np.full(len(sizes), -1)
    number[kept] = np.arange(n_clusters)
    own = number[components]
    labels: np.ndarray = np.where(own >= 0, own, nearest_center(U, U[first[kept]]))
    return labels
