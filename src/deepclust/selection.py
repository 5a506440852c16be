"""How many clusters, where nobody knows: K by modularity of the neighbour graph, and any method judged over a range.

Both look at samples and labels of fits alone. Neither is proof: `docs/own-data.md` has what they found on data whose
classes are known.
"""

import itertools
import logging
import math
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import check_random_state

from deepclust import nets
from deepclust.consensus import Consensus, consensus
from deepclust.errors import SeedFailed, UserError, refuse_masked
from deepclust.graph.adjacency import edge_weights
from deepclust.graph.partition import partition
from deepclust.mapped import mapping_of
from deepclust.methods._graph_cuts import neighbour_graph
from deepclust.methods.base import Clusterer
from deepclust.metrics.internal import internal_of, stability
from deepclust.seeding import derive_seed
from deepclust.settings import checked

LARGEST_GRAPH = 100_000  # samples; beyond, the exact graph of neighbours takes minutes to hours
N_NEIGHBORS = 10
CRITERIA = {  # name -> whether more is better
    "silhouette": True,
    "calinski_harabasz": True,
    "davies_bouldin": False,
    "modularity": True,
    "stability": True,
}
RULE = "silhouette"
_DIGITS = 12  # of modularity; beyond is rounding
_log = logging.getLogger(__name__)


# ----------------------------------------------------------------------------------------------- the graph's modularity


@dataclass(frozen=True)
class Suggestion:
    """The K of highest modularity, and the modularity of the best partition at each K that was tried."""

    n_clusters: int
    tried: dict[int, float]  # K -> modularity, K ascending

    @property
    def modularity(self) -> float:
        return self.tried[self.n_clusters]

    @property
    def runners_up(self) -> list[int]:
        """The other K that were tried, best first."""
        return [K for K in sorted(self.tried, key=lambda K: (-self.tried[K], K)) if self.n_clusters != K]


def suggest_n_clusters(X: Any, *, graph: Any = None, random_state: int = 0) -> Suggestion:
    """Return the number of groups at which the samples' neighbour graph falls apart best: K of highest modularity.

    Modularity compares the weight inside groups with the weight expected at random, so that its values at different K
    can be compared: it rises while a division separates more than chance would, and falls beyond. K = 1 has 0, and is
    the answer where no division has more. `partition` is tried at K = 1, 2, 4, ... until modularity falls, then around
    the best K at half the distance each time: some 3 log2(K) partitions in place of one for every K.

    Parameters
    ----------
    X : array or CSR matrix of shape (N, D)
        Read for the graph of ten neighbours alone (local scaling), as `graph_modularity` and the pipeline make it.
    graph : symmetric edge weights (N, N) > 0, 0 for no edge, sparse or dense; in place of one made from X
    random_state : int in [0, 2**32)
        The searches start from it; see `partition`.

    Raises
    ------
    UserError
        For samples that are no numbers (N, D) or a single one, or a graph that is none or has no edge.

    Notes
    -----
    Newman and Girvan, "Finding and evaluating community structure in networks", Physical Review E 2004, choose the
    number of groups in this way. Modularity has a scale of its own: groups with fewer edges than about the square root
    of twice the graph's are merged (Fortunato and Barthelemy, "Resolution limit in community detection", PNAS 2007),
    and large groups without any inner gap are divided, because a graph of neighbours is sparse (Guimera, Sales-Pardo
    and Amaral, "Modularity from fluctuations in random graphs", Physical Review E 2004). The highest value has near
    ties: read `tried`.
    """
    X = X if sp.issparse(X) else _samples(X)
    if not (isinstance(random_state, int | np.integer) and 0 <= random_state < 2**32):
        raise UserError(f"random_state must be an integer in [0, 2^32), got {random_state!r}")
    W = neighbour_graph(X, N_NEIGHBORS) if graph is None else edge_weights(graph, X.shape[0])
    if not W.nnz:
        raise UserError("graph must have an edge, got none; leave it out, and one of nearest neighbours is made")
    N, tried = W.shape[0], dict[int, float]()

    def best_of(*counts: int) -> int:
        for K in counts:
            if 1 <= K <= N and K not in tried:
                tried[K] = partition(W, K, random_state=random_state).modularity
                _log.info("K = %d: modularity %.4f", K, tried[K])
        return max(tried, key=lambda K: (round(tried[K], _DIGITS), -K))

    best, K = best_of(1), 1
    while best == K < N:
        K = min(2 * K, N)
        best = best_of(K)
    step = best
    while step > 1:
        step = -(-step // 2)
        best = best_of(best - step, best + step)
    while (found := best_of(best - 1, best + 1)) != best:
        best = found
    return Suggestion(best, dict(sorted(tried.items())))


def fit_auto(method: Any, X: Any, *, graph: Any = None, **inputs: Any) -> Any:
    """Return a copy of a method with K = `suggest_n_clusters(X, graph=graph).n_clusters`, fitted to X (N, D).

    `graph` and `inputs` are handed on to `fit`, where the method takes them.
    """
    _refuse_others(method)
    found = suggest_n_clusters(X, graph=graph)
    inputs |= {"graph": graph} if method.reads_graph and graph is not None else {}
    return clone(method).set_params(n_clusters=found.n_clusters).fit(X, **inputs)


# ------------------------------------------------------------------------------------------------------ a range of K


@dataclass(frozen=True)
class Sweep:
    """A method's fits over K and seeds, judged without classes.

    Attributes
    ----------
    table
        A row for each K and seed: `n_clusters`, `seed`, `n_clusters_found` (clusters with a sample), the `CRITERIA`,
        NaN where not defined, and `failed`, why a fit broke down, empty where none did.
    n_clusters
        The K of `choose`, or the only one.
    method
        The fit at that K whose labels are nearest to those of the other seeds with a vote.
    consensus
        The common part of the fits at that K. Seeds that broke down there have no vote, nor have those that found a
        single cluster where others found more.
    """

    table: pd.DataFrame
    n_clusters: int
    method: Any
    consensus: Consensus

    @property
    def best(self) -> dict[str, int]:
        """The K that each criterion would choose by itself, by the same rule, where the criterion is defined at all."""
        return {name: choose(self.table, name) for name in CRITERIA if self.table[name].notna().any()}


def sweep(
    method: Any,
    X: Any,
    n_clusters: Iterable[int],
    *,
    seeds: Iterable[int] = (0, 1, 2),
    graph: Any = None,
    image_shape: Sequence[int] | None = None,
    finished: MutableMapping[tuple[int, int], np.ndarray] | None = None,
) -> Sweep:
    """Fit a method at every K with every seed, judge the labels without classes, and choose a K by `choose`.

    A fit is that of the method with this `n_clusters` and the seed as `random_state`, bit for bit. A network does not
    depend on K: it is pretrained once a seed, and every K starts from a copy.

    Parameters
    ----------
    method : a method, fitted or not, which is left as it is
    X : array of shape (N, D)
    n_clusters : the values of K, integers in [2, N-1]
    seeds : different integers in [0, 2**32)
        Stability needs two, the standard error of `choose` too.
    graph : symmetric edge weights (N, N) > 0, 0 for no edge, sparse or dense
        Handed to the methods that read one, and the graph of which modularity is taken. If left out, methods make their
        own, and modularity is that on ten neighbours, or NaN beyond 100,000 samples.
    image_shape : (channels, height, width), for methods whose network is one for images
    finished : labels (N,) by (K, seed)
        Labels that are there already are judged and not fitted again; new ones are added. The same mapping handed in
        again goes on from where an interrupted sweep ended.

    Raises
    ------
    UserError
        For values of K, seeds or settings out of their ranges, a sparse X, and where all fits broke down, or, at
        several K, found a single cluster, so that no K has a silhouette.
    NotApplicable
        The method cannot work on these samples at all.
    """
    _refuse_others(method)
    if sp.issparse(X):
        raise UserError("the criteria are of dense samples, got sparse ones; hand in X.toarray()")
    X = _samples(X)
    X = X if X.dtype.kind == "f" else X.astype(np.float64)
    for name, several, example in (("n_clusters", n_clusters, "range(2, 13)"), ("seeds", seeds, "range(3)")):
        if not np.iterable(several):
            raise UserError(f"{name} must be several integers, such as [{several}] or {example}, got {several}")
    N, counts, seeds = len(X), sorted(set(n_clusters)), list(seeds)
    if not counts or not all(isinstance(K, int | np.integer) and 2 <= K < N for K in counts):
        got = f"{counts[0]} to {counts[-1]}" if counts else "none"
        raise UserError(f"n_clusters must be integers in [2, N-1={N - 1}], at least one, got {got}")
    whole = all(isinstance(seed, int | np.integer) and 0 <= seed < 2**32 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds must be different integers in [0, 2^32), at least one, got {seeds}")
    for name, value in method.get_params(deep=False).items():
        checked(type(method), name, value)
    given = {"graph": graph} if method.reads_graph and graph is not None else {}
    found = {} if finished is None else finished
    failed: dict[tuple[int, int], str] = {}
    networks: dict[int, Any] = {}

    def fit(K: int, seed: int) -> Any:
        one = clone(method).set_params(n_clusters=int(K), random_state=seed)
        if not method.default_network:
            return one.fit(X, **given)
        if seed not in networks:
            try:
                networks[seed] = pretrained(one, X, image_shape)
            except SeedFailed as error:
                networks[seed] = error
        if isinstance(networks[seed], SeedFailed):
            raise networks[seed]
        return one.fit(X, network=networks[seed], **given)

    for number, (seed, K) in enumerate(itertools.product(seeds, counts), 1):
        if (K, seed) not in found:
            try:
                found[K, seed] = fit(K, seed).labels_
            except SeedFailed as error:
                failed[K, seed] = str(error)
            _log.info("K = %d, seed %d: fit %d of %d", K, seed, number, len(seeds) * len(counts))
    table = judged(X, {key: found[key] for key in found if key[0] in counts and key[1] in seeds}, failed, graph)
    best = counts[0] if len(counts) == 1 and len(failed) < len(seeds) else choose(table)
    ended = [seed for seed in seeds if (best, seed) in found]
    voting = [seed for seed in ended if len(np.unique(found[best, seed])) > 1] or ended
    common = consensus([found[best, seed] for seed in voting])
    return Sweep(table, best, fit(best, voting[common.nearest]), common)


def _refuse_others(method: Any) -> None:
    """Raise UserError unless this is a method of `deepclust.methods` or a subclass of their base."""
    if not isinstance(method, Clusterer):
        got = f"the class {method.__name__}; call it" if isinstance(method, type) else type(method).__name__
        raise UserError(f"method must be one of deepclust.methods or a Clusterer of your own, got {got}")


def _samples(X: Any) -> np.ndarray:
    """Return X as an array (N, D), or raise UserError."""
    refuse_masked("X", X)
    found: np.ndarray = np.asanyarray(X)
    if found.ndim != 2 or found.dtype.kind not in "fiubO":
        raise UserError(f"X must be real numbers of shape (N, D), got {found.dtype} of shape {found.shape}")
    return found


def pretrained(method: Any, X: np.ndarray, image_shape: Sequence[int] | None = None) -> Any:
    """Return the network that `fit` pretrains for this method; for images (C, H, W) one that knows their shape."""
    from deepclust.training.loop import failing_the_seed
    from deepclust.training.pretrain import pretrain
    from deepclust.training.rows import on_device

    name = method.default_network
    name = "mlp" if nets.describe(name).needs_images and not image_shape else name
    settings = {"network": name} | (method.pretraining or {})
    network = nets.make(settings.pop("network"), settings)
    seed = derive_seed(int(check_random_state(method.random_state).randint(2**31 - 1)), "pretrain")
    shape: Any = tuple(image_shape) if image_shape else None
    with failing_the_seed(type(method).__name__):
        return pretrain(on_device(X, method.device), network, seed=seed, image_shape=shape)[0]


def judged(
    X: np.ndarray,
    labels: MutableMapping[tuple[int, int], np.ndarray],
    failed: MutableMapping[tuple[int, int], str],
    graph: Any = None,
) -> pd.DataFrame:
    """Return the table of a `Sweep`: criteria of labels (N,) by (K, seed), and why the other fits failed.

    Silhouette, Davies-Bouldin and modularity are those of `metrics.internal`. Calinski-Harabasz, at least 0, larger is
    better: the squared distances of the clusters' means to the mean of all, weighted by size, over those of the samples
    to their clusters' means, times (N - K) / (K - 1), NaN where no sample is away from its cluster's mean (Calinski and
    Harabasz, "A dendrite method for cluster analysis", 1974). Stability is a labeling's mean adjusted Rand index with
    those of the other seeds at this K; its mean over the seeds is that over all pairs.
    """
    from sklearn.metrics import calinski_harabasz_score

    N = len(X)
    W = sp.csr_matrix((N, N))
    if graph is not None:
        W = edge_weights(graph, N)
    elif N <= LARGEST_GRAPH:
        W = neighbour_graph(X, N_NEIGHBORS)
    X = widened(X)
    by_shape = internal_of(X, W)
    agreement: dict[tuple[int, int], float] = {}
    for K in {K for K, _ in labels}:
        keys = [key for key in labels if key[0] == K]
        agreement |= dict(zip(keys, stability([labels[key] for key in keys]), strict=False))
    rows = []
    for K, seed in sorted({*labels, *failed}):
        row: dict[str, Any] = {"n_clusters": int(K), "seed": int(seed), "n_clusters_found": 0}
        row |= dict.fromkeys(CRITERIA, math.nan) | {"failed": failed.get((K, seed), "")}
        if (own := labels.get((K, seed))) is not None:
            row |= by_shape(own) | {"n_clusters_found": len(np.unique(own))}
            row["modularity"] = row["modularity"] if W.nnz else math.nan
            row["stability"] = agreement.get((K, seed), math.nan)
            if 1 < row["n_clusters_found"] < N:
                _, first, clusters = np.unique(own, return_index=True, return_inverse=True)
                if (X[first[clusters]] != X).any():  # else no sample is away from its mean: a division by 0
                    row["calinski_harabasz"] = float(calinski_harabasz_score(X, own))
        rows.append(row)
    return pd.DataFrame(rows)


def widened(X: np.ndarray) -> np.ndarray:
    """Return X in float64, in whose sums over many samples no digit is missed; as float32 where it is in a file."""
    return X.astype(np.float64 if mapping_of(X) is None else np.result_type(X, np.float32), copy=False)


def choose(table: pd.DataFrame, criterion: str = RULE) -> int:
    """Return the smallest K whose mean over seeds is within one standard error of the best mean; by silhouette.

    The standard error is that of the mean at the best K, 0 for a single seed. Fits that broke down do not count.

    Silhouette is the rule because its value means the same at every K (no factor of N or K, bounded), because it was
    made for this choice (Rousseeuw, "Silhouettes", 1987), and because it was at the top of 30 indices on 720 made data
    sets and 20 real ones (Arbelaitz et al., "An extensive comparative study of cluster validity indices", Pattern
    Recognition 2013). The smallest K within the error is the one-standard-error rule (Breiman et al., "Classification
    and Regression Trees", 1984): between fits that the seeds do not tell apart, the simpler one. Stability alone would
    be no rule: it tells how sure the optimum is, not how many clusters there are (von Luxburg, "Clustering stability:
    an overview", 2010).

    Raises UserError where the criterion is defined at no K.
    """
    if criterion not in CRITERIA:
        raise UserError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")
    sign = 1 if CRITERIA[criterion] else -1
    of_each = (sign * table[criterion]).groupby(table["n_clusters"])
    means = of_each.mean().dropna()
    if means.empty:
        reasons = "; ".join(dict.fromkeys(reason for reason in table["failed"] if reason))
        raise UserError(f"no K has a {criterion}: {reasons or 'every fit found a single cluster, or one a sample'}")
    values, errors = means.to_numpy(), of_each.sem().fillna(0)[means.index].to_numpy()
    return int(means.index[values >= values.max() - errors[values.argmax()]][0])
