"""Partitions of a neighbourhood graph by modularity: deepclust against spectral clustering on the same graph.

Contenders part one graph (local scaling) into K clusters in one process, on one thread: ours, scikit-learn's
`SpectralClustering` with the read-out of each --assign-labels, and our own `sc_ncut`. The table has seconds, also as a
ratio to those of --peer (below 1: faster), modularity (higher is better) and normalised cut (lower is better).
scikit-learn's shift-invert eigensolver grows faster than the graph; on more than --limit samples it is left out.

    python bench/partition.py                        # MNIST if DEEPCLUST_MIRROR is set, else synthetic
    python bench/partition.py --n 70000              # ours against sc_ncut
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.sparse as sp
from knn import load  # type: ignore[import-not-found]  # bench/ is the script's folder, not a package
from sklearn.cluster import SpectralClustering
from threadpoolctl import threadpool_limits

from deepclust.graph.knn import knn_graph
from deepclust.graph.partition import modularity, normalized_cut, partition
from deepclust.graph.weights import gaussian_weights
from deepclust.methods.graph.sc_ncut import SCNcut


def scikit_learn(W: sp.csr_matrix, K: int, assign_labels: str) -> np.ndarray:
    model = SpectralClustering(K, affinity="precomputed", assign_labels=assign_labels, random_state=0)
    return np.asarray(model.fit(W).labels_)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist" if os.environ.get("DEEPCLUST_MIRROR") else "synthetic")
    parser.add_argument("--n", type=int, default=10_000, help="samples")
    parser.add_argument("--k", type=int, default=10, help="number of neighbours")
    parser.add_argument("--n-clusters", type=int, default=10)
    parser.add_argument("--assign-labels", nargs="*", default=["kmeans", "discretize", "cluster_qr"])
    parser.add_argument("--peer", default="sklearn kmeans", help="whose seconds are 1; sc_ncut's, if it is left out")
    parser.add_argument("--limit", type=int, default=10_000, help="most samples that scikit-learn gets")
    options = parser.parse_args()

    X, K = load(options.dataset, options.n), options.n_clusters
    W = gaussian_weights(knn_graph(X, options.k), bandwidth="local")
    contenders: dict[str, Callable[[], np.ndarray]] = {
        "deepclust": lambda: partition(W, K).labels,
        "sc_ncut": lambda: SCNcut(K, random_state=0).fit(X, graph=W).labels_,
    }
    for name in options.assign_labels if len(X) <= options.limit else []:
        contenders[f"sklearn {name}"] = partial(scikit_learn, W, K, name)
    found: dict[str, tuple[float, np.ndarray]] = {}
    with threadpool_limits(1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            labels = contender()
            found[name] = time.perf_counter() - start, labels
    print(f"{options.dataset}: {len(X)} samples, k = {options.k}, {W.nnz} weights, K = {K}")
    print(f"{'':20s} {'seconds':>8s} {'ratio':>7s} {'modularity':>11s} {'norm. cut':>10s}")
    base = found.get(options.peer, found["sc_ncut"])[0]
    for name, (seconds, labels) in found.items():
        values = f"{modularity(W, labels):11.5f} {normalized_cut(W, labels):10.4f}"
        print(f"{name:20s} {seconds:8.2f} {seconds / base:7.2f} {values}")


if __name__ == "__main__":
    main()
