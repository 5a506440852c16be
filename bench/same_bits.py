"""The same bits on two processors: digests of the pipeline's kernels, as it is and held to AVX2; and the price.

Every kernel runs on the digits (1,797 x 64) in two processes, one with DEEPCLUST_INSTRUCTIONS=native and one with avx2,
which take turns: each --pairs times, after a warm-up. Kernels that build on others (eigenvectors on a graph) take these
from their own process. The table has the digests, the seconds as it is, the median of the pairs' ratios (above 1: held
to AVX2 takes longer), and which digests are those of the machines in docs/same_bits.json. Kernels whose package is not
installed are left out.

    python bench/same_bits.py                # compares
    python bench/same_bits.py --write        # puts this machine's digests into the file, or in place of its older ones
    python bench/same_bits.py --only t-SNE "exact graph" --threads 1
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deepclust import instructions, nets
from deepclust.errors import UserError
from deepclust.files import read_json, write_json
from deepclust.methods._saving import versions

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs/same_bits.json"
MODES = ("native", "avx2")
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "openTSNE")
CODE = ("graph", "losses", "nets", "solvers", "training")  # folders of the package


def kernels(threads: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name of each kernel, and its function, which returns an array or several."""
    import numpy as np
    import torch
    from sklearn.cluster import AgglomerativeClustering, KMeans
    from sklearn.datasets import load_digits
    from sklearn.mixture import GaussianMixture

    from deepclust.graph.knn import knn_graph
    from deepclust.graph.partition import partition
    from deepclust.graph.spectral import smallest_eigenvectors
    from deepclust.graph.weights import gaussian_weights
    from deepclust.losses.hypersphere import compactness, directions
    from deepclust.losses.stability import determinacy, instability, otsu_threshold, stability
    from deepclust.losses.student_t import kl_divergence, soft_assignment, target_distribution
    from deepclust.metrics.internal import internal
    from deepclust.reporting.figures._tsne import tsne
    from deepclust.solvers.self_expression import sparse_self_expression
    from deepclust.solvers.spherical_kmeans import spherical_kmeans
    from deepclust.training.pretrain import pretrain
    from deepclust.training.runtime import Runtime

    images, classes = load_digits(return_X_y=True)
    X = (images / 16).astype(np.float32) * np.float32(0.7)  # sixteenths alone would be added without rounding
    t = torch.from_numpy(X)
    z, centroids = t[:, 18:28], t[:10, 18:28]
    neighbours = knn_graph(X, 10)
    W = gaussian_weights(neighbours, bandwidth="local")
    support = torch.from_numpy(neighbours.indices.reshape(len(X), 10).astype(np.int64))

    def training(epochs: int, precision: str = "float32", **settings: Any) -> Callable[[], Any]:
        name = settings.pop("network", "mlp")
        network = nets.make(name, {"epochs": epochs, **settings})
        shape = (1, 8, 8) if network.needs_images else None

        def run() -> Any:
            with Runtime(threads, precision).open():  # type: ignore[arg-type]
                found, outcome = pretrain(t, network, seed=0, image_shape=shape)
            weights = [tensor.detach().numpy() for tensor in found.state_dict().values()]
            return [*weights, np.array([row["loss"] for row in outcome.trace])]

        return run

    def with_gradient(loss: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], Any]:
        def run() -> Any:
            code = z.clone().requires_grad_()
            value = loss(code)
            (gradient,) = torch.autograd.grad(value, code)
            return [value.detach().numpy(), gradient.numpy()]

        return run

    def student_t(code: torch.Tensor) -> torch.Tensor:
        q = soft_assignment(code, centroids)
        return kl_divergence(target_distribution(q.detach()), q)

    def otsu(code: torch.Tensor) -> torch.Tensor:
        q = soft_assignment(code, centroids)
        return instability(stability(determinacy(q, otsu_threshold(q.detach())), 0.8))

    def hypersphere(code: torch.Tensor) -> torch.Tensor:
        return compactness(directions(code), torch.from_numpy(classes), 10)

    def self_expression() -> Any:
        found = sparse_self_expression(t, support, 0.01 * t.square().sum(dim=1).mean().item())
        return [found.coefficients.numpy(), found.objective.numpy()]

    def eigenvectors() -> Any:
        pairs = smallest_eigenvectors(W, 10)
        return [pairs.values, pairs.vectors]

    def mixture() -> Any:  # steps of a fixed number: other bits stop elsewhere
        return GaussianMixture(10, reg_covar=1e-3, tol=0.0, max_iter=10, random_state=0).fit(X).means_

    def ward() -> Any:
        tree = AgglomerativeClustering(10, compute_distances=True).fit(X)
        return [tree.children_, tree.distances_]

    small: dict[str, Any] = {"hidden": [250, 250, 500], "batch_size": 64}
    yield "autoencoder", training(1)
    yield "autoencoder, BatchNorm", training(1, batch_norm=True, **small)
    yield "autoencoder, sigmoid, layer by layer", training(1, activation="sigmoid", layerwise_epochs=1, **small)
    yield "autoencoder, convolutions", training(1, network="conv", batch_size=64)
    yield "Student's t, gradient", with_gradient(student_t)
    yield "Otsu and stability, gradient", with_gradient(otsu)
    yield "hypersphere, gradient", with_gradient(hypersphere)
    yield "exact graph", lambda: knn_graph(X, 10).data
    yield "weights", lambda: gaussian_weights(neighbours, bandwidth="local").data
    yield "eigenvectors", eigenvectors
    yield "modularity, labels", lambda: partition(W, 10).labels
    yield "self-expression", self_expression
    yield "k-means", lambda: KMeans(10, n_init=20, random_state=0).fit(X).cluster_centers_
    yield "k-means, labels", lambda: KMeans(10, n_init=20, random_state=0).fit(X).labels_
    yield "spherical k-means", lambda: spherical_kmeans(X, 10, random_state=0, n_init=5).centers
    yield "mixture, 10 steps", mixture
    yield "Ward", ward
    yield "silhouette and others", lambda: np.array(list(internal(X, W, classes).values()))
    yield "t-SNE", lambda: tsne(X[:500], 0)
    yield "autoencoder, bfloat16", training(1, "bfloat16")
    yield "autoencoder, oneDNN's bfloat16", training(1, "onednn_bfloat16")
    if importlib.util.find_spec("pynndescent"):
        yield "approximate graph", lambda: knn_graph(X, 10, exact=False).data


def digest(value: Any) -> str:
    """Return the SHA-256 of the bytes of an array or several, cut to 16 digits."""
    import numpy as np

    arrays = value if isinstance(value, list) else [value]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]


def work(threads: int) -> None:
    """Answer every name read from stdin with its digest and seconds, beginning with the list of the names."""
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore")  # rows short of the tolerance
    with contextlib.redirect_stdout(sys.stderr), threadpool_limits({"openmp": 1, "blas": threads}):
        import torch

        torch.set_num_threads(threads)
        known = dict(kernels(threads))
        answer([*known])
        for line in sys.stdin:
            start = time.perf_counter()
            value = known[line.strip()]()
            seconds = time.perf_counter() - start
            if instructions.held() != os.environ[instructions.VARIABLE]:
                raise UserError("the libraries are not held as asked")
            answer([digest(value), seconds])


def answer(content: Any) -> None:
    sys.__stdout__.write(json.dumps(content) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


class Worker:
    """A process of one mode, which computes kernels by name."""

    def __init__(self, mode: str, threads: int) -> None:
        ours = {*instructions.HELD, "NPY_ENABLE_CPU_FEATURES"}
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", "--threads", str(threads)],
            env=environment | {instructions.VARIABLE: mode},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.kernels: list[str] = self._read()

    def __call__(self, kernel: str) -> tuple[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(kernel + "\n")
        self.process.stdin.flush()
        found, seconds = self._read()
        return found, seconds

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a worker ended early; what it said is above")
        return json.loads(line)


def machine() -> dict[str, Any]:
    """Return the facts about this machine that results depend on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    vectors = "AVX-512" if "avx512f" in facts["flags"].split() else "AVX2"
    return {
        "processor": f"{facts['model name']}, family {facts['cpu family']}, model {facts['model']}, {vectors}",
        "libraries": versions(*PACKAGES) | {"libc": " ".join(platform.libc_ver())},
    }


def code() -> str:
    """Return the digest of the code that is measured."""
    files = [Path(__file__), *(file for name in CODE for file in sorted((ROOT / "src/deepclust" / name).glob("*.py")))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", metavar="KERNEL")
    parser.add_argument("--write", action="store_true", help="to docs/same_bits.json, all kernels on two threads")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.threads)
        return
    if options.write and (options.only or options.threads != 2):
        parser.error("--write takes all kernels and two threads")
    instructions.require("avx2")

    here = machine() | {"code": code(), "threads": options.threads}
    recorded = read_json(FILE) if FILE.exists() else []
    others = [entry for entry in recorded if entry["threads"] == options.threads]
    print(f"{here['processor']}\n{', '.join(' '.join(pair) for pair in here['libraries'].items())}")
    for number, entry in enumerate(others, start=1):
        unlike = [f"{k} {v}" for k, v in entry["libraries"].items() if v != here["libraries"].get(k)]
        unlike += ["other code"] if entry["code"] != here["code"] else []
        print(f"[{number}] {entry['processor']}{'; there ' if unlike else ''}{', '.join(unlike)}")
    print(f"{'':38s}{'as it is':17s}{'held':17s}{'seconds':>8s}{'ratio':>7s}  ", end="")
    print(" ".join(f"{f'[{number}]':16s}" for number in range(1, len(others) + 1)))

    workers = {mode: Worker(mode, options.threads) for mode in MODES}
    digests: dict[str, dict[str, str]] = {mode: {} for mode in MODES}
    for kernel in options.only or workers["native"].kernels:
        found = {mode: {worker(kernel)[0]} for mode, worker in workers.items()}  # the warm-up counts, too
        seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
        for pair in range(options.pairs):
            for mode in MODES if pair % 2 else MODES[::-1]:
                result, elapsed = workers[mode](kernel)
                found[mode].add(result)
                seconds[mode].append(elapsed)
        for mode in MODES:
            digests[mode][kernel] = found[mode].pop() if len(found[mode]) == 1 else "varies"
        ratio = statistics.median(b / a for a, b in zip(seconds["native"], seconds["avx2"], strict=True))
        print(
            f"{kernel:38s}{digests['native'][kernel]:17s}{digests['avx2'][kernel]:17s}"
            f"{statistics.median(seconds['native']):8.3f}{ratio:7.2f}  "
            + " ".join(f"{verdicts(kernel, digests, entry['digests']):16s}" for entry in others),
            flush=True,
        )
    for worker in workers.values():
        worker.process.communicate()
    if options.write:
        kept = [e for e in recorded if (e["processor"], e["libraries"]) != (here["processor"], here["libraries"])]
        write_json(FILE, sorted([*kept, here | {"digests": digests}], key=lambda entry: str(entry["processor"])))


def verdicts(kernel: str, ours: dict[str, dict[str, str]], theirs: dict[str, dict[str, str]]) -> str:
    """Return in one word each whether the digests agree as it is and held."""
    words = []
    for mode in MODES:
        other = theirs[mode].get(kernel)
        words.append("-" if other is None else "same" if other == ours[mode][kernel] != "varies" else "differs")
    return ", ".join(words)


if __name__ == "__main__":
    main()
