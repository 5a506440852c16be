"""DEC's own pretraining: its steps on data in [0, 1] against the released program's, its lengths and its schedule."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from deepclust.seeding import derive_seed
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import sdae as reference

X = torch.from_numpy(load_digits().data[:200] / 16).float()
SHORT: dict[str, Any] = {"network": "sdae", "hidden": [20, 30], "n_embedding": 5, "batch_size": 200}


def test_weights_on_data_in_0_1_are_those_of_the_released_program_in_its_units() -> None:
    layerwise, whole = 80, 40  # with more, rounding grows
    lengths = {"layerwise_epochs": f"{layerwise} iterations", "epochs": f"{whole} iterations"}
    settings = network_of(SHORT | lengths | {"corruption": 0.0})
    start = settings.build(64, None, torch.Generator().manual_seed(derive_seed(0, "weights")))
    down, up = (
        [layer.weight.detach().numpy().copy() for layer in stack if isinstance(layer, nn.Linear)]
        for stack in (start.encoder, start.decoder)
    )
    assert np.concatenate([W.ravel() for W in down + up]).std() == pytest.approx(0.01, rel=0.05)
    found, _ = pretrain(X, settings, seed=0)
    layers = [layer for stack in (found.encoder, found.decoder) for layer in stack if isinstance(layer, nn.Linear)]
    moved = 0.0
    for layer, (W, b) in zip(layers, reference.pretrained(X.numpy(), down, up, layerwise, whole), strict=True):
        np.testing.assert_allclose(layer.weight.detach(), W, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.bias.detach(), b, rtol=1e-4, atol=1e-5)
        moved = max(moved, np.abs(W).max())
    assert moved > 0.1  # ten standard deviations of the start


def test_lengths_count_batches_and_rate_and_momentum_follow_them() -> None:
    seen: list[tuple[list[float], float]] = []
    settings = SHORT | {"batch_size": 20, "decay_every": 40}
    settings |= {"epochs": "95 iterations", "layerwise_epochs": "31 iterations"}
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, *_: seen.append(
            ([group["lr"] for group in optimizer.param_groups], optimizer.param_groups[0]["momentum"])
        )
    )
    try:
        outcome = pretrain(X, network_of(settings), seed=0)[1]
    finally:
        handle.remove()
    phases = [row["phase"] for row in outcome.trace]  # an epoch has ten batches
    assert phases == ["layer1"] * 4 + ["layer2"] * 4 + ["layer3"] * 4 + ["pretrain"] * 10
    assert len(seen) == 3 * 31 + 95
    for phase in (seen[:31], seen[93:]):
        for batch, ((weights, biases), momentum) in enumerate(phase):
            assert biases == pytest.approx(0.1 * 0.1 ** (batch // 40))
            assert weights == pytest.approx(0.1 * 5.1**2 / 2 * 0.1 ** (batch // 40))
            assert momentum == pytest.approx(0.9 * (batch // 10 * 10 + 5) / 1000)
