"""Agglomeration on a directed nearest-neighbour graph: graph degree linkage and path integrals, exact and fast."""

from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

Scale = Literal["global", "local"]
Affinity = Literal["degree_linkage", "path_integral"]

BYTES_AN_EDGE = 160  # what `agglomerate_neighbors` takes beyond the neighbours, for each of their N k edges
_DISCOUNT = 0.01  # z of the path integral in the paper and the authors' code
_FAINT = 1e-5  # the global scale is doubled while some sample's nearest neighbour weighs less
_DEAD = -1.0  # affinity of a pair that is one no more


class Agglomeration(NamedTuple):
    labels: np.ndarray  # (N,) int64 in [0, K), numbered in the order of first samples
    merges: np.ndarray  # (C - K, 2) int64: of the clusters i < j of the start, joined under the number i


def agglomerate_neighbors(
    knn: sp.csr_matrix, n_clusters: int, *, scale: Scale = "global", affinity: Affinity = "degree_linkage"
) -> Agglomeration:
    """Return K clusters of a nearest-neighbour graph's nodes, by AC-GDL or (`path_integral`) by AC-PIC, z = 0.01.

    Merging starts from `nearest_components`, or, where these are fewer than K, from single samples. AC-PIC's weights
    are `digraph_weights` with every row divided by its sum, diagonal included.

    Parameters
    ----------
    knn : csr_matrix of shape (N, N), distances (not squared) of a `knn_graph`
    n_clusters : int in [1, N], K
    """
    start = nearest_components(knn)
    if start.max() + 1 < n_clusters:
        start = np.arange(len(start))
    W = digraph_weights(knn, scale)
    if affinity == "degree_linkage":
        return agglomerate(W, start, n_clusters)
    W.data /= np.repeat(np.asarray(W.sum(axis=1)).ravel(), np.diff(W.indptr))
    return agglomerate(W, start, n_clusters, discount=_DISCOUNT)


def digraph_weights(knn: sp.csr_matrix, scale: Scale = "global") -> sp.csr_matrix:
    """Return directed weights W (N, N), float64: row i holds sample i itself and its k nearest neighbours.

    ``global``: w_ij = exp(-s_ij / sigma^2), s squared distances, sigma^2 the mean of all N k of them, doubled while the
    nearest neighbour of some sample weighs less than 1e-5; w_ii = 1 (Zhang et al. 2012 and their toolbox).
    ``local``: w_ij = exp(-s_ij / (2 sigma_i^2)) / sigma_i, sigma_i the distance to the floor(k/2)-th neighbour;
    w_ii = 1 / sigma_i (the authors' later code). A sigma_i of 0, of a sample with duplicates, becomes the smallest
    positive one; if all are 0, the scale is 1.

    Parameters
    ----------
    knn : csr_matrix of shape (N, N), distances (not squared) of a `knn_graph`
    """
    N, k = knn.shape[0], len(knn.data) // knn.shape[0]
    squared = np.square(knn.data.astype(np.float64)).reshape(N, k)
    if scale == "global":
        variance = squared.mean() or 1.0
        while np.exp(-squared.min(axis=1).max() / variance) < _FAINT:
            variance *= 2
        weights, own = np.exp(-squared / variance), np.ones(N)
    else:
        variances = np.partition(squared, max(k // 2, 1) - 1, axis=1)[:, max(k // 2, 1) - 1]
        variances[variances == 0] = variances[variances > 0].min(initial=np.inf) if variances.any() else 1.0
        own = 1 / np.sqrt(variances)
        weights = np.exp(-squared / (2 * variances[:, None])) * own[:, None]
    directed = sp.csr_matrix((weights.ravel(), knn.indices, knn.indptr), shape=(N, N))
    return sp.csr_matrix(directed + sp.diags_array(own))


def nearest_components(knn: sp.csr_matrix) -> np.ndarray:
    """Return the weak components (N,) of the graph that joins each sample to its nearest neighbour, by first samples.

    `knn` holds the distances (not squared) of a `knn_graph`; of equally near neighbours the smallest index counts.
    """
    N, k = knn.shape[0], len(knn.data) // knn.shape[0]
    nearest = knn.indices.reshape(N, k)[np.arange(N), knn.data.reshape(N, k).argmin(axis=1)]
    graph = sp.csr_matrix((np.ones(N), nearest, np.arange(N + 1)), shape=(N, N))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def agglomerate(W: sp.csr_matrix, start: np.ndarray, n_clusters: int, *, discount: float = 0.0) -> Agglomeration:
    """Return the partition left when the pair of clusters of largest affinity has been merged until K remain.

    Clusters i and j have affinity A_ij = L_ij + L_ji. With w the weights, n_i the size of C_i, and z = `discount`,

        L_ij n_i^2 = sum over v in C_j of (sum over u in C_i of w_uv) (sum over u in C_i of w_vu)
                     + z times the sum of w_ab w_bc w_cd over a, d in C_i and b, c in C_i or C_j, not both in C_i.

    The two sums are the weights of paths of two and of three steps that leave C_i for C_j and return. With z = 0 that
    is graph degree linkage (GDL). With rows of W that sum to 1, z^2 A_ij is the affinity of path integrals to the third
    order in z: S of C_i given C_i and C_j, less S of C_i alone, plus the same for C_j; paths of four steps have z^4.

    Ties go to the smallest pair (i, j), i < j, of cluster numbers; a merged cluster keeps the smaller number. Pairs
    without an edge have affinity 0.

    Parameters
    ----------
    W : csr_matrix of shape (N, N), directed weights >= 0; for z = 0 the diagonal does not matter
    start : int array of shape (N,), clusters 0..C-1, all occurring
    n_clusters : int in [1, C]
    discount : float in [0, 1)

    Notes
    -----
    L_ij n_i^2 is additive over disjoint C_j, but for paths between the parts. A merge therefore adds two columns of L
    and makes one row anew from the edges of its samples. L is kept for pairs of clusters that an edge joins, and every
    cluster knows its best partner: a merge takes passes over the edges of its samples and over the C numbers.

    Zhang, Wang, Zhao and Tang, "Graph degree linkage: agglomerative clustering on a directed graph", ECCV 2012; Zhang,
    Zhao and Wang, "Agglomerative clustering via maximum incremental path integral", Pattern Recognition 2013.
    """
    clusters = _Clusters(sp.csr_matrix(W, dtype=np.float64), start, discount)
    n_merges = len(clusters.best) - n_clusters
    merges = np.array([clusters.merge() for _ in range(n_merges)], dtype=np.int64).reshape(-1, 2)
    return Agglomeration(np.unique(clusters.labels, return_inverse=True)[1].astype(np.int64), merges)


class _Clusters:
    """Clusters of nodes, and their pairs that an edge joins: pair p has `ends` (2, P), and L[s, p] from its end s."""

    def __init__(self, W: sp.csr_matrix, start: np.ndarray, discount: float) -> None:
        self.W, self.back, self.z = W, sp.csr_matrix(W.T), discount
        self.labels = start.astype(np.int64)
        C = int(start.max()) + 1
        self.size = np.bincount(self.labels, minlength=C)
        self.members = np.split(np.argsort(self.labels, kind="stable"), np.cumsum(self.size)[:-1])
        self.into, self.out = np.zeros(W.shape[0]), np.zeros(W.shape[0])  # of one cluster at a time
        self.slot = np.full(C, -1)  # of one cluster's pairs, by the other end

        joined = self.labels[np.repeat(np.arange(W.shape[0]), np.diff(W.indptr))], self.labels[W.indices]
        keys = np.unique(np.minimum(*joined) * C + np.maximum(*joined))
        keys = keys[keys // C != keys % C]
        self.ends = np.stack(np.divmod(keys, C))
        order = np.argsort(self.ends.ravel(), kind="stable")
        counts = np.bincount(self.ends.ravel(), minlength=C)
        self.pairs = np.split(order % max(len(keys), 1), np.cumsum(counts)[:-1])
        self.L = np.zeros(self.ends.shape)
        for i, pairs in enumerate(self.pairs):
            side, others = self._seen_from(i, pairs)
            self.L[side, pairs] = self._row(i)[others]
        self.affinity = (self.L / np.square(self.size)[self.ends]).sum(axis=0)
        self.best, self.partner = np.full(C, _DEAD), np.zeros(C, dtype=np.int64)
        for i in range(C):
            self._look_again(i)

    def _seen_from(self, i: int, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which end of each of its pairs a cluster is, and the clusters at the others."""
        side = (self.ends[1, pairs] == i).astype(np.int64)
        return side, self.ends[1 - side, pairs]

    def _look_again(self, i: int) -> None:
        """Find the best partner of a cluster; a cluster without one has affinity 0 to all."""
        self.pairs[i] = pairs = self.pairs[i][self.affinity[self.pairs[i]] > _DEAD]
        self.best[i] = self.affinity[pairs].max(initial=0)
        ties = pairs[self.affinity[pairs] == self.best[i]]
        self.partner[i] = self._seen_from(i, ties)[1].min(initial=len(self.best))

    def merge(self) -> tuple[int, int]:
        """Merge the best pair, and return it."""
        i = int(self.best.argmax())
        i, j = (i, int(self.partner[i])) if self.best[i] > 0 else map(int, np.flatnonzero(self.best > _DEAD)[:2])
        added = self._between(i, j) if self.z else None
        mine, theirs = (self.pairs[n][self.affinity[self.pairs[n]] > _DEAD] for n in (i, j))
        _, others = self._seen_from(i, mine)
        self.affinity[mine[others == j]] = _DEAD
        mine, others = mine[others != j], others[others != j]
        side, ends = self._seen_from(j, theirs)
        self.slot[others] = mine
        same = self.slot[ends]
        self.slot[others] = -1
        shared, alone = (same >= 0), (same < 0) & (ends != i)
        into = (self.ends[1, same[shared]] == i).astype(np.int64)
        self.L[1 - into, same[shared]] += self.L[1 - side[shared], theirs[shared]]
        self.affinity[theirs[shared]] = _DEAD
        self.ends[side[alone], theirs[alone]] = i

        self.labels[self.members[j]] = i
        self.members[i] = np.concatenate([self.members[i], self.members[j]])
        self.size[i] += self.size[j]
        self.pairs[i] = pairs = np.concatenate([mine, theirs[alone]])
        self.best[j], self.members[j], self.pairs[j] = _DEAD, mine[:0], mine[:0]
        side, others = self._seen_from(i, pairs)
        self.L[side, pairs] = self._row(i)[others]
        if added is not None:
            self.L[1 - side, pairs] += added[others]
        self.affinity[pairs] = (self.L[:, pairs] / np.square(self.size)[self.ends[:, pairs]]).sum(axis=0)
        self._look_again(i)
        better = self.affinity[pairs] > self.best[others]
        better |= (self.affinity[pairs] == self.best[others]) & (i < self.partner[others])
        self.best[others[better]], self.partner[others[better]] = self.affinity[pairs[better]], i
        for other in others[~better & np.isin(self.partner[others], (i, j))]:
            self._look_again(other)
        return i, j

    def _row(self, i: int) -> np.ndarray:
        """Return |C_i|^2 L_ij for every cluster j (C,)."""
        ahead, behind = self.W[self.members[i]], self.back[self.members[i]]
        np.add.at(self.into, behind.indices, behind.data)  # sums over C_i of the weights from each node
        flows = self.into[ahead.indices]
        if self.z:
            np.add.at(self.out, ahead.indices, ahead.data)
            n_ahead, n_behind = np.diff(ahead.indptr), np.diff(behind.indptr)
            flows *= 1 + self.z * self.out[np.repeat(self.members[i], n_ahead)]
            nodes, place = np.unique(ahead.indices, return_inverse=True)
            onward = self.W[nodes]
            stays = np.repeat(self.labels[nodes], np.diff(onward.indptr)) == self.labels[onward.indices]
            onward.data = np.where(stays, onward.data * self.into[onward.indices], 0)
            flows += self.z * np.asarray(onward.sum(axis=1)).ravel()[place]
        row = np.bincount(self.labels[ahead.indices], flows * ahead.data, len(self.size))
        if self.z:
            flows = behind.data * self.into[np.repeat(self.members[i], n_behind)] * self.out[behind.indices]
            row = row + self.z * np.bincount(self.labels[behind.indices], flows, len(self.size))
            self.out[ahead.indices] = 0
        self.into[behind.indices] = 0
        return row

    def _between(self, i: int, j: int) -> np.ndarray:
        """Return z times the paths (C,) that leave each cluster for C_i, go on to C_j and return, or C_j first."""
        i, j = (i, j) if self.size[i] < self.size[j] else (j, i)
        few = self.members[i]
        ahead, behind = self.W[few].tocoo(), self.back[few].tocoo()
        to, fro = self.labels[ahead.col] == j, self.labels[behind.col] == j
        tails = np.concatenate([few[ahead.row[to]], behind.col[fro]])
        heads = np.concatenate([ahead.col[to], few[behind.row[fro]]])
        leave, enter = self._by_cluster(self.back[tails]), self._by_cluster(self.W[heads])
        weights = np.concatenate([ahead.data[to], behind.data[fro]])
        return np.asarray(self.z * (weights @ leave.multiply(enter).tocsr()))

    def _by_cluster(self, edges: sp.csr_matrix) -> sp.csr_matrix:
        shape = (edges.shape[0], len(self.size))
        found = sp.csr_matrix((edges.data, self.labels[edges.indices], edges.indptr), shape=shape)
        found.sum_duplicates()
        return found
