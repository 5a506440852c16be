"""A GPU at the papers' sizes: pretraining of one seed and of several, the exact graph, the hybrid's iterations.

Pretraining trains 784-500-500-2000-10 in batches of 256. --seeds seeds side by side, as a stage runs them, stand
against one seed, and against as many in turn whose steps are launched kernel by kernel (one of these is run, its time
taken as many times). The graph of the 10 nearest neighbours is built on the GPU and on the CPU's --threads, and must be
the same. An outer iteration of the hybrid is its convex step, a pass of Adam over all samples and an encoding of all;
the median is printed. Contestants take turns; ratios are medians over the turns.

    python bench/gpu.py [--samples N] [--epochs E] [--seeds S] [--turns R] [--threads T]

The data are MNIST's if DEEPCLUST_MIRROR is set, else synthetic.
"""

import argparse
import itertools
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from unittest import mock

from autoencoder import compare  # type: ignore[import-not-found]  # bench/ is the script's folder, not a package
from knn import load  # type: ignore[import-not-found]
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from deepclust.graph.knn import knn_graph
from deepclust.graph.weights import gaussian_weights
from deepclust.methods.self_expression._self_expression import default_width, strongest_edges
from deepclust.methods.self_expression.hybrid import Hybrid, HybridState, _Problem
from deepclust.nets.mlp import MLP
from deepclust.training import loop
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime
from deepclust.training.rows import on_device

OUTER = 5  # iterations of the hybrid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=70_000)
    parser.add_argument("--epochs", type=int, default=5, help="of a pretraining")
    parser.add_argument("--seeds", type=int, default=5, help="side by side")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: to try the script out")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device")
    X: np.ndarray = load("mnist" if os.environ.get("DEEPCLUST_MIRROR") else "synthetic", asked.samples)
    card = torch.cuda.get_device_name() if asked.device == "cuda" else "CPU"
    print(f"{card}; {len(X)} samples, {asked.epochs} epochs, {asked.turns} turns", flush=True)
    graph(X, asked)
    pretraining(X, asked)
    hybrid(X, asked)


def graph(X: np.ndarray, asked: argparse.Namespace) -> None:
    knn_graph(X[:2000], 10, device=asked.device)  # loads libraries
    began = time.perf_counter()
    here = knn_graph(X, 10, device=asked.device)
    between = time.perf_counter()
    with threadpool_limits(asked.threads):
        there = knn_graph(X, 10)
    seconds, others = between - began, time.perf_counter() - between
    same = np.array_equal(here.indices, there.indices) and np.array_equal(here.data, there.data)
    print(
        f"exact graph: {seconds:.2f} s; CPU, {asked.threads} threads / GPU, time: {others / seconds:.1f}; same: {same}"
    )


def pretraining(X: np.ndarray, asked: argparse.Namespace) -> None:
    settings = MLP(epochs=asked.epochs)
    data, count = on_device(X, asked.device), asked.seeds

    def one(seed: int, precision: str) -> None:
        with Runtime(asked.threads, precision).open():  # type: ignore[arg-type]
            pretrain(data, settings, seed=seed)
        if data.is_cuda:
            torch.cuda.current_stream().synchronize()

    def together(precision: str) -> None:
        with Runtime(asked.threads, precision).open(), ThreadPoolExecutor(count) as pool:  # type: ignore[arg-type]
            list(pool.map(one, range(count), [precision] * count))

    def launched(precision: str) -> None:
        with mock.patch.object(loop, "cuda_graphs", return_value=None):
            one(0, precision)

    for precision in ("float32", "bfloat16"):
        contestants = {
            "one": partial(one, 0, precision),
            "together": partial(together, precision),
            "launched": partial(launched, precision),
        }
        ratio = compare(contestants, asked.turns)
        print(
            f"pretraining, {precision}: {count} side by side / one, time: {ratio('together', 'one'):.2f}; "
            f"{count} in turn, launched / {count} side by side, time: {count * ratio('launched', 'together'):.1f}",
            flush=True,
        )


def hybrid(X: np.ndarray, asked: argparse.Namespace) -> None:
    """Time the iterations from one call of the convex step to the next."""
    starts: list[float] = []

    class Timed(_Problem):
        def z_step(self) -> None:
            starts.append(time.perf_counter())
            super().z_step()

    with Runtime(asked.threads).open():
        data = on_device(X, asked.device)
        network, _ = pretrain(data, MLP(epochs=asked.epochs, batch_norm=True), seed=0)
        method = Hybrid(10, device=asked.device)
        W = gaussian_weights(knn_graph(X, 10, device=asked.device), bandwidth="local")
        support = torch.from_numpy(strongest_edges(W, default_width(len(X)))).to(data.device)
        problem = Timed(method, data, W, HybridState(network, data, support, method.safeguard))
        loop.train(
            problem.state,
            data,
            problem.terms,
            optimizer=problem.optimizer,
            epochs=OUTER + 1,
            batch_size=method.batch_size,
            seed=0,
            phase="cluster",
            steps=loop.EpochSteps(problem.z_step, problem.after_theta_step),
        )
    seconds = [b - a for a, b in itertools.pairwise(starts)]
    print(f"hybrid: an outer iteration {statistics.median(seconds):.2f} s, the slowest {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
