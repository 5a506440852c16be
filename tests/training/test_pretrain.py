"""Pretraining: its phases, what the denoising start gives, and that a kill costs nothing but time."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.optim.optimizer import register_optimizer_step_post_hook

from deepclust.errors import NotApplicable
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets.mlp import _blocks, drop
from deepclust.seeding import derive_seed
from deepclust.training.loop import Outcome
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime
from tests.networks import network_of

ROOT = Path(__file__).parents[2]
SHAPE = (1, 8, 8)
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [32, 16], "n_embedding": 4, "epochs": 6, "batch_size": 32, "layerwise_epochs": 3},
    "conv": {"network": "conv", "channels": [4, 6], "n_embedding": 4, "epochs": 6, "batch_size": 32},
    "sdae": {"network": "sdae", "hidden": [32, 16], "n_embedding": 4, "batch_size": 32, "decay_every": 20}
    | {"epochs": "60 iterations", "layerwise_epochs": "35 iterations"},
}


def digits(count: int = 320) -> torch.Tensor:
    return torch.from_numpy(load_digits().data[:count] / 16).float()


def train(kind: str, seed: int = 0, **changes: Any) -> tuple[Autoencoder, Outcome]:
    return pretrain(digits(), network_of(NETWORKS[kind] | changes), seed=seed, image_shape=SHAPE)


@functools.cache
def trained(kind: str) -> tuple[Autoencoder, Outcome]:
    """Return what an interrupted training is to end with; to encode by it would move its BatchNorm's statistics."""
    return train(kind)


def assert_same(found: tuple[Autoencoder, Outcome], expected: tuple[Autoencoder, Outcome]) -> None:
    for name, tensor in expected[0].state_dict().items():
        assert torch.equal(found[0].state_dict()[name], tensor), name
    assert found[1] == expected[1]


def phases(outcome: Outcome) -> list[tuple[str, int]]:
    return [(row["phase"], row["epoch"]) for row in outcome.trace]


def test_denoising_start_trains_one_layer_after_the_other_and_then_all() -> None:
    _, outcome = train("mlp")
    layers = [(f"layer{depth}", epoch) for depth in (1, 2, 3) for epoch in range(3)]
    assert phases(outcome) == layers + [("pretrain", epoch) for epoch in range(6)]
    assert outcome.n_iter == 6 * (320 // 32)
    for first, last in [(0, 2), (3, 5), (6, 8)]:
        assert outcome.trace[last]["loss"] < outcome.trace[first]["loss"]


@pytest.mark.parametrize(
    "start", [{}, {"network": "sigmoid"}, {"network": "sigmoid", "start": "rbm", "rbm_batch_size": 32}], ids=str
)
def test_lengths_of_all_phases_may_be_iterations(start: dict[str, Any]) -> None:
    _, outcome = train("mlp", **start, layerwise_epochs="13 iterations", epochs="21 iterations")
    layer = "rbm" if "start" in start else "layer"
    layers = [(f"{layer}{depth}", epoch) for depth in (1, 2, 3) for epoch in range(2)]  # an epoch is ten batches
    assert phases(outcome) == layers + [("pretrain", epoch) for epoch in range(3)]
    assert outcome.n_iter == 21


@pytest.mark.parametrize("batch_norm", [False, True])
def test_denoising_start_lowers_the_first_epochs_error(batch_norm: bool) -> None:
    with_start = train("mlp", layerwise_epochs=5, batch_norm=batch_norm)[1].trace[15]
    without = train("mlp", layerwise_epochs=0, batch_norm=batch_norm)[1].trace[0]
    assert with_start["phase"] == without["phase"] == "pretrain"
    assert with_start["loss"] < 0.8 * without["loss"]


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_reconstruction_error_falls_below_that_of_the_mean_image(kind: str) -> None:
    X = digits()
    unmoved: dict[str, Any] = {"augmentation": None} if kind == "conv" else {}
    network, outcome = train(kind, epochs=30, learning_rate=5e-3, **unmoved)
    losses = [row["loss"] for row in outcome.trace if row["phase"] == "pretrain"]
    assert losses[-1] < 0.6 * losses[0]
    error = F.mse_loss(network.eval()(X)[1], X).item()
    assert error < 0.7 * F.mse_loss(X.mean(dim=0).expand_as(X), X).item()
    assert error == pytest.approx(losses[-1], rel=0.25)  # the same measure, a few steps and batches apart


def test_no_epochs_leave_the_initial_weights() -> None:
    network, outcome = train("mlp", epochs=0, layerwise_epochs=0)
    assert (outcome.trace, outcome.n_iter) == ([], 0)
    started = (
        network_of(NETWORKS["mlp"])
        .build(64, SHAPE, torch.Generator().manual_seed(derive_seed(0, "weights")))
        .state_dict()
    )
    assert all(torch.equal(value, started[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("optimizer", ["adam", "adadelta", "sgd"])
def test_every_optimizer_lowers_the_reconstruction_error(optimizer: str) -> None:
    rates = {"adam": 5e-3, "adadelta": 1.0, "sgd": 0.1}
    _, outcome = train("mlp", optimizer=optimizer, learning_rate=rates[optimizer], layerwise_epochs=0, epochs=20)
    losses = [row["loss"] for row in outcome.trace]
    assert losses[-1] < 0.8 * losses[0]


def test_norm_term_draws_the_codes_onto_the_unit_sphere() -> None:
    free, drawn = (train("mlp", network="sphere", norm_weight=w, learning_rate=5e-3, epochs=20)[0] for w in (0.0, 10.0))
    with torch.no_grad():
        spread = [float((network.encode(digits()).norm(dim=1) - 1).abs().mean()) for network in (free, drawn)]
    assert spread[1] < 0.1 < spread[0]


def test_norm_term_is_traced_beside_the_reconstruction() -> None:
    _, outcome = train("mlp", network="sphere", norm_weight=0.5)
    row = outcome.trace[-1]
    assert row["loss"] == pytest.approx(row["loss_reconstruction"] + row["loss_norm"])
    z = train("mlp", network="sphere", norm_weight=0.5, epochs=0, layerwise_epochs=0)[0].encode(digits())
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 320, "learning_rate": 1e-9, "layerwise_epochs": 0}
    first = train("mlp", network="sphere", norm_weight=0.5, **settings)[1].trace[-1]
    per_sample = 0.5 * (z.norm(dim=1) - 1).square().mean().detach()  # beside a squared error summed over features
    assert first["loss_norm"] == pytest.approx(float(per_sample) / digits().shape[1], rel=1e-4)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_augmentation_needs_images(kind: str) -> None:
    settings = network_of(NETWORKS[kind] | {"augmentation": {}})
    with pytest.raises(NotApplicable, match="image"):
        pretrain(digits(), settings, seed=0)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_network_knows_the_shape_of_its_images(kind: str) -> None:
    assert train(kind, epochs=0)[0].image_shape == SHAPE


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_seed_alone_decides_the_result(kind: str) -> None:
    before = torch.get_rng_state()
    first = train(kind)
    assert_same(train(kind), first)
    other = train(kind, seed=1)
    assert not torch.equal(other[0].encode(digits()), first[0].encode(digits()))
    assert torch.equal(torch.get_rng_state(), before)


def test_augmented_images_are_input_and_target() -> None:
    # restoring the moved image is easy for a wide code, restoring the unmoved one from it is not
    wide: dict[str, Any] = {
        "channels": [16],
        "n_embedding": 64,
        "epochs": 25,
        "learning_rate": 3e-3,
        "batch_norm": False,
    }
    _, outcome = train("conv", **wide, augmentation={"rotation": 180, "shift": 0.5, "crop": 0})
    assert outcome.trace[-1]["loss"] < 0.3 * digits().var(dim=0).mean()
    assert outcome != train("conv", **wide, augmentation=None)[1]


def test_data_without_image_shape_have_no_convolutional_network() -> None:
    with pytest.raises(NotApplicable, match="image"):
        pretrain(digits(), network_of(NETWORKS["conv"]), seed=0)


def test_denoising_start_leaves_data_and_code_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    def note(x: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
        shares.append(probability)
        return drop(x, probability, generator)

    monkeypatch.setattr("deepclust.nets.mlp.drop", note)
    train("mlp", layerwise_epochs=1, epochs=0, batch_size=10_000, corruption=0.3)  # one batch a layer, of three
    assert shares == [0, 0.3, 0.3, 0.3, 0.3, 0]


def test_corruption_zeroes_its_share_and_keeps_the_mean() -> None:
    x = torch.full((300, 300), 2.0)
    dropped = drop(x, 0.2, torch.Generator().manual_seed(0))
    assert set(dropped.unique().tolist()) == {0.0, 2.5}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert torch.equal(drop(x, 0.0, torch.Generator()), x)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_blocks_are_the_stack_cut_before_its_linear_layers(batch_norm: bool) -> None:
    network = train("mlp", layerwise_epochs=0, epochs=1, batch_norm=batch_norm)[0]
    for stack in (network.encoder, network.decoder):
        blocks = _blocks(stack)
        assert [layer for block in blocks for layer in block] == list(stack)
        assert all(isinstance(block[0], torch.nn.Linear) for block in blocks)
        assert len(blocks) == 3
        assert len(blocks[-1]) == 1  # nothing after the code and the reconstruction


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_bfloat16_differs_and_stays_close(kind: str) -> None:
    exact, exact_outcome = train(kind)
    with Runtime(precision="bfloat16").open():
        rough, rough_outcome = train(kind)
    assert all(parameter.dtype == torch.float32 for parameter in rough.parameters())
    assert not torch.equal(exact.encode(digits()), rough.encode(digits()))
    for a, b in zip(exact_outcome.trace, rough_outcome.trace, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=0.02)


class Interrupted(Exception):
    pass


@contextmanager
def interruption_after(steps: int) -> Iterator[None]:
    taken = 0

    def count(*_: object) -> None:
        nonlocal taken
        taken += 1
        if taken == steps:
            raise Interrupted

    hook = register_optimizer_step_post_hook(count)
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("mlp", 15), ("mlp", 31), ("mlp", 75), ("mlp", 125), ("conv", 5), ("conv", 35), ("conv", 60), ("sdae", 135)],
)
def test_interrupted_pretraining_ends_with_the_same_bits(kind: str, steps: int, tmp_path: Path) -> None:
    with Runtime(checkpoints=tmp_path, checkpoint_every=2).open():
        with interruption_after(steps):
            train(kind)
        resumed = train(kind)
    assert_same(resumed, trained(kind))


CHILD = """
import sys, time
from pathlib import Path
from torch.optim.optimizer import register_optimizer_step_post_hook
from deepclust.training.runtime import Runtime
from tests.training.test_pretrain import train

steps = 0

def pause(*_):
    global steps
    steps += 1
    if steps == 125:  # in the fourth epoch of the last phase, after its second checkpoint's
        sys.stdout.write("training\\n")
        sys.stdout.flush()
        time.sleep(600)

register_optimizer_step_post_hook(pause)
with Runtime(threads=1, checkpoints=Path(sys.argv[1]), checkpoint_every=2).open():
    train("mlp")
"""


def test_killed_pretraining_ends_with_the_same_bits(warm: dict[str, str], tmp_path: Path) -> None:
    search = os.pathsep.join([str(ROOT), *sys.path])
    environment = os.environ | {"PYTHONPATH": search}
    command = [f"{warm['SITE']}/bin/python", "-c", CHILD, str(tmp_path)]  # its fork is killed with it
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "training\n"
        child.kill()
    assert child.returncode == -signal.SIGKILL
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"{phase}.safetensors" for phase in ("layer1", "layer2", "layer3", "pretrain")}

    with Runtime(threads=1).open():
        expected = train("mlp")
    with Runtime(threads=1, checkpoints=tmp_path, checkpoint_every=2).open():
        assert_same(train("mlp"), expected)
