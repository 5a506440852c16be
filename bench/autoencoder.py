"""One epoch of autoencoder training: ours against ClustPy's, and against what the machine's matrix products could do.

The network is 784-500-500-2000-10, batch 256, Adam. All contestants take turns in one run, on the same data and
threads; the medians of the turns' ratios are what counts. `share of sgemm` is the rate of the training's matrix
products over that of one large float32 product.

python bench/autoencoder.py [--samples N] [--turns R] [--threads T]
"""

import argparse
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable, Mapping

from deepclust.nets.mlp import MLP  # first: it says how OpenMP waits, which torch reads when it loads
import torch

from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime

SETTINGS = MLP(epochs=1)
SIDE = 2048  # side of the square product that stands for the machine's peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_240)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    X = torch.rand(arguments.samples, 784, generator=torch.Generator().manual_seed(0))
    square = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(1))

    def ours(precision: str) -> Callable[[], object]:
        def epoch() -> None:
            with Runtime(arguments.threads, precision).open():  # type: ignore[arg-type]
                pretrain(X, SETTINGS, seed=0)

        return epoch

    contestants: dict[str, Callable[[], object]] = {
        "sgemm": lambda: [square @ square for _ in range(5)],
        "float32": ours("float32"),
        "bfloat16": ours("bfloat16"),
        "onednn_bfloat16": ours("onednn_bfloat16"),
    }
    if importlib.util.find_spec("clustpy"):
        contestants["clustpy"] = clustpy_epoch(X)
    else:
        print("clustpy is not installed: left out (pip install -e '.[bench]')")

    ratio = compare(contestants, arguments.turns)
    work = flops(arguments.samples // SETTINGS.batch_size * SETTINGS.batch_size) / (5 * 2 * SIDE**3)
    print(f"{arguments.samples} samples, {arguments.threads} threads, median of {arguments.turns} turns")
    print(f"share of sgemm, float32    {work / ratio('float32', 'sgemm'):.2f}")
    print(f"share of sgemm, bfloat16   {work / ratio('bfloat16', 'sgemm'):.2f}")
    print(f"float32 / bfloat16, time   {ratio('float32', 'bfloat16'):.2f}")
    print(f"float32 / oneDNN's, time   {ratio('float32', 'onednn_bfloat16'):.2f}")
    if "clustpy" in contestants:
        print(f"clustpy / ours, time       {ratio('clustpy', 'float32'):.2f}")


def compare(contestants: Mapping[str, Callable[[], object]], turns: int) -> Callable[[str, str], float]:
    """Time all contestants in turn, after a warm-up; return a function that gives the median ratio of two times."""
    for contestant in contestants.values():
        contestant()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            contestant()
            times[name].append(time.perf_counter() - start)
    return lambda a, b: statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))


def flops(n_samples: int) -> float:
    """Return the floating-point operations of an epoch's matrix products: three a layer, but two in the first."""
    sizes = [784, *SETTINGS.hidden, SETTINGS.n_embedding]
    layers = [a * b for a, b in itertools.pairwise(sizes)]
    weights = 2 * sum(layers)  # the decoder mirrors the encoder
    return 2.0 * n_samples * (3 * weights - layers[0])


def clustpy_epoch(X: torch.Tensor) -> Callable[[], object]:
    """Return one epoch of ClustPy's fully connected autoencoder of the same layers, activation, optimiser and batch."""
    from clustpy.deep.neural_networks import FeedforwardAutoencoder

    data = X.numpy()

    def epoch() -> object:
        layers = [784, *SETTINGS.hidden, SETTINGS.n_embedding]
        network = FeedforwardAutoencoder(layers, activation_fn=torch.nn.ReLU, random_state=0)
        return network.fit(
            n_epochs=1, optimizer_params={"lr": 1e-3}, batch_size=SETTINGS.batch_size, data=data, patience=None
        )

    return epoch


if __name__ == "__main__":
    main()
