"""Restricted Boltzmann machines: CD-1 against plain loops, what they learn of digits, and the network they start."""

import functools
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._rbm import Machine, Units, machines
from deepclust.nets.base import Phase
from deepclust.training.loop import EpochSteps, Outcome, in_chunks, train
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime
from tests.networks import network_of
from tests.references import rbm as reference

DIGITS = torch.from_numpy(load_digits().data / 16).float()
X = DIGITS[:600]
SETTINGS: dict[str, Any] = {"network": "sigmoid", "start": "rbm", "hidden": [40, 30], "n_embedding": 6}
SHORT = {"layerwise_epochs": 8, "epochs": 3, "batch_size": 50, "rbm_batch_size": 20, "learning_rate": 1e-3}
both = pytest.mark.parametrize(("visible", "hidden"), list(itertools.product(["binary", "gaussian"], repeat=2)))


def start(data: Tensor = X, seed: int = 0, **changes: Any) -> tuple[Autoencoder, Outcome]:
    return pretrain(data, network_of(SETTINGS | SHORT | changes), seed=seed)


@functools.cache
def started() -> tuple[Autoencoder, Outcome]:
    """Return what seed 0 and no changes give, once for all tests that only look at it."""
    return start()


def small(visible: Units, hidden: Units, n_visible: int = 5, n_hidden: int = 3) -> Machine:
    generator = torch.Generator().manual_seed(1)
    down, up = nn.Linear(n_visible, n_hidden), nn.Linear(n_hidden, n_visible)
    for weights in (down.weight, down.bias, up.bias):
        nn.init.normal_(weights, std=0.5, generator=generator)
    return Machine(down, up, visible, hidden)


def arrays(machine: Machine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W, a and b in float64."""
    W, a, b = (t.detach().double().numpy() for t in (machine.down.weight, machine.up.bias, machine.down.bias))
    return W, a, b


def linear(stack: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in stack if isinstance(layer, nn.Linear)]


@both
def test_gradient_is_minus_cd1s_statistics(visible: Units, hidden: Units) -> None:
    machine = small(visible, hidden)
    v = torch.rand(7, 5, generator=torch.Generator().manual_seed(2))
    draw = torch.rand if hidden == "binary" else torch.randn
    noise = draw((7, 3), generator=torch.Generator().manual_seed(3))
    (loss,) = machine.terms(v, torch.arange(7), torch.Generator().manual_seed(3)).values()
    loss.backward()
    expected = reference.statistics(v.double().numpy(), noise.double().numpy(), *arrays(machine), visible, hidden)
    for parameter, ascent in zip((machine.down.weight, machine.up.bias, machine.down.bias), expected, strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(-parameter.grad, ascent, rtol=1e-4, atol=1e-6)
    assert machine.up.weight.grad is None


def test_free_energy_is_that_of_the_sum_over_all_hidden_states() -> None:
    machine = small("binary", "binary")
    v = torch.rand(4, 5, generator=torch.Generator().manual_seed(2))
    expected = [reference.free_energy(row, *arrays(machine)) for row in v.double().numpy()]
    np.testing.assert_allclose(machine.free_energy(v).detach(), expected, rtol=1e-5)


def phases(**changes: Any) -> tuple[list[tuple[nn.Linear, nn.Linear]], Phase]:
    """Return one pair of layers and the training of its machine on X."""
    generator = torch.Generator().manual_seed(0)
    pair = nn.Linear(64, 40), nn.Linear(40, 64)
    for layer in pair:
        nn.init.normal_(layer.weight, std=0.1, generator=generator)
        nn.init.zeros_(layer.bias)
    asked = {"epochs": 10, "batch_size": 20} | changes
    return [pair], next(machines([pair], ["binary", "binary"], [0.1], X, in_chunks, **asked))


def run(phase: Phase, epochs: int) -> Outcome:
    assert phase.optimizer is not None
    assert phase.before is not None
    assert phase.batch_size is not None
    steps = EpochSteps(phase.before, dict)
    asked: dict[str, Any] = {"epochs": epochs, "batch_size": phase.batch_size, "seed": 0, "phase": phase.name}
    return train(phase.module, phase.X, phase.terms, optimizer=phase.optimizer, steps=steps, **asked)


def test_digits_gain_free_energy_over_images_of_the_same_pixels_without_their_bonds() -> None:
    unseen = DIGITS[600:]
    generator = torch.Generator().manual_seed(5)
    shuffled = torch.stack([column[torch.randperm(len(column), generator=generator)] for column in unseen.T], dim=1)
    gaps = []
    for epochs in (1, 3, 10):
        _, phase = phases()
        run(phase, epochs)
        assert isinstance(phase.module, Machine)
        with torch.no_grad():
            energies = [phase.module.free_energy(v).mean().item() for v in (unseen, shuffled)]
        gaps.append(energies[0] - energies[1])
    assert gaps[2] < gaps[1] < gaps[0] < 0
    assert gaps[2] < 2 * gaps[0]


def test_momentum_rises_after_five_epochs_and_weights_alone_decay() -> None:
    _, phase = phases()
    seen = []
    optimizer = phase.optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    assert phase.before is not None
    for _ in range(7):
        phase.before()
        seen.append({group["momentum"] for group in optimizer.param_groups})
    assert seen == [{0.5}] * 5 + [{0.9}] * 2
    decays = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {2: 2e-4, 1: 0}


def test_first_step_is_the_rate_times_statistics_less_the_weight_cost() -> None:
    ((down, up),), phase = phases(batch_size=600)
    W, a, b = (t.detach().double().numpy().copy() for t in (down.weight, up.bias, down.bias))
    generator = torch.Generator().manual_seed(0)
    rows = X[torch.randperm(600, generator=generator)].double().numpy()
    noise = torch.rand((600, 40), generator=generator).double().numpy()
    run(phase, 1)
    means = 1 / (1 + np.exp(-(rows @ W.T + b)))
    h = (noise < means).astype(float)
    again = 1 / (1 + np.exp(-(h @ W + a)))
    means_again = 1 / (1 + np.exp(-(again @ W.T + b)))
    ascent = (means.T @ rows - means_again.T @ again) / 600
    np.testing.assert_allclose(down.weight.detach(), W + 0.1 * (ascent - 2e-4 * W), atol=1e-6)
    np.testing.assert_allclose(up.bias.detach(), 0.1 * (rows - again).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("units", [{}, {"code": "linear"}, {"output": "linear"}], ids=str)
def test_machines_are_unrolled_into_encoder_and_transposed_decoder(units: dict[str, Any]) -> None:
    network, outcome = start(epochs=0, layerwise_epochs=2, **units)
    down, up = linear(network.encoder), linear(network.decoder)[::-1]
    for below, above in zip(down, up, strict=True):
        assert torch.equal(above.weight, below.weight.T)
        assert above.bias.any()
        assert below.bias.any()
    assert [row["phase"] for row in outcome.trace] == [name for name in ("rbm1", "rbm2", "rbm3") for _ in range(2)]
    kinds = [type(stack[-1]) for stack in (network.encoder, network.decoder)]
    ends = [nn.Linear if units.get(name) == "linear" else nn.Sigmoid for name in ("code", "output")]
    assert kinds == ends


def test_each_machine_sees_the_means_of_the_one_below() -> None:
    settings = network_of(SETTINGS | SHORT)
    network = settings.build(64, None, torch.Generator().manual_seed(0))
    depths = []
    for depth, phase in enumerate(settings.phases(network, X, None, in_chunks)):
        below = network.encoder[: 2 * depth if depth < 3 else 0]  # the last phase is the whole network's, on the data
        assert torch.equal(phase.X, in_chunks(below, below, X))
        with torch.no_grad():
            linear(network.encoder)[min(depth, 2)].bias.add_(0.1)  # as if the phase had trained it
        depths.append(depth)
    assert depths == [0, 1, 2, 3]


def test_error_is_less_than_without_a_start_after_the_same_steps() -> None:
    errors = [start(layerwise_epochs=epochs, epochs=10, learning_rate=1e-3)[1].trace[-1]["loss"] for epochs in (0, 20)]
    assert errors[1] < 0.8 * errors[0]


def test_seed_alone_decides_the_result() -> None:
    before = torch.get_rng_state()
    first, again, other = start(seed=1), start(seed=1), start(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert first[1] == again[1]
    for name, value in first[0].state_dict().items():
        assert torch.equal(value, again[0].state_dict()[name])
    assert not torch.equal(first[0].encode(X), other[0].encode(X))


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop", [15, 200, 400])
def test_interrupted_start_ends_with_the_same_bits(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = started()
    taken = 0
    terms = Machine.terms

    def interrupted(self: Machine, *given: Any) -> dict[str, Tensor]:
        nonlocal taken
        taken += 1
        if taken == stop:
            raise Interrupted
        return terms(self, *given)

    with Runtime(checkpoints=tmp_path, checkpoint_every=3).open():
        with monkeypatch.context() as patch:
            patch.setattr(Machine, "terms", interrupted)
            with pytest.raises(Interrupted):
                start()
        resumed = start()
    assert resumed[1] == expected[1]
    for name, value in expected[0].state_dict().items():
        assert torch.equal(value, resumed[0].state_dict()[name]), name


def test_machines_that_diverge_fail_the_seed() -> None:
    with pytest.raises(SeedFailed, match=r"phase 'rbm1'.*lower the learning rate"):
        start(1e3 * X, output="linear", gaussian_learning_rate=1.0)


@pytest.mark.parametrize("data", [X - 0.5, 2 * X], ids=["below", "above"])
def test_data_outside_the_units_range_are_refused(data: Tensor) -> None:
    with pytest.raises(NotApplicable, match=r"need data in \[0, 1\], got values from .*output: linear"):
        start(data)
    start(data, output="linear", epochs=1, layerwise_epochs=1)


def test_batch_norm_is_refused() -> None:
    with pytest.raises(UserError, match="without BatchNorm"):
        start(batch_norm=True)


def test_bfloat16_stays_close() -> None:
    exact = started()[1]
    with Runtime(precision="bfloat16").open():
        rough = start()[1]
    assert rough != exact
    assert rough.trace[-1]["loss"] == pytest.approx(exact.trace[-1]["loss"], rel=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_start_on_a_gpu_repeats_itself_and_is_as_good_as_on_a_cpu() -> None:
    first, again = (start(X.cuda()) for _ in range(2))
    assert first[1] == again[1]
    assert first[1].trace[-1]["loss"] == pytest.approx(start()[1].trace[-1]["loss"], rel=0.1)
