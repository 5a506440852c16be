"""Exact nearest neighbours: deepclust against faiss's flat index, scikit-learn's brute force and pynndescent.

Every contender searches the k nearest other samples of all samples, in a process of its own, on the same number of
threads, after a warm-up on a few hundred samples that takes imports and compilation out of the timing. The table has
wall and CPU seconds (best of --repeats, by wall), both as ratios to faiss's of the same run (below 1: faster), the
memory of the search beyond the data (Linux), and the recall against deepclust's exact neighbours. Packages that are
not installed are skipped with a line.

    python bench/knn.py                              # MNIST if DEEPCLUST_MIRROR is set, else synthetic, 70,000 x 784
    python bench/knn.py --dataset synthetic --n 20000 --peers deepclust faiss
"""

import argparse
import importlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Search = Callable[[np.ndarray, int], np.ndarray]  # (X, k) -> indices (N, k), or (N, k + 1) with the sample itself


def deepclust() -> Search:
    from deepclust.graph.knn import knn_graph

    return lambda X, k: knn_graph(X, k).indices.reshape(len(X), k)


def faiss() -> Search:
    flat = importlib.import_module("faiss").IndexFlatL2

    def search(X: np.ndarray, k: int) -> np.ndarray:
        index = flat(X.shape[1])
        index.add(X)
        found: np.ndarray = index.search(X, k + 1)[1]
        return found

    return search


def sklearn() -> Search:
    from sklearn.neighbors import NearestNeighbors

    def search(X: np.ndarray, k: int) -> np.ndarray:
        found: np.ndarray = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X).kneighbors(return_distance=False)
        return found

    return search


def pynndescent() -> Search:
    importlib.import_module("pynndescent")
    from deepclust.graph.knn import knn_graph

    return lambda X, k: knn_graph(X, k, exact=False).indices.reshape(len(X), k)


CONTENDERS: dict[str, Callable[[], Search]] = {
    "faiss": faiss,
    "deepclust": deepclust,
    "sklearn": sklearn,
    "pynndescent": pynndescent,
}


def load(dataset: str, n: int) -> np.ndarray:
    """Return n samples of 784 features: of a published data set, or 50 Gaussian clusters of 20 intrinsic dimensions."""
    if dataset == "synthetic":
        rng = np.random.default_rng(0)
        latent = rng.normal(size=(n, 20)) + 3 * rng.normal(size=(50, 20))[rng.integers(50, size=n)]
        return (latent @ rng.normal(size=(20, 784)) + rng.normal(size=(n, 784))).astype(np.float32)
    from deepclust import datasets

    with tempfile.TemporaryDirectory() as folder:
        return datasets.load(dataset, folder).X[:n]


def memory_mb(field: str) -> float:
    """Return VmRSS (now) or VmHWM (peak) of this process, NaN where there is no /proc."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return math.nan
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field))


def contend(name: str, data: Path, k: int, repeats: int) -> None:
    """Time one contender on `data`, save its neighbours beside it, and print the measurements as JSON."""
    try:
        search = CONTENDERS[name]()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    X = np.load(data)
    search(X[:600], k)
    before = memory_mb("VmRSS")
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        found = search(X, k)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    extra = memory_mb("VmHWM") - before
    np.save(data.with_name(f"{name}.npy"), without_self(found, k))
    wall, cpu = min(times)
    print(json.dumps({"wall": wall, "cpu": cpu, "mb": extra}))


def without_self(found: np.ndarray, k: int) -> np.ndarray:
    """Return neighbours (N, k) without the sample; the last is dropped if a duplicate took the sample's place."""
    if found.shape[1] == k:
        return found
    own = found == np.arange(len(found))[:, None]
    own[~own.any(axis=1), -1] = True
    return np.asarray(found[~own]).reshape(len(found), k)


def recall(exact: np.ndarray, found: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(exact, found, strict=True)]) / exact.shape[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist" if os.environ.get("DEEPCLUST_MIRROR") else "synthetic")
    parser.add_argument("--n", type=int, default=70_000, help="number of samples")
    parser.add_argument("--k", type=int, default=10, help="number of neighbours")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--peers", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--contend", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)  # a child process
    options = parser.parse_args()
    if options.contend:
        contend(options.contend[0], Path(options.contend[1]), options.k, options.repeats)
        return

    X = load(options.dataset, options.n)
    print(f"{options.dataset}: {len(X)} x {X.shape[1]}, k = {options.k}, {options.threads} threads", flush=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(options.threads))
    measured: dict[str, dict[str, float]] = {}
    found: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "X.npy"
        np.save(data, X)
        for name in (name for name in CONTENDERS if name in options.peers):
            command = [sys.executable, __file__, "--contend", name, str(data), "--k", str(options.k)]
            command += ["--repeats", str(options.repeats)]
            child = subprocess.run(command, env=os.environ | threads, stdout=subprocess.PIPE, text=True, check=True)
            row = json.loads(child.stdout)
            if "missing" in row:
                print(f"{name} skipped: {row['missing']}", flush=True)
            else:
                measured[name], found[name] = row, np.load(data.with_name(f"{name}.npy"))

    print(f"{'':12}{'wall s':>9}{'CPU s':>9}{'wall/faiss':>12}{'CPU/faiss':>11}{'extra MB':>10}{'recall':>9}")
    unknown = dict.fromkeys(("wall", "cpu"), math.nan)
    for name, row in measured.items():
        wall, cpu = (row[of] / measured.get("faiss", unknown)[of] for of in ("wall", "cpu"))
        share = recall(found["deepclust"], found[name]) if "deepclust" in found else math.nan
        print(f"{name:12}{row['wall']:9.2f}{row['cpu']:9.2f}{wall:12.2f}{cpu:11.2f}{row['mb']:10.0f}{share:9.4f}")


if __name__ == "__main__":
    main()
