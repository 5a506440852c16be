"""Every stage and method as the samples grow: seconds, memory beyond the data's file, and the cost of ImageNet.

The data are made: 1,000 clusters in 32 directions of 2,048 features, with a little noise in all, float16 in a file, as
someone's embeddings would be. Each piece of work is a process of its own. Seconds are from its call to its end, for one
epoch and one start, at a rate at which nothing diverges. Memory is the peak of the process's own bytes (`RssAnon`)
beyond those held before the call; the mapped file (`RssFile`) is counted apart. A piece is not started if a method says
that memory is short (`NotApplicable`), or if its time at the last two sizes, carried on, is beyond the budget; the
table says which.

The exponent is the power of N with which seconds and memory grew between the last two sizes measured: 1 is linear.
ImageNet's column carries the largest size measured on to 1,281,167 x 2,048, by the exponent or 1, whichever is larger.
All times are of this machine and this run.

    python bench/scale.py [--sizes 10000,100000,1000000] [--clusters 10,1000] [--budget 900] [--only NAME,...]
"""

import argparse
import inspect
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

N_FEATURES, DIRECTIONS = 2048, 32
IMAGENET = 1_281_167
WIDTH = 26  # characters of a column
STAGES = ["prepare", "graph", "graph_approximate", "pretrain"]
# settings for every method that declares them
SHORT = {
    "epochs": 1,
    "n_init": 1,
    "batch_size": 256,
    "self_paced": False,
    "update_interval": None,
    "learning_rate": 1e-6,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--clusters", default="10,1000")
    parser.add_argument("--budget", type=float, default=900, help="seconds of one piece of work")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="names of stages and methods, in order; a method needs its stages")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)  # for child processes: name, N, K, folder
    asked = parser.parse_args()
    if asked.work:
        name, n_samples, n_clusters, folder = asked.work
        print(json.dumps(measure(name, int(n_samples), int(n_clusters), Path(folder), asked)))
        return
    sizes, counts = ([int(number) for number in part.split(",")] for part in (asked.sizes, asked.clusters))
    from deepclust import methods

    chosen = asked.only.split(",") if asked.only else [*STAGES, *methods.names()]
    print(
        f"{asked.threads} threads, device {asked.device}, bfloat16, {N_FEATURES} features; seconds, then MB of its own"
    )
    heads = "".join(f"{f'N = {size:,}':>{WIDTH}s}" for size in sizes)
    print(f"{'':24s}{heads}{'exponents':>14s}{'ImageNet':>24s}")
    Path("work").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="work") as folder:  # on a disk; others may be in memory
        for size in sizes:
            make(Path(folder) / str(size), size)
        for name in chosen:
            for count in counts[:1] if name in STAGES else counts:
                line(name, sizes, count, folder, asked)


def line(name: str, sizes: list[int], n_clusters: int, folder: str, asked: argparse.Namespace) -> None:
    """Measure one piece of work at every size, and print its line."""
    found: list[tuple[int, float, float]] = []
    cells: list[str] = []
    for size in sizes:
        if len(found) > 1 and (expected := carried_on(found, size)[0]) > asked.budget:
            outcome: dict[str, Any] = {"reason": f"not begun: {expected:,.0f} s"}
        else:
            outcome = run(name, size, n_clusters, folder, asked)
        if reason := outcome.get("reason"):
            cells.append(reason)
            break
        found.append((size, outcome["seconds"], outcome["own"]))
        cells.append(f"{outcome['seconds']:.1f} s {outcome['own'] / 2**20:,.0f} ({outcome['mapped'] / 2**20:.0f})")
    label = name if name in STAGES else f"{name}, K = {n_clusters}"
    text = f"{label:24s}" + "".join(f"{cell:>{WIDTH}s}" for cell in cells + [""] * (len(sizes) - len(cells)))
    if len(found) > 1:
        (of_time, of_memory), (seconds, own) = exponents(found), carried_on(found, IMAGENET)
        text += f"{of_time:8.2f}{of_memory:6.2f}{seconds:12,.0f} s{own / 2**30:7.1f} GB"
    print(text, flush=True)


def exponents(found: list[tuple[int, float, float]]) -> tuple[float, float]:
    """Return the powers of N with which seconds and memory grew between the last two sizes."""
    (n, *before), (m, *after) = found[-2:]
    time_, memory = (
        math.log(max(b, 1e-3) / max(a, 1e-3)) / math.log(m / n) for a, b in zip(before, after, strict=True)
    )
    return time_, memory


def carried_on(found: list[tuple[int, float, float]], size: int) -> tuple[float, float]:
    """Return seconds and bytes at another size, by the exponents or 1 where they are below."""
    n, seconds, own = found[-1]
    of_time, of_memory = (max(1.0, power) for power in exponents(found))
    return seconds * (size / n) ** of_time, own * (size / n) ** of_memory


def run(name: str, size: int, n_clusters: int, folder: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Do a piece of work in a process of its own."""
    options = ["--threads", str(asked.threads), "--device", asked.device]
    command = [sys.executable, __file__, *options, "--work", name, str(size), str(n_clusters), folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * asked.budget)
    except subprocess.TimeoutExpired:
        return {"reason": f"over {4 * asked.budget:,.0f} s"}
    if done.returncode:
        sys.exit(f"{name} at N = {size}, K = {n_clusters} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def make(folder: Path, n_samples: int) -> None:
    """Write `raw.npy`, (N, 2048) float16 in [0, 1], a part at a time."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    strength = 1 / np.sqrt(np.arange(1, DIRECTIONS + 1))
    directions = (rng.standard_normal((DIRECTIONS, N_FEATURES)) * strength[:, None]).astype(np.float32)
    centers = rng.standard_normal((1000, DIRECTIONS), dtype=np.float32)
    X = np.lib.format.open_memmap(folder / "raw.npy", "w+", np.float16, (n_samples, N_FEATURES))
    for start in range(0, n_samples, 4096):
        n = min(4096, n_samples - start)
        code = centers[rng.integers(len(centers), size=n)] + 0.5 * rng.standard_normal((n, DIRECTIONS), np.float32)
        noise = 0.01 * rng.standard_normal((n, N_FEATURES), np.float32)
        X[start : start + n] = np.clip(0.5 + 0.06 * code @ directions + noise, 0, 1)


def measure(name: str, n_samples: int, n_clusters: int, home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and peak bytes of a piece of work, or the reason why it was not begun."""
    from deepclust.errors import NotApplicable

    work = prepare_work(name, n_clusters, home / str(n_samples), asked)
    before, peak, ended = resident(), [0, 0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[:] = map(max, peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        work()
    except NotApplicable as error:
        return {"reason": "not begun: " + str(error).split("needs some ")[-1].split(" of memory")[0]}
    finally:
        ended.set()
        watcher.join()
    own, mapped = (max(0, most - first) for most, first in zip(peak, before, strict=True))
    return {"seconds": time.perf_counter() - start, "own": own, "mapped": mapped}


def resident() -> tuple[int, int]:
    """Return the bytes that this process holds of its own, and of mapped files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (int(lines[key].split()[0]) * 1024 for key in ("RssAnon", "RssFile"))
    return own, mapped


def prepare_work(name: str, n_clusters: int, folder: Path, asked: argparse.Namespace) -> Callable[[], object]:
    """Return the function to be measured; results of earlier stages are read here."""
    from deepclust import files, methods
    from deepclust.datasets import _own
    from deepclust.graph import knn
    from deepclust.graph.weights import gaussian_weights
    from deepclust.methods import _deep
    from deepclust.nets.sphere import Sphere
    from deepclust.training.checkpoint import load_tensors, save_tensors
    from deepclust.training.pretrain import pretrain
    from deepclust.training.rows import on_device
    from deepclust.training.runtime import Runtime

    files.MAPPED = _deep._LARGEST_GRAPH = 0  # at every size: from the file, and no read-out that large data do not get
    settings = Sphere(epochs=1)
    if name == "prepare":

        def prepare() -> None:
            data = _own.prepare("scale", folder / "raw.npy", n_clusters=n_clusters, scale="feature")
            files.write_array(folder / "X.npy", data.X)

        return prepare
    X = files.read_samples(folder / "X.npy")
    if name.startswith("graph") and name in STAGES:
        if name == "graph_approximate":
            knn._PROJECTED_BYTES = 0  # at every size
            knn.knn_graph(X[:100], 10, exact=False)  # compiles

        def graph() -> None:
            exact = name == "graph"
            found = knn.knn_graph(X, 10, exact=exact, device=asked.device if exact else None)
            files.write_sparse(folder / "weights.npz", gaussian_weights(found, bandwidth="local"))

        return graph
    runtime = Runtime(asked.threads, "bfloat16")
    if name == "pretrain":

        def train() -> None:
            with runtime.open():
                network, _ = pretrain(on_device(X, asked.device), settings, seed=0)
            save_tensors(folder / "weights.safetensors", network.state_dict())

        return train
    cls = methods.load(name)
    given: dict[str, Any] = {}
    if cls.reads_graph:
        given["graph"] = files.read_sparse(folder / "weights.npz")
    if issubclass(cls, _deep.DeepClusterer):
        import torch

        network = settings.build(N_FEATURES, None, torch.Generator())
        network.load_state_dict(load_tensors(folder / "weights.safetensors")[0])
        given["network"] = network
    has = inspect.signature(cls).parameters
    short: dict[str, Any] = {key: value for key, value in SHORT.items() if key in has}
    method = cls(n_clusters, random_state=0, device=asked.device, **short)

    def fit() -> None:
        with runtime.open():
            method.fit(X, **given)

    return fit


if __name__ == "__main__":
    main()
