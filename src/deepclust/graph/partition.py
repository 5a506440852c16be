"""A graph's partition into K groups of high modularity: many starts, refined, and the best one by modularity alone."""

import heapq
import multiprocessing
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController, threadpool_limits

from deepclust.errors import UserError
from deepclust.graph.adjacency import edge_weights
from deepclust.graph.laplacian import weighted_degrees
from deepclust.graph.spectral import smallest_eigenvectors

_RISE = 1e-12  # smallest rise of modularity that counts: above rounding, so that no search runs in circles
_BLOCKS = 16  # blocks in a sweep: the nodes of a block choose at once, from the labels before any of them moved
_SMALLEST = 64  # nodes of Louvain's smallest block: to a handful of nodes the calls cost more than the work
_SWEEPS = 200
_STARTS = 10  # starts of k-means on the eigenvectors
_IMPROVED = 3  # candidates that go through split-merge, and through regrouping
_RESOLUTIONS = (1, 2, 4)  # of Louvain starts: 1 is modularity's own, more makes more and smaller groups
_REGROUPED = 1e-6  # rise of modularity by a round of regrouping below which no other round follows
_APART = 5_000  # nodes beyond which a search in a process of its own is worth the start of the process
_TRIALS = 20  # clusters of a partition whose cut is tried, beginning with the one that gains most
_LIGHTEST = 1e-9  # share of a cluster's volume below which a side of its cut is rounding rather than volume
_LIBRARIES = ThreadpoolController()  # found once: a search for them takes as long as a small k-means
_DUST = 0.1  # share of a mean cluster's volume: smaller components are set aside until the clusters are found


@dataclass(frozen=True)
class Candidate:
    """One partition found on the way; `origin` says how, as in "merge 3K by modularity + split-merge"."""

    origin: str
    modularity: float
    normalized_cut: float
    labels: np.ndarray  # (N,) int64 in [0, K), named in order of first appearance


@dataclass(frozen=True)
class Partition:
    """The candidate of largest modularity (the first of equals), and all candidates."""

    labels: np.ndarray  # (N,) int64 in [0, K), named in order of first appearance, none of them empty
    modularity: float
    normalized_cut: float
    candidates: tuple[Candidate, ...]


def modularity(W: sp.csr_matrix | np.ndarray, labels: ArrayLike) -> float:
    """Return Newman's modularity of a partition, in [-1/2, 1); 0 for a graph without edges.

    Q = sum over clusters C of w(C, C) / w - (vol(C) / w)^2: the share of weight inside clusters less the share expected
    at random. w(C, C) is the sum of w_ij over the ordered pairs of members, vol(C) the sum of the members' degrees, and
    w the sum of all degrees. Q does not depend on the weights' scale.

    Parameters
    ----------
    W : sparse or dense matrix of shape (N, N), symmetric, of weights >= 0, 0 for no edge, with an empty diagonal
    labels : array of shape (N,), integers; their values are names

    Raises
    ------
    UserError
        If W is not a graph's weight matrix or `labels` are not N integers.

    Notes
    -----
    Newman and Girvan, "Finding and evaluating community structure in networks", Physical Review E 2004; weighted:
    Newman, "Analysis of weighted networks", 2004.
    """
    names = _names(labels, W)
    return _Graph.scaled(edge_weights(W, len(names), "W")).modularity(names)


def normalized_cut(W: sp.csr_matrix | np.ndarray, labels: ArrayLike) -> float:
    """Return the sum over clusters (not the mean) of cut(C) / vol(C), in [0, K]; clusters without edges count 0.

    cut(C) is the weight that leaves C, vol(C) the sum of its members' degrees. Arguments and errors: `modularity`.
    Shi and Malik, "Normalized cuts and image segmentation", 2000.
    """
    names = _names(labels, W)
    return _Graph.scaled(edge_weights(W, len(names), "W")).normalized_cut(names)


def partition(W: sp.csr_matrix, n_clusters: int, *, random_state: int = 0) -> Partition:
    """Return the partition of a graph into exactly K clusters, none empty, of highest modularity among candidates.

    Candidates come from four sources:

    - k-means on the first m in {K, K+2, 1.5 K, 2K} eigenvectors of the normalised Laplacian (rows of norm 1);
    - 3K and 5K such clusters, merged greedily by modularity gained or by the share of the smaller cluster's volume that
      leads to the other;
    - the graph's components, if there are K or more;
    - Louvain's groups at three resolutions, merged greedily by modularity gained and refined at each of Louvain's
      levels: groups of groups move first, nodes last.

    Each candidate is refined: nodes move to the cluster that gains most, until no move gains. The best three of the
    first three sources go through split-merge: one cluster is cut in two, the best pair of others merged, and all
    refined. The result is kept if modularity rose, and split-merge is repeated for as long as it rises. The best three
    of all candidates then go through regrouping: Louvain's groups are found inside each cluster, and move to the
    cluster that gains most, as nodes do, then their smaller groups, then nodes. No step ever lowers modularity.

    Small components, of less than a tenth of a mean cluster's volume, say nothing about the others and would take up
    the eigenvectors; isolated nodes are such components. Small components are set aside and put back whole at the end,
    largest first, each into the cluster of then least volume, where modularity falls least. (If the other components
    have fewer than K nodes in all, the K largest components stay.)

    Parameters
    ----------
    W : csr_matrix of shape (N, N), symmetric, of weights > 0 where stored, with an empty diagonal
    n_clusters : int in [1, N]
    random_state : int in [0, 2**32)
        Seed of k-means, of the order in which nodes move, and of ARPACK's start vectors.

    Returns
    -------
    Partition
        The result is a function of the arguments alone: the number of threads does not change it. If several good
        optima exist, `random_state` and the order of the nodes can decide which one is found. Outside the main thread,
        the search on a large graph runs in a process of its own, so that several searches go on side by side. A script
        that calls it there must keep its own work below `if __name__ == "__main__"`, as `multiprocessing` asks.

    Raises
    ------
    UserError
        If W is not a graph's weight matrix, or `n_clusters` is out of range.
    SeedFailed
        ARPACK does not converge (long chains).

    Notes
    -----
    Modularity is the only judge, and not a perfect one: on some image graphs partitions that disagree on a seventh of
    the samples differ by less than 0.001. Look at `candidates` before reading much into the returned partition.
    Greedy merging: Clauset, Newman and Moore, "Finding community structure in very large networks", 2004. Moving nodes,
    and Louvain's levels: Blondel et al., "Fast unfolding of communities in large networks", 2008. Refinement at each
    level: Noack and Rotta, "Multi-level algorithms for modularity clustering", 2009. Groups inside clusters that move
    whole: Traag, Waltman and van Eck, "From Louvain to Leiden", Scientific Reports 2019. Resolution: Reichardt and
    Bornholdt, "Statistical mechanics of community detection", Physical Review E 2006. Near ties of modularity: Good,
    de Montjoye and Clauset, "Performance of modularity maximization in practical contexts", 2010.
    """
    N = W.shape[0]
    if not (isinstance(n_clusters, int | np.integer) and 1 <= n_clusters <= N):
        raise UserError(f"n_clusters must be an integer in [1, N={N}], got {n_clusters!r}; ask for fewer")
    graph, K = _Graph.scaled(W), int(n_clusters)
    if N <= _APART or threading.current_thread() is threading.main_thread():
        return _search(graph, K, random_state)
    # A search is many small NumPy calls: three of them in threads side by side take longer than one after the other.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=threadpool_limits, initargs=(1,)) as pool:
        return pool.submit(_search, graph, K, random_state).result()


def _search(whole: "_Graph", K: int, random_state: int) -> Partition:
    N = len(whole.degrees)
    components = _components(whole)
    n_kept = _n_kept(whole, components, K)
    nodes = np.sort(np.concatenate(components[:n_kept]))
    core = whole.part(nodes)
    found: list[tuple[str, np.ndarray]] = []
    for origin, start in _starts(core, K, random_state):
        found.append((origin, _by_appearance(_refine(core, _exactly(core, start, K), random_state))))
    for origin, labels in _best(core, found):
        found.append((f"{origin} + split-merge", _split_merge(core, labels, random_state)))
    for origin, labels in _louvain_starts(core, K, random_state):
        found.append((origin, _by_appearance(_refine(core, labels, random_state))))
    for origin, labels in _best(core, found):
        found.append((f"{origin} + regrouping", _regroup(core, labels, random_state)))
    candidates = []
    for origin, labels in found:
        complete = np.full(N, -1)
        complete[nodes] = labels
        _put_into_smallest(whole, complete, K, components[n_kept:])
        complete = _by_appearance(complete)
        candidates.append(Candidate(origin, whole.modularity(complete), whole.normalized_cut(complete), complete))
    best = max(candidates, key=lambda candidate: candidate.modularity)
    return Partition(best.labels, best.modularity, best.normalized_cut, tuple(candidates))


def _best(graph: "_Graph", found: list[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
    """Return the few partitions of highest modularity, each once, under the name of the first that found it."""
    distinct: dict[bytes, tuple[str, np.ndarray]] = {}
    for origin, labels in sorted(found, key=lambda pair: -graph.modularity(pair[1])):
        distinct.setdefault(_by_appearance(labels).tobytes(), (origin, labels))
    return list(distinct.values())[:_IMPROVED]


def _names(labels: ArrayLike, W: sp.csr_matrix | np.ndarray) -> np.ndarray:
    values, N = np.asarray(labels), W.shape[0]
    if values.shape != (N,) or values.dtype.kind not in "iu":
        raise UserError(f"labels must be integers of shape (N,) = ({N},), got {values.dtype} of shape {values.shape}")
    return np.unique(values, return_inverse=True)[1]


def _by_appearance(labels: np.ndarray) -> np.ndarray:
    """Return the same partition with its clusters numbered in order of their first members, int64."""
    _, first, names = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[names].astype(np.int64)


# ------------------------------------------------------------------------------------------------- modularity's terms


class _Edges(NamedTuple):
    """Edges of some nodes of a graph, node by node."""

    rows: np.ndarray  # (e,) the node, by its place among these nodes
    indices: np.ndarray  # (e,) the node at the other end, by its place in the graph
    data: np.ndarray  # (e,) weights
    indptr: np.ndarray  # (m + 1,) where the edges of each node begin


@dataclass(frozen=True)
class _Graph:
    """A graph or a part of one; weights are divided by the sum of degrees of the whole graph."""

    W: sp.csr_matrix
    degrees: np.ndarray  # (n,), edges to the other parts included

    @classmethod
    def scaled(cls, W: sp.csr_matrix) -> "_Graph":
        degrees = weighted_degrees(W)
        largest = degrees.max(initial=0) or 1.0  # before the sum, which might overflow
        total = (degrees / largest).sum() or 1.0
        # what is not 0 stays so, and an edge an edge
        weights, shares = (
            np.where(values > 0, np.maximum(values / largest / total, np.finfo(np.float64).smallest_subnormal), 0)
            for values in (W.data, degrees)
        )
        return cls(sp.csr_matrix((weights, W.indices, W.indptr), shape=W.shape), shares)

    def edges(self, nodes: np.ndarray) -> "_Edges":
        """Return what `W[nodes]` holds, without what SciPy checks at each call: it would cost more than the rest."""
        first, lengths = self.W.indptr[nodes], self.W.indptr[nodes + 1] - self.W.indptr[nodes]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(indptr[-1]) + np.repeat(first - indptr[:-1], lengths)
        rows = np.repeat(np.arange(len(nodes)), lengths)
        return _Edges(rows, self.W.indices[within], self.W.data[within], indptr)

    def part(self, nodes: np.ndarray) -> "_Graph":
        return _Graph(self.W[nodes][:, nodes], self.degrees[nodes])

    def joined(self, labels: np.ndarray, K: int) -> "_Graph":
        """Return the graph whose nodes are the clusters; weight inside a cluster is in its degree alone."""
        rows, columns = np.repeat(labels, np.diff(self.W.indptr)), labels[self.W.indices]
        apart = rows != columns
        W = sp.csr_matrix((self.W.data[apart], (rows[apart], columns[apart])), shape=(K, K))
        return _Graph(W, self.volumes(labels, K))

    def between(self, labels: np.ndarray, K: int) -> np.ndarray:
        """Return the weight between every two clusters (K, K); the diagonal counts inner edges from both ends."""
        rows = np.repeat(labels, np.diff(self.W.indptr))
        return _sums(rows * K + labels[self.W.indices], self.W.data, K * K).reshape(K, K)

    def volumes(self, labels: np.ndarray, K: int) -> np.ndarray:
        return _sums(labels, self.degrees, K)

    def modularity(self, labels: np.ndarray) -> float:
        inside = np.repeat(labels, np.diff(self.W.indptr)) == labels[self.W.indices]
        return float(self.W.data[inside].sum() - (self.volumes(labels, 0) ** 2).sum())

    def normalized_cut(self, labels: np.ndarray) -> float:
        volumes = self.volumes(labels, 0)
        rows = np.repeat(labels, np.diff(self.W.indptr))
        leaving = rows != labels[self.W.indices]
        cuts = _sums(rows[leaving], self.W.data[leaving], len(volumes))
        return float(np.divide(cuts, volumes, out=np.zeros_like(cuts), where=volumes > 0).sum())


def _sums(names: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Return the sum (count,) of the values under each name in [0, count); float64 even if there are no values."""
    return np.bincount(names, values, count).astype(np.float64, copy=False)


# ----------------------------------------------------------------------------------------------------- small components


def _components(graph: _Graph) -> list[np.ndarray]:
    """Return the nodes of each connected component, largest volume first, then smallest node."""
    _, component = connected_components(graph.W, directed=False)  # numbered in order of their first nodes
    by_volume = np.argsort(-graph.volumes(component, 0), kind="stable")
    nodes = np.argsort(np.argsort(by_volume)[component], kind="stable")
    return np.split(nodes, np.cumsum(np.bincount(component)[by_volume])[:-1])


def _n_kept(graph: _Graph, components: list[np.ndarray], K: int) -> int:
    """Return how many components, from the largest volume on, are to be clustered."""
    large = [nodes for nodes in components if K * graph.degrees[nodes].sum() >= _DUST]
    return len(large) if sum(map(len, large)) >= K else min(K, len(components))


def _put_into_smallest(graph: _Graph, labels: np.ndarray, K: int, components: list[np.ndarray]) -> None:
    """Put each of these unlabelled (< 0) components into the cluster of then least volume, in place."""
    labelled = labels >= 0
    smallest = [(volume, k) for k, volume in enumerate(_sums(labels[labelled], graph.degrees[labelled], K))]
    heapq.heapify(smallest)
    for nodes in components:
        volume, k = smallest[0]
        labels[nodes] = k
        heapq.heapreplace(smallest, (volume + graph.degrees[nodes].sum(), k))


# --------------------------------------------------------------------------------------------------------------- starts


def _starts(graph: _Graph, K: int, random_state: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the labels of partitions into about K clusters."""
    n = len(graph.degrees)
    if K in (1, n):
        yield "only partition", np.arange(n) % K
        return
    components = _components(graph)
    if len(components) >= K:
        labels = np.full(n, -1)
        for k, nodes in enumerate(components[:K]):
            labels[nodes] = k
        _put_into_smallest(graph, labels, K, components[K:])
        yield "components", labels
    n_components = max(len(components), K)
    most = min(n, n_components + K)  # K more than tell components apart
    vectors = smallest_eigenvectors(graph.W, most, random_state=random_state).vectors
    for m in sorted({min(m, most) for m in (K, K + 2, 3 * K // 2, 2 * K)}):
        yield f"spectral m={m}", _k_means(vectors[:, :m], K, _STARTS, random_state)
    for times in (3, 5):
        count = min(n, n_components + (times - 1) * K)
        small = _by_appearance(_k_means(vectors, count, 1, random_state))
        yield f"merge {times}K by modularity", _merge(graph, small, K, _modularity_gain)
        yield f"merge {times}K by conductance", _merge(graph, small, K, _share_joined)


def _louvain_starts(graph: _Graph, K: int, random_state: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the labels of Louvain's groups, merged greedily until K are left and refined level by level.

    The resolutions are 1, 2 and 4, or the same multiples of the power of 2 at which there are K groups or more.
    """
    n, scale = len(graph.degrees), 1
    if K in (1, n):
        return
    for times in _RESOLUTIONS:
        while True:
            levels, _ = _levels(graph, np.zeros(n, dtype=np.int64), scale * times, random_state)
            top = levels[-1].graph
            if len(top.degrees) >= K:
                break
            scale *= 2
        labels = _merge(top, np.arange(len(top.degrees)), K, _modularity_gain)
        yield f"Louvain r={scale * times}", _refined_downwards(levels, labels, random_state)


class _Level(NamedTuple):
    graph: _Graph
    group: np.ndarray  # (n,) the node of the next level that each node belongs to; at the last level, the node itself


def _levels(graph: _Graph, labels: np.ndarray, resolution: float, random_state: int) -> tuple[list[_Level], np.ndarray]:
    """Return the graph, Louvain's graph of groups of its nodes, of groups of groups and so on, and the last's labels.

    At each level every node is a group of its own at first; nodes then move to the neighbouring group that gains most.
    No group spans clusters of `labels`. At resolution r the weight expected inside groups counts r times.
    """
    levels: list[_Level] = []
    while True:
        rows, every = np.repeat(labels, np.diff(graph.W.indptr)), np.arange(len(labels))
        inside = graph.W.copy()
        inside.data *= rows == labels[inside.indices]
        inside.eliminate_zeros()
        within = _Graph(inside, graph.degrees * np.sqrt(resolution))  # gains have products of two degrees
        group = _by_appearance(_refine(within, every, random_state, keep_all=False))
        count = int(group.max()) + 1
        if count == len(labels):
            return [*levels, _Level(graph, every)], labels
        levels.append(_Level(graph, group))
        graph, labels = graph.joined(group, count), labels[np.unique(group, return_index=True)[1]]


def _refined_downwards(levels: list[_Level], labels: np.ndarray, random_state: int) -> np.ndarray:
    """Return labels (N,) of the first level from those of the last: whole groups move first, their nodes last."""
    for graph, group in reversed(levels):
        labels = _refine(graph, labels[group], random_state)
    return labels


def _k_means(vectors: np.ndarray, K: int, n_init: int, random_state: int) -> np.ndarray:
    """Return k-means labels of rows scaled to norm 1, on one thread: more threads change scikit-learn's sums."""
    _, exponents = np.frexp(np.abs(vectors).max(axis=1, keepdims=True))
    vectors = np.ldexp(vectors, -exponents)  # by powers of 2, exactly: the square of 1e-160 is 0
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    with _LIBRARIES.limit(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `_exactly` handles fewer distinct rows than K
        labels: np.ndarray = KMeans(K, n_init=n_init, random_state=random_state).fit(rows).labels_
    return labels.astype(np.int64)


def _modularity_gain(between: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return half the gain of modularity from merging clusters, given the weight between them and their volumes."""
    gain: np.ndarray = between - one * other
    return gain


def _share_joined(between: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the share of the smaller cluster's volume that leads to the other; if 0, half the gain (< 0) of Q."""
    shares: np.ndarray = np.divide(between, np.minimum(one, other), out=-one * other, where=between > 0)
    return shares


def _merge(graph: _Graph, labels: np.ndarray, K: int, score: Callable[..., np.ndarray]) -> np.ndarray:
    """Return the partition after merging the pair of clusters of highest score, repeatedly, until K are left."""
    count = int(labels.max()) + 1
    between, volumes = graph.between(labels, count), graph.volumes(labels, count)
    names = np.arange(count)
    scores = score(between, volumes[:, None], volumes)
    np.fill_diagonal(scores, -np.inf)
    for _ in range(count - K):
        a, b = np.unravel_index(scores.argmax(), scores.shape)
        names[names == b] = a
        between[a] += between[b]
        between[:, a] += between[:, b]
        volumes[a] += volumes[b]
        updated = np.where(np.isfinite(scores[a]), score(between[a], volumes[a], volumes), -np.inf)
        scores[a] = scores[:, a] = updated
        scores[b] = scores[:, b] = -np.inf
    return _by_appearance(names[labels])


def _exactly(graph: _Graph, labels: np.ndarray, K: int) -> np.ndarray:
    """Return the partition after splitting the cluster that gains most modularity, repeatedly, until there are K."""
    labels = _by_appearance(labels)
    count = int(labels.max()) + 1
    if count == K:
        return labels
    cuts = [_cut_in_two(graph, np.flatnonzero(labels == k)) for k in range(count)]
    for new in range(count, K):
        k = max(range(new), key=lambda k: cuts[k].gain)
        labels[cuts[k].side] = new
        cuts[k] = _cut_in_two(graph, np.flatnonzero(labels == k))
        cuts.append(_cut_in_two(graph, np.flatnonzero(labels == new)))
    return labels


# ---------------------------------------------------------------------------------------------------------- improvement


def _refine(graph: _Graph, labels: np.ndarray, random_state: int, *, keep_all: bool = True) -> np.ndarray:
    """Return labels from which no single node's move raises modularity; none of the K clusters is ever emptied.

    Without `keep_all`, clusters may end empty, and nodes move to clusters of neighbours only, for K as large as n.

    The first sweep visits all nodes. Further sweeps visit only neighbours of nodes that moved, until no node moves. All
    nodes are then visited again, because the clusters' volumes have changed too.
    """
    rng = np.random.default_rng(random_state)
    labels = labels.copy()
    n, K = len(labels), int(labels.max()) + 1
    volumes, sizes = graph.volumes(labels, K), np.bincount(labels)
    best_moves, smallest = (_best_moves, 1) if keep_all else (_moves_to_neighbours, _SMALLEST)
    everyone = np.arange(n)
    awake = everyone
    for _ in range(_SWEEPS):
        woken = np.zeros(n, dtype=bool)
        for block in np.array_split(rng.permutation(awake), min(_BLOCKS, -(-len(awake) // smallest))):
            gains, targets = best_moves(graph, block, labels, volumes)
            order = np.argsort(-gains, kind="stable")[: np.count_nonzero(gains > _RISE)]
            if keep_all:
                order = order[_leaves_none_empty(labels[block[order]], sizes)]
            # Moves chosen at once may interact; the best half interacts less, and a single move's gain is exact.
            while len(order):
                movers, old, new = block[order], labels[block[order]], targets[order]
                edges = graph.edges(movers)
                if _rise(graph, edges, movers, new, labels, volumes) > _RISE:
                    labels[movers] = new
                    volumes = graph.volumes(labels, K)
                    sizes += np.bincount(new, minlength=K) - np.bincount(old, minlength=K)
                    woken[edges.indices] = True
                    break
                order = order[: len(order) // 2]
        if woken.any():
            awake = np.flatnonzero(woken)
        elif awake is everyone:
            break
        else:
            awake = everyone
    return labels


def _best_moves(
    graph: _Graph, nodes: np.ndarray, labels: np.ndarray, volumes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rise of modularity by each node's best move, made alone, and the cluster that the move leads to."""
    edges, degrees, own = graph.edges(nodes), graph.degrees[nodes], labels[nodes]
    every = np.arange(len(nodes))
    shape = (len(nodes), len(volumes))
    ties = _sums(edges.rows * shape[1] + labels[edges.indices], edges.data, shape[0] * shape[1]).reshape(shape)
    ties -= degrees[:, None] * volumes
    staying = ties[every, own] + degrees**2  # the own cluster's expected weight leaves the node itself out
    ties[every, own] = -np.inf
    targets = ties.argmax(axis=1)
    return 2 * (ties[every, targets] - staying), targets


def _moves_to_neighbours(
    graph: _Graph, nodes: np.ndarray, labels: np.ndarray, volumes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_best_moves` does, among clusters of the nodes' neighbours; without such, a rise of -inf."""
    edges, own = graph.edges(nodes), labels[nodes]
    ties = sp.csr_matrix((edges.data, labels[edges.indices], edges.indptr), shape=(len(nodes), len(volumes)))
    ties.sum_duplicates()
    rows = np.repeat(np.arange(len(nodes)), np.diff(ties.indptr))
    degrees, columns = graph.degrees[nodes], ties.indices
    gains = ties.data - degrees[rows] * volumes[columns]
    staying = degrees * (degrees - volumes[own])
    at_home = columns == own[rows]
    staying[rows[at_home]] += ties.data[at_home]
    gains[at_home] = -np.inf
    best, targets = np.full(len(nodes), -np.inf), own.copy()
    tied = np.flatnonzero(np.diff(ties.indptr))
    best[tied] = np.maximum.reduceat(gains, ties.indptr[tied]) if len(tied) else -np.inf
    hits = np.flatnonzero(gains == best[rows])[::-1]  # of equals, the first is written last
    targets[rows[hits]] = columns[hits]
    return 2 * (best - staying), targets


def _leaves_none_empty(old: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return a mask of the moves out of `old`, best first, that empty no cluster: a cluster's worst move may go."""
    allowed = np.ones(len(old), dtype=bool)
    for k in np.flatnonzero(np.bincount(old, minlength=len(sizes)) == sizes):
        allowed[np.flatnonzero(old == k)[-1]] = False
    return allowed


def _rise(
    graph: _Graph, edges: _Edges, movers: np.ndarray, new: np.ndarray, labels: np.ndarray, volumes: np.ndarray
) -> float:
    """Return the rise of modularity if all `movers` (m,), which have these edges, move at once."""
    after = labels.copy()
    after[movers] = new
    rows, columns = movers[edges.rows], edges.indices
    change = (after[rows] == after[columns]).astype(np.float64) - (labels[rows] == labels[columns])
    both = after[columns] != labels[columns]  # both ends move: `edges` has the edge twice
    volumes_after = graph.volumes(after, len(volumes))
    inside = (edges.data * change * np.where(both, 1, 2)).sum()
    return float(inside - ((volumes_after - volumes) * (volumes_after + volumes)).sum())


class _Cut(NamedTuple):
    gain: float  # rise of modularity
    side: np.ndarray  # the nodes on one side


def _cut_in_two(graph: _Graph, nodes: np.ndarray) -> _Cut:
    """Return a cut of a cluster in two: of two kinds of cut, the one that gains more modularity.

    The first is the sweep cut of smallest normalised cut along the Fiedler vector of the largest component. The second
    lies between the components, largest first, where it gains most modularity.
    """
    if len(nodes) < 2:
        return _Cut(-np.inf, nodes[:0])
    W, degrees = graph.W[nodes][:, nodes], graph.degrees[nodes]
    _, component = connected_components(W, directed=False)
    rank = np.argsort(np.argsort(-np.bincount(component), kind="stable"))[component]
    largest = np.flatnonzero(rank == 0)
    position = np.zeros(len(nodes))
    if len(largest) > 1:
        main = W[largest][:, largest]
        position[largest] = smallest_eigenvectors(main, 2).vectors[:, 1] / np.sqrt(np.asarray(main.sum(axis=1)).ravel())
    order = np.lexsort((position, rank))
    place = np.empty_like(order)
    place[order] = np.arange(len(nodes))
    start, end = np.repeat(place, np.diff(W.indptr)), place[W.indices]
    once = start < end
    opened, closed = (_sums(ends[once], W.data[once], len(nodes)) for ends in (start, end))
    # Entry t describes the cut between the first t + 1 nodes and the others.
    cut = np.cumsum(opened - closed)[:-1]
    one, other = np.cumsum(degrees[order])[:-1], np.cumsum(degrees[order][::-1])[-2::-1]
    gain = 2 * (one * other - cut)
    within = len(largest) - 1
    choices = [within + int(np.argmax(gain[within:]))] if within < len(gain) else []
    if within:
        least = _LIGHTEST * degrees.sum()
        normalized = (cut + least) / np.maximum(one, least) + (cut + least) / np.maximum(other, least)
        choices.append(int(np.argmin(normalized[:within])))
    best = max(choices, key=lambda t: gain[t])
    return _Cut(float(gain[best]), nodes[order[: best + 1]])


def _split_merge(graph: _Graph, labels: np.ndarray, random_state: int) -> np.ndarray:
    """Return labels improved by cutting one cluster in two, merging another pair and refining, while that helps."""
    K, reached = int(labels.max()) + 1, graph.modularity(labels)
    if K < 2:
        return labels
    known: dict[bytes, _Cut] = {}  # cuts by cluster: a step leaves most clusters as they were
    improved = True
    while improved:
        improved = False
        clusters = {nodes.tobytes(): nodes for nodes in (np.flatnonzero(labels == k) for k in range(K))}
        known = {key: known.get(key) or _cut_in_two(graph, nodes) for key, nodes in clusters.items()}
        cuts = list(known.values())
        trials = []
        for k in sorted(range(K), key=lambda k: -cuts[k].gain)[:_TRIALS]:
            if len(cuts[k].side):
                trial = labels.copy()
                trial[cuts[k].side] = K
                trial = _merge_once(graph, trial, K, k)
                trials.append((graph.modularity(trial), trial))
        for _, trial in sorted(trials, key=lambda pair: -pair[0]):
            trial = _refine(graph, trial, random_state)
            if (value := graph.modularity(trial)) > reached + _RISE:
                labels, reached, improved = trial, value, True
                break
    return labels


def _regroup(graph: _Graph, labels: np.ndarray, random_state: int) -> np.ndarray:
    """Return labels improved by moves of Louvain's groups inside clusters, then of smaller ones, then of nodes.

    A part of a cluster that belongs to another gets there whole, even where each of its nodes would lose by a move of
    its own. Rounds with other groups follow for as long as modularity rises.
    """
    reached, before = graph.modularity(labels), -np.inf
    while reached > before + _REGROUPED:
        random_state, before = random_state + 1, reached
        levels, top = _levels(graph, labels, _RESOLUTIONS[-1], random_state)
        labels = _refined_downwards(levels, top, random_state)
        reached = graph.modularity(labels)
    return labels


def _merge_once(graph: _Graph, labels: np.ndarray, K: int, k: int) -> np.ndarray:
    """Return K clusters made of K + 1: the best pair by modularity is merged, except k and K, just cut apart."""
    volumes = graph.volumes(labels, K + 1)
    gains = _modularity_gain(graph.between(labels, K + 1), volumes[:, None], volumes)
    np.fill_diagonal(gains, -np.inf)
    gains[k, K] = gains[K, k] = -np.inf
    a, b = np.unravel_index(gains.argmax(), gains.shape)  # a < b, by symmetry
    merged = np.where(labels == b, a, labels)
    return np.where(merged == K, b, merged)
