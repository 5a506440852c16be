"""AC-GDL, SC-LS and GNMF, which train no network, against named peers that do the same or serve the same end.

Contestants take turns on one thread and in one process; the table has medians of CPU seconds and of their ratios.

- Merging, on --n samples: `agglomerate` against textbook merging, which holds the weights and all affinities densely,
  searches all pairs for the largest in every merge, and makes the merged cluster's affinities anew. Both must make the
  same merges.
- GNMF, on --n samples: iterations without the graph (lam = 0) and with it, against those of scikit-learn's
  `NMF(solver="mu")` from the same start, with the largest difference of factors without the graph, as a share of the
  largest entry.
- SC-LS, the whole method, on --large samples: against scikit-learn's `SpectralClustering` on a graph of ten nearest
  neighbours, with the agreement of the two (adjusted Rand index).

    python bench/training_free.py                    # MNIST if DEEPCLUST_MIRROR is set, else synthetic
    python bench/training_free.py --n 4000 --turns 5
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from knn import load  # type: ignore[import-not-found]  # bench/ is the script's folder, not a package
from sklearn.cluster import SpectralClustering
from sklearn.decomposition import non_negative_factorization
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from deepclust.graph.agglomerate import agglomerate, digraph_weights, nearest_components
from deepclust.graph.knn import knn_graph
from deepclust.methods.graph.gnmf import _Data
from deepclust.methods.graph.sc_ls import SCLS

N_CLUSTERS, ITERATIONS = 10, 20


def textbook(W: np.ndarray, start: np.ndarray) -> list[list[int]]:
    """Return the merges of graph degree linkage, from dense matrices."""
    S = np.eye(start.max() + 1)[start]  # (N, C)
    n = S.sum(axis=0)

    def affinities(rows: np.ndarray) -> np.ndarray:
        return np.asarray((((rows.T @ W) * (rows.T @ W.T)) @ S) / np.square(rows.sum(axis=0))[:, None])

    L = affinities(S)
    alive = np.ones(len(n), dtype=bool)
    merges = []
    while alive.sum() > N_CLUSTERS:
        A = np.where(np.triu(alive[:, None] & alive, 1), L + L.T, -1)
        i, j = map(int, np.divmod(A.argmax(), len(n)))
        S[:, i] += S[:, j]
        S[:, j], alive[j] = 0, False
        L[:, i] += L[:, j]
        L[i] = affinities(S[:, [i]])[0]
        merges.append([i, j])
    return merges


def factorize(X: np.ndarray, lam: float, U: np.ndarray, V: np.ndarray) -> Callable[[], Any]:
    data = _Data(X.astype(np.float64), lam, 5, normalize=False)

    def run() -> tuple[np.ndarray, np.ndarray]:
        u, v = U.copy(), V.copy()
        for _ in range(ITERATIONS):
            data.step(u, v)
        return u, v

    return run


def scikit_learn(X: np.ndarray, U: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged after so few iterations
        W, H, _ = non_negative_factorization(
            X.astype(np.float64), V.copy(), U.T.copy(), init="custom", solver="mu", max_iter=ITERATIONS, tol=0
        )
    return H.T, W


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist" if os.environ.get("DEEPCLUST_MIRROR") else "synthetic")
    parser.add_argument("--n", type=int, default=2000, help="samples for merging and factors")
    parser.add_argument("--large", type=int, default=5000, help="samples for SC-LS")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()

    large = load(options.dataset, options.large)
    X = load(options.dataset, options.n)
    X = (X - X.min()) / (X.max() - X.min())
    knn = knn_graph(X, 20)
    W, start = digraph_weights(knn), nearest_components(knn)
    dense = W.toarray()
    rng = np.random.default_rng(0)
    U, V = rng.random((X.shape[1], N_CLUSTERS)), rng.random((len(X), N_CLUSTERS))
    spectral = SpectralClustering(N_CLUSTERS, affinity="nearest_neighbors", random_state=0)
    ours: dict[str, tuple[Callable[[], Any], str]] = {
        "AC-GDL, merging": (lambda: agglomerate(sp.csr_matrix(W), start, N_CLUSTERS).merges.tolist(), "textbook"),
        "SC-LS": (lambda: SCLS(N_CLUSTERS, random_state=0).fit(large).labels_, "SpectralClustering"),
        "GNMF, lam = 0": (factorize(X, 0.0, U, V), "NMF(mu)"),
        "GNMF, lam = 100": (factorize(X, 100.0, U, V), "NMF(mu)"),
    }
    peers: dict[str, Callable[[], Any]] = {
        "textbook": lambda: textbook(dense, start),
        "SpectralClustering": lambda: spectral.fit(large).labels_,
        "NMF(mu)": lambda: scikit_learn(X, U, V),
    }
    seconds: dict[str, list[float]] = {}
    found: dict[str, Any] = {}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn's, of a graph in several components
        for _ in range(options.turns):
            for name, run in [*((name, run) for name, (run, _) in ours.items()), *peers.items()]:
                begun = time.process_time()
                found[name] = run()
                seconds.setdefault(name, []).append(time.process_time() - begun)

    if found["AC-GDL, merging"] != found["textbook"]:
        raise RuntimeError("fast and textbook merging differ")
    pairs = zip(found["GNMF, lam = 0"], found["NMF(mu)"], strict=True)
    remarks = {
        "AC-GDL, merging": f"the same {len(found['textbook'])} merges of {start.max() + 1} clusters",
        "SC-LS": f"ARI {adjusted_rand_score(found['SC-LS'], found['SpectralClustering']):.2f}",
        "GNMF, lam = 0": f"factors within {max(float(np.abs(a - b).max() / b.max()) for a, b in pairs):.0e}",
    }
    print(f"{options.dataset}: {len(X)} and {len(large)} x {X.shape[1]}, one thread, medians of {options.turns} turns")
    print(f"GNMF and NMF: {ITERATIONS} iterations\n")
    print("| | seconds | peer | seconds | peer / ours | |\n|---|---:|---|---:|---:|---|")
    for name, (_, peer) in ours.items():
        mine, theirs = (statistics.median(seconds[key]) for key in (name, peer))
        ratio = statistics.median(b / a for a, b in zip(seconds[name], seconds[peer], strict=True))
        print(f"| {name} | {mine:.3f} | {peer} | {theirs:.3f} | {ratio:.1f} | {remarks.get(name, '')} |")


if __name__ == "__main__":
    main()
