"""Convex clustering: deepclust's accelerated dual gradient (ama) against its ADMM and CVXPY, to the same gap.

The digits (1,797 x 64), or --n of them, with the weights of the method's defaults, at one --gamma in one run on one
thread. ama and admm stop at --tolerance; CVXPY (Clarabel, an interior-point method) gets --rows samples, on which all
three run. The table has seconds (also as a ratio to ama), objective, gap, components and iterations.

    python bench/convex_clustering.py
    python bench/convex_clustering.py --gamma 8 --tolerance 1e-6
"""

import argparse
import importlib
import time
from typing import Any, get_args

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from deepclust.graph.knn import knn_graph
from deepclust.graph.weights import gaussian_weights
from deepclust.solvers.convex_clustering import Solver, convex_clustering


def problem(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return n digits, the pairs of the 10 nearest neighbours and their weights."""
    X = load_digits().data[:n] / 16
    upper = sp.triu(gaussian_weights(knn_graph(X, 10)), 1).tocoo()
    return X, np.column_stack([upper.row, upper.col]).astype(np.int64), np.sqrt(upper.data)


def by_cvxpy(X: np.ndarray, pairs: np.ndarray, weights: np.ndarray, gamma: float) -> float:
    """Return the least objective found."""
    cp: Any = importlib.import_module("cvxpy")  # its types do not name what it exports
    U = cp.Variable(X.shape)
    apart = cp.norm(U[pairs[:, 0]] - U[pairs[:, 1]], 2, axis=1)
    least = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(X - U) + gamma * (weights @ apart))).solve(solver="CLARABEL")
    return float(least)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1797, help="samples")
    parser.add_argument("--rows", type=int, default=200, help="samples CVXPY gets; 0 leaves it out")
    parser.add_argument("--gamma", type=float, default=4.0)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    options = parser.parse_args()
    for n in filter(None, (options.rows, options.n)):
        X, pairs, weights = problem(n)
        print(f"{len(X)} digits, {len(pairs)} pairs, gamma = {options.gamma:g}, gap {options.tolerance:g}, one thread")
        print(f"{'':8}{'seconds':>9}{'/ ama':>8}{'objective':>12}{'gap':>10}{'components':>12}{'iterations':>12}")
        base = 0.0
        with threadpool_limits(1):
            for solver in get_args(Solver):
                start = time.perf_counter()
                found = convex_clustering(X, pairs, weights, options.gamma, solver=solver, tolerance=options.tolerance)
                seconds = time.perf_counter() - start
                base = base or seconds
                values = f"{found.objective:12.4f}{found.gap:10.1e}{found.components.max() + 1:12d}{found.n_iter:12d}"
                print(f"{solver:8}{seconds:9.2f}{seconds / base:8.1f}{values}")
            if n == options.rows:
                start = time.perf_counter()
                least = by_cvxpy(X, pairs, weights, options.gamma)
                seconds = time.perf_counter() - start
                print(f"{'cvxpy':8}{seconds:9.2f}{seconds / base:8.1f}{least:12.4f}")


if __name__ == "__main__":
    main()
