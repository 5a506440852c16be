"""Sparse self-expression: deepclust's ADMM against its FISTA and scikit-learn's Lasso, and ADMM on a large data set.

Codes of 10 features in --clusters anisotropic Gaussian clusters; candidates of a row are its 10 nearest neighbours;
coefficients >= 0. All contestants solve the same problem of --n rows, in at most --max-iter iterations, in one run, on
one thread. scikit-learn fits one row at a time and gets a sample of --rows rows, its time extrapolated to all rows; its
tolerance makes its gaps about as large as FISTA's. The table has seconds, ratios to ADMM's, and the relative duality
gaps of the coefficients as returned, float32 or not, by one certificate for all (median, largest, and share of rows
above 1e-4). Then ADMM alone solves --large rows; the memory is printed, too (Linux).

    python bench/self_expression.py
    python bench/self_expression.py --alpha 0.1 --large 20000
"""

import argparse
import contextlib
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from knn import memory_mb  # type: ignore[import-not-found]  # bench/ is the script's folder, not a package
from sklearn.linear_model import Lasso
from torch import Tensor

from deepclust.graph.knn import knn_graph
from deepclust.solvers.composite import relative_gap
from deepclust.solvers.lasso import OwnAtoms
from deepclust.solvers.self_expression import Solver, sparse_self_expression

N_FEATURES, N_CANDIDATES, TOLERANCE = 10, 10, 1e-4


def codes(n: int, clusters: int) -> tuple[Tensor, Tensor]:
    """Return H (n, 10), float32, and the numbers (n, 10) of the nearest neighbours."""
    rng = np.random.default_rng(0)
    centers = 2 * rng.normal(size=(clusters, N_FEATURES))
    shapes = rng.normal(size=(clusters, N_FEATURES, N_FEATURES)) * np.geomspace(1, 0.1, N_FEATURES)
    H = np.empty((n, N_FEATURES), dtype=np.float32)
    for cluster, members in enumerate(np.array_split(np.arange(n), clusters)):
        H[members] = centers[cluster] + rng.normal(size=(len(members), N_FEATURES)) @ shapes[cluster].T
    neighbours = knn_graph(H, N_CANDIDATES).indices.reshape(n, N_CANDIDATES)
    return torch.from_numpy(H), torch.from_numpy(neighbours.astype(np.int64))


def sklearn_rows(H: Tensor, support: Tensor, alpha: float) -> Tensor:
    """Return the coefficients of the first rows, as many as `support` has, by coordinate descent."""
    exact = H.double().numpy()
    model = Lasso(alpha / (2 * N_FEATURES), fit_intercept=False, positive=True, tol=1e-6, max_iter=10_000)
    found = [model.fit(exact[atoms].T, exact[i]).coef_.copy() for i, atoms in enumerate(support.numpy())]
    return torch.from_numpy(np.array(found))


def forget_peak() -> None:
    """Let VmHWM count from here on (Linux; elsewhere the memory is printed as nan)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=9_298, help="rows all contestants solve")
    parser.add_argument("--large", type=int, default=70_000, help="rows ADMM solves alone; 0 for none")
    parser.add_argument("--rows", type=int, default=500, help="rows scikit-learn gets")
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--alpha", type=float, default=0.01, help="relative to the mean squared norm of the codes")
    parser.add_argument("--max-iter", type=int, default=3_000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # rows short of the tolerance are in the table

    H, support = codes(options.n, options.clusters)
    alpha = options.alpha * H.double().square().sum(dim=1).mean().item()
    rows = min(options.rows, options.n)

    def ours(solver: Solver, max_iter: int) -> Callable[[], Tensor]:
        return lambda: sparse_self_expression(H, support, alpha, solver=solver, max_iter=max_iter).coefficients

    contestants: dict[str, tuple[Callable[[], Tensor], int]] = {
        "admm": (ours("admm", options.max_iter), options.n),
        "fista": (ours("fista", options.max_iter), options.n),
        "fista, 50": (ours("fista", 50), options.n),
        "sklearn": (lambda: sklearn_rows(H, support[:rows], alpha), rows),
    }
    for contestant, _ in contestants.values():
        contestant()  # warm-up
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    found: dict[str, Tensor] = {}
    for _ in range(options.turns):
        for name, (contestant, solved) in contestants.items():
            start = time.perf_counter()
            found[name] = contestant()
            seconds[name].append((time.perf_counter() - start) * options.n / solved)

    print(f"{options.clusters} anisotropic Gaussian clusters, {options.n} x {N_FEATURES}, {N_CANDIDATES} candidates,")
    print(f"alpha = {options.alpha:g} mean ||h||^2, one thread; sklearn: {rows} rows, seconds extrapolated to all")
    print(f"{'':12}{'seconds':>9}{'/ admm':>9}{'median gap':>12}{'largest':>10}{'above 1e-4':>12}")
    exact = H.double()
    for name, Z in found.items():
        problem = OwnAtoms(exact[support[: len(Z)]], exact[: len(Z)], alpha, nonnegative=True)
        gap = relative_gap(*problem.certificate(Z.double()))
        ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds["admm"], strict=True))
        above = (gap > TOLERANCE).double().mean().item()
        print(
            f"{name:12}{statistics.median(seconds[name]):9.2f}{ratio:9.1f}{gap.median().item():12.1e}"
            f"{gap.max().item():10.1e}{above:12.2%}"
        )

    if options.large:
        H, support = codes(options.large, options.clusters)
        alpha = options.alpha * H.double().square().sum(dim=1).mean().item()
        forget_peak()
        before = memory_mb("VmRSS")
        start = time.perf_counter()
        large = sparse_self_expression(H, support, alpha)
        elapsed = time.perf_counter() - start
        print(
            f"{options.large} rows: {elapsed:.2f} s, largest gap {large.gap.max().item():.1e}, "
            f"{memory_mb('VmHWM') - before:.0f} MB at the peak beyond the codes, result included"
        )


if __name__ == "__main__":
    main()
