"""One epoch of each deep method: against training its network alone, against ClustPy, against a paper's time table.

A pass is the least that an epoch has to do: forward, backward and the optimiser's step over all batches, for encoder
and decoder on the squared reconstruction error, or for the encoder on its squared code where a method trains no more.
DEPICT's pass has its network's noisy and clean encoders, as its pretraining has. IIC and CC see two views of a batch,
which are two passes of the encoder before one step. SENet trains networks of its own on the code: its pass has the
queries of a batch, the keys of all samples and their product.
A pass shares the method's network, optimiser, batches of 256 and threads, and does nothing else. An epoch should cost
at most 1.3 times its pass. ULHE-DC's and ASPC-DA's labels come from all samples once an epoch: forward alone is a third
of their pass. DynAE's targets need the clean codes of each batch: a sixth of its pass. DeepCluster's pseudo-classes
come from all samples once an epoch, too, and from a k-means of a hundred clusters. JULE compares every pair of a batch
with twenty negatives, which at 256 rows is as much again as its small encoder's pass.

All contestants take turns in one run; what counts are the medians of the turns' ratios. Epochs are timed by the
optimiser's steps, from the last of the first epoch to the last of the last one: this leaves out the k-means start and
the read-outs, and has in it whatever a method recomputes between batches and between epochs. DEC and IDEC encode all
samples for a new target every 140 batches, which at the default size is once in the epochs timed.

The data are synthetic and of USPS's shape. The networks are 256-500-500-2000-10 and, for DECS, DCEC and DEPICT, their
convolutional ones, pretrained for an epoch. Settings are the defaults, without a stop rule; DCEC is IDEC without
`normalize`, ULHE-DC is fed all samples, PC-X has its entropy from the first epoch on, DEPICT has no warm-up, JULE
merges once, after all epochs, ASPC-DA, DeepCluster and DynAE see the images as they are, and so do both views of IIC
and CC. SENet's networks have two hidden layers of 256, as in the grid benchmark. Left out are methods that train
nothing (ae_*, ddc_da, deepdpm), or solve for a graph between epochs.

Named methods alone are measured, and all of them where none is named: all take some forty minutes.

    python bench/methods.py [METHOD ...] [--samples N] [--turns R] [--threads T]
"""

import argparse
import copy
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepclust import layout
from deepclust.methods import load, names
from deepclust.methods._deep import DeepClusterer
from deepclust.methods.self_expression.senet import SENetState
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._layerwise import passes
from deepclust.nets.base import Network
from deepclust.nets.bernoulli import Bernoulli
from deepclust.nets.conv import Conv
from deepclust.nets.depict import Depict
from deepclust.nets.jule import Jule
from deepclust.nets.sigmoid import Sigmoid
from deepclust.nets.sphere import Sphere
from deepclust.nets.strided import Strided
from deepclust.nets.untrained_conv import UntrainedConv
from deepclust.nets.wide_conv import WideConv
from deepclust.reporting.aggregate import read_reported
from deepclust.training.loop import make_optimizer
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime

# isort: split
import torch  # after the package, which says how OpenMP waits
import torch.nn.functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

SIDE, N_CLUSTERS, BATCH = 16, 10, 256
EPOCHS = 4  # epochs of every training; the first is not timed
MLP = Sphere(epochs=1)  # codes of about length 1, as ULHE-DC needs; no other method minds
NETWORKS: dict[str, Network] = {
    "mlp": MLP,
    "sigmoid": Sigmoid(epochs=1, layerwise_epochs=0),
    "conv": Conv(epochs=1, augmentation=None),
    "strided": Strided(epochs=1),
    "depict": Depict(epochs=1),
    "bernoulli": Bernoulli(epochs=1),
    "untrained_conv": UntrainedConv(),
    "jule": Jule(),
    "wide_conv": WideConv(),
}


@dataclass(frozen=True)
class Pass:
    """The part of a network that an epoch trains."""

    network: str
    decoder: bool
    optimizer: str
    views: int = 1  # passes of a batch before a step
    on_code: bool = False  # SENet's two networks, and not the one whose code they read

    def __str__(self) -> str:
        if self.on_code:
            return f"queries + keys, {self.optimizer}"
        views = f"{self.views} x " if self.views > 1 else ""
        return f"{self.network} {views}{'encoder + decoder' if self.decoder else 'encoder'}, {self.optimizer}"


PASSES = {
    "dec": Pass("mlp", decoder=False, optimizer="sgd"),
    "ulhe_dc": Pass("mlp", decoder=False, optimizer="sgd"),
    "decs": Pass("conv", decoder=False, optimizer="sgd"),
    "aspc_da": Pass("mlp", decoder=False, optimizer="adam"),
    "deepcluster": Pass("untrained_conv", decoder=False, optimizer="sgd"),
    "jule": Pass("jule", decoder=False, optimizer="sgd"),
    "iic": Pass("wide_conv", decoder=False, optimizer="adam", views=2),
    "cc": Pass("wide_conv", decoder=False, optimizer="adam", views=2),
    "senet": Pass("mlp", decoder=False, optimizer="adam", on_code=True),
    "dynae": Pass("mlp", decoder=True, optimizer="sgd"),
    "idec": Pass("mlp", decoder=True, optimizer="adam"),
    "pc_x": Pass("mlp", decoder=True, optimizer="adam"),
    "vade": Pass("bernoulli", decoder=True, optimizer="adam"),
    "dcec": Pass("strided", decoder=True, optimizer="adam"),
    "depict": Pass("depict", decoder=True, optimizer="adam"),
    "tell": Pass("mlp", decoder=True, optimizer="adadelta"),
    "daec": Pass("sigmoid", decoder=True, optimizer="adadelta"),
    "dc_kmeans": Pass("sigmoid", decoder=True, optimizer="adadelta"),
    "dc_gmm": Pass("sigmoid", decoder=True, optimizer="adadelta"),
}
USES = {"dcec": "idec"}  # a method's file where its name is not the file's
SENET = {"depth": 2, "width": 256}
SETTINGS: dict[str, dict[str, Any]] = {
    "ulhe_dc": {"self_paced": False},
    "pc_x": {"burn_in": 0},
    "dcec": {"normalize": False},
    "depict": {"warm_up": 0},
    "aspc_da": {"augment": False},
    "deepcluster": {"augment": False},
    "dynae": {"augment": False},
    "jule": {"eta": 1.0, "period_epochs": EPOCHS},
    "iic": {"augment": False, "corruption": 0.0},
    "cc": {"augment": False, "corruption": 0.0},
    "senet": {**SENET, "n_train": 10**9},
}
CLUSTPY = {"DEC": PASSES["dec"], "IDEC": PASSES["idec"], "VaDE": PASSES["idec"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(PASSES)}")
    parser.add_argument("--samples", type=int, default=9298, help="rounded down to whole batches")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    n_batches = arguments.samples // BATCH
    if n_batches < 1 or arguments.turns < 1:
        parser.error(f"--samples must be at least {BATCH} and --turns at least 1")
    if unknown := set(arguments.methods) - set(PASSES):
        parser.error(f"no such method: {', '.join(sorted(unknown))}; there are {', '.join(PASSES)}")
    measured = {name: PASSES[name] for name in arguments.methods or PASSES}
    torch.set_num_threads(arguments.threads)

    X = blobs(n_batches * BATCH)
    runtime = Runtime(arguments.threads)
    with runtime.open():
        networks = {
            name: pretrain(torch.from_numpy(X), settings, seed=0, image_shape=(1, SIDE, SIDE))[0]
            for name, settings in NETWORKS.items()
            if any(name == passed.network for passed in measured.values())
        }
    contestants: dict[str, Callable[[], object]] = {}
    for method, passed in measured.items():  # a pass comes just before the methods that share it
        alone = train_on_code if passed.on_code else train_alone
        contestants.setdefault(str(passed), within(runtime, alone(networks[passed.network], X, passed)))
        contestants[method] = within(runtime, our_fit(method, networks[passed.network], X))
    left_out = [name for name in names() if name not in PASSES and issubclass(load(name), DeepClusterer)]
    if importlib.util.find_spec("clustpy"):
        peers = {name: passed for name, passed in CLUSTPY.items() if name.lower() in measured}
        contestants |= {f"ClustPy {name}": clustpy_fit(name, X) for name in peers}
    else:
        left_out.append("ClustPy (not installed: pip install -e '.[bench]')")

    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.turns):
        for name, fit in contestants.items():
            times[name].append(seconds_an_epoch(fit, n_batches))

    def ratio(a: str, b: str) -> float:
        return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))

    print(f"{len(X)} samples, {arguments.threads} threads, median of {arguments.turns} turns")
    print(f"left out: {', '.join(left_out)}\n")
    print("| epoch of | trains | time / pass | time / ClustPy's |")
    print("|---|---|---:|---:|")
    for method, passed in measured.items():
        peer = f"ClustPy {load(method).__name__}" if method not in USES else ""
        against = f"{ratio(method, peer):.2f}" if peer in times else ""
        print(f"| {method} | {passed} | {ratio(method, str(passed)):.2f} | {against} |")
    for name, passed in CLUSTPY.items():
        if {f"ClustPy {name}", str(passed)} <= times.keys():
            print(f"| ClustPy {name} | {passed} | {ratio(f'ClustPy {name}', str(passed)):.2f} | |")

    seconds = {method: value for method, value in reported_seconds().items() if method in measured}
    if "daec" not in seconds:
        return
    print(
        "\nTime over DAEC's: an epoch here; the whole run on USPS that Tian, Zhou and Guan (2017) report in Table 3.\n"
    )
    print("| | here | reported |")
    print("|---|---:|---:|")
    for method, value in seconds.items():
        print(f"| {method} | {ratio(method, 'daec'):.2f} | {value / seconds['daec']:.2f} |")


def seconds_an_epoch(fit: Callable[[], object], n_batches: int) -> float:
    """Return the mean over a training's epochs but the first, without `fit`'s work before and after the batches."""
    ends: list[float] = []
    hook = register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
    try:
        fit()
    finally:
        hook.remove()
    if len(ends) != EPOCHS * n_batches:
        raise RuntimeError(f"{len(ends)} steps of an optimiser were seen, not {EPOCHS} epochs of {n_batches}")
    return (ends[-1] - ends[n_batches - 1]) / (EPOCHS - 1)


def train_alone(network: Autoencoder, X: np.ndarray, passed: Pass) -> Callable[[], object]:
    data = torch.from_numpy(X)

    def fit() -> None:
        trained = copy.deepcopy(network).train()
        module = trained if passed.decoder else trained.encoder
        optimizer = make_optimizer(passed.optimizer, module, learning_rate=1e-3)
        noise = torch.Generator().manual_seed(0)
        for _ in range(EPOCHS):
            for x in data.split(BATCH):
                if passed.network == "depict":
                    found = passes(trained, x, 0.1, noise)
                    loss = found.data + found.hidden
                elif passed.decoder:
                    loss = F.mse_loss(trained(x)[1], x)
                else:
                    loss = torch.stack([trained.encode(x).square().mean() for _ in range(passed.views)]).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return fit


def train_on_code(network: Autoencoder, X: np.ndarray, passed: Pass) -> Callable[[], object]:
    """Train SENet's queries and keys on their squared products, for the codes of all samples."""
    with torch.no_grad():
        codes = F.normalize(network.eval().encode(torch.from_numpy(X)))

    def fit() -> None:
        state = SENetState(codes.shape[1], SENET["depth"], SENET["width"], seed=0)
        optimizer = make_optimizer(passed.optimizer, state, learning_rate=1e-3)
        for _ in range(EPOCHS):
            for x in codes.split(BATCH):
                loss = (state.query(x) @ state.key(codes).T).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return fit


def our_fit(name: str, network: Autoencoder, X: np.ndarray) -> Callable[[], object]:
    method = load(USES.get(name, name))(N_CLUSTERS, random_state=0, device="cpu", **SETTINGS.get(name, {}))
    wanted = {"n_init": 1, "epochs": EPOCHS, "batch_size": BATCH, "tolerance": 0.0}
    method.set_params(**{key: value for key, value in wanted.items() if key in method.get_params()})
    return lambda: method.fit(X, network=network)


def within(runtime: Runtime, fit: Callable[[], object]) -> Callable[[], object]:
    def inside() -> object:
        with runtime.open():
            return fit()

    return inside


def clustpy_fit(name: str, X: np.ndarray) -> Callable[[], object]:
    """Return a fit of ClustPy's method of that name: same layers, activation, batches and kind of optimiser."""
    from clustpy import deep
    from clustpy.deep.neural_networks import FeedforwardAutoencoder, VariationalAutoencoder

    sgd = CLUSTPY[name].optimizer == "sgd"
    start = {"n_init": 1} | ({"covariance_type": "diag"} if name == "VaDE" else {})
    method = getattr(deep, name)(
        N_CLUSTERS,
        batch_size=BATCH,
        pretrain_epochs=0,
        clustering_epochs=EPOCHS,
        optimizer_class=torch.optim.SGD if sgd else torch.optim.Adam,
        clustering_optimizer_params={"lr": 1e-4} | ({"momentum": 0.9} if sgd else {}),
        neural_network=(
            VariationalAutoencoder if name == "VaDE" else FeedforwardAutoencoder,
            {"layers": [X.shape[1], *MLP.hidden, MLP.n_embedding], "activation_fn": torch.nn.ReLU},
        ),
        initial_clustering_params=start,
        device=torch.device("cpu"),
        random_state=0,
    )
    return lambda: method.fit(X)


def blobs(n_samples: int) -> np.ndarray:
    """Return noisy copies of K random images (N, D), float32 in [0, 1]."""
    rng = np.random.default_rng(0)
    centers = rng.random((N_CLUSTERS, SIDE * SIDE))
    noise = 0.1 * rng.standard_normal((n_samples, SIDE * SIDE))
    return (centers[rng.integers(N_CLUSTERS, size=n_samples)] + noise).clip(0, 1).astype(np.float32)


def reported_seconds() -> dict[str, float]:
    """Return the seconds on USPS in Table 3 of the paper of DC-Kmeans and DC-GMM, by our names of its methods."""
    reported = read_reported(layout.REPORTED).query(
        "paper == 'deepcluster_admm' and table == '3' and dataset == 'usps11k' and metric == 'time'"
    )
    return dict(zip(reported["method_id"], reported["value"], strict=True))


if __name__ == "__main__":
    main()
