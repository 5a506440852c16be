"""Smallest eigenpairs of a graph's normalised Laplacian: deepclust against the graph's own cost and scikit-learn.

First, on --n samples: the seconds of `smallest_eigenvectors` as a ratio to those of the `knn_graph` it works on
(target: at most 0.1), with the largest residual ||L v - lambda v||. Then, on --small samples: the same eigenpairs
through `sklearn.manifold.spectral_embedding`, whose default is shift-invert ARPACK, as a ratio to ours, with the
difference between the subspaces found (sine of the largest principal angle).

    python bench/spectral.py                         # MNIST if DEEPCLUST_MIRROR is set, else synthetic
    python bench/spectral.py --dataset synthetic --n 20000 --small 2000
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import scipy.linalg
from knn import load  # type: ignore[import-not-found]  # bench/ is the script's folder, not a package
from sklearn.manifold import spectral_embedding

from deepclust.graph.knn import knn_graph
from deepclust.graph.laplacian import laplacian
from deepclust.graph.spectral import smallest_eigenvectors
from deepclust.graph.weights import gaussian_weights

T = TypeVar("T")


def timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist" if os.environ.get("DEEPCLUST_MIRROR") else "synthetic")
    parser.add_argument("--n", type=int, default=70_000, help="samples of the large graph")
    parser.add_argument("--small", type=int, default=5_000, help="samples of the graph that scikit-learn gets")
    parser.add_argument("--k", type=int, default=10, help="number of neighbours")
    parser.add_argument("--n-components", type=int, default=10, help="number of eigenpairs")
    options = parser.parse_args()

    X = load(options.dataset, options.n)
    print(f"{options.dataset}: {len(X)} x {X.shape[1]}, k = {options.k}, {options.n_components} eigenpairs")
    knn, knn_seconds = timed(lambda: knn_graph(X, options.k))
    W, weight_seconds = timed(lambda: gaussian_weights(knn, bandwidth="local"))
    pairs, seconds = timed(lambda: smallest_eigenvectors(W, options.n_components))
    residual = np.linalg.norm(laplacian(W) @ pairs.vectors - pairs.vectors * pairs.values, axis=0).max()
    print(f"knn_graph {knn_seconds:.2f} s, gaussian_weights {weight_seconds:.2f} s")
    print(f"smallest_eigenvectors {seconds:.2f} s = {seconds / knn_seconds:.3f} of knn_graph, residual {residual:.1e}")

    small = gaussian_weights(knn_graph(X[: options.small], options.k), bandwidth="local")
    ours, our_seconds = timed(lambda: smallest_eigenvectors(small, options.n_components))
    count = {"n_components": options.n_components, "drop_first": False, "random_state": 0}
    theirs, their_seconds = timed(lambda: spectral_embedding(small, **count))
    # scikit-learn returns D^-1/2 v; back to v, whose span is then compared.
    span = theirs * np.sqrt(np.asarray(small.sum(axis=1)))
    angle = np.sin(scipy.linalg.subspace_angles(ours.vectors, span).max())
    print(f"{small.shape[0]} samples: ours {our_seconds:.2f} s, scikit-learn {their_seconds:.2f} s")
    print(f"scikit-learn / ours = {their_seconds / our_seconds:.1f}, subspace difference {angle:.1e}")


if __name__ == "__main__":
    main()
