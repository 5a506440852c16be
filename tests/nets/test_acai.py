"""ACAI: the terms of its pretraining against plain loops, and which weights each of them moves."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets.acai import ACAI, mix
from deepclust.nets.base import Phase
from deepclust.training.loop import in_chunks
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import dynae as reference

SETTINGS = {"network": "acai", "hidden": [16, 8], "n_embedding": 3, "epochs": 3, "batch_size": 8}
X = torch.from_numpy(np.random.default_rng(0).random((8, 12)).astype(np.float32))


def phase_of(**settings: str) -> Phase:
    network = network_of(SETTINGS | settings)
    assert isinstance(network, ACAI)
    (found,) = network.phases(network.build(12, None, torch.Generator().manual_seed(0)), X, None, in_chunks)
    return found


@pytest.fixture
def phase() -> Phase:
    return phase_of()


def modules(phase: Phase) -> tuple[Autoencoder, nn.Module]:
    network, critic = phase.module.children()
    assert isinstance(network, Autoencoder)
    return network, critic


def terms(phase: Phase) -> dict[str, Tensor]:
    return phase.terms(X, torch.arange(len(X)), torch.Generator().manual_seed(1))


def test_terms_are_the_papers(phase: Phase) -> None:
    network, critic = modules(phase)
    u, *a = torch.rand(len(X) + 1, 1, generator=torch.Generator().manual_seed(1)).squeeze(1).tolist()

    def by(module: nn.Module) -> reference.Map:
        def apply(row: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                found: np.ndarray = module(torch.from_numpy(row.astype(np.float32))[None])[0].double().numpy()
            return found

        return apply

    f, g, c = (by(module) for module in (network.encoder, network.decoder, critic))
    expected = reference.acai(X.numpy(), f, g, c, np.array(a), 0.5 - abs(u - 0.5), 0.5)
    assert {name: value.item() for name, value in terms(phase).items()} == pytest.approx(expected, rel=1e-4)


def test_mixtures_of_one_code_alone_are_plain_reconstructions(phase: Phase) -> None:
    network, _ = modules(phase)
    z, reconstruction = network(X)
    for a, expected in ((1.0, reconstruction), (0.0, reconstruction.flip(0))):
        torch.testing.assert_close(network.decode(mix(z, torch.full((len(X), 1), a))), expected)


@pytest.mark.parametrize(("term", "moved"), [("reconstruction", 0), ("adversarial", 0), ("critic", 1)])
def test_a_term_moves_the_autoencoder_or_the_critic(phase: Phase, term: str, moved: int) -> None:
    terms(phase)[term].backward()
    gradients = [
        sum(0.0 if p.grad is None else float(p.grad.abs().sum()) for p in m.parameters()) for m in modules(phase)
    ]
    assert gradients[moved] > 0
    assert gradients[1 - moved] == 0


def test_an_untrained_critic_judges_and_learns_nothing(phase: Phase) -> None:
    released = phase_of(critic="untrained")
    assert [type(module) for module in released.module.children()] == [Autoencoder]
    expected, found = terms(phase), terms(released)
    assert found == {name: expected[name] for name in ("reconstruction", "adversarial")}


def test_critic_starts_at_random_by_the_seed_of_the_network() -> None:
    def start(seed: int) -> Tensor:
        settings = network_of(SETTINGS)
        network = settings.build(12, None, torch.Generator().manual_seed(seed))
        (phase,) = settings.phases(network, X, None, in_chunks)
        _, critic = phase.module.children()
        weights = torch.cat([p.detach().ravel() for p in critic.parameters()])
        assert not torch.equal(weights, torch.cat([p.detach().ravel() for p in network.encoder.parameters()]))
        return weights

    assert torch.equal(start(0), start(0))
    assert not torch.equal(start(0), start(1))


def test_pretraining_restores_and_the_critic_is_not_kept() -> None:
    settings = network_of(SETTINGS | {"epochs": 200, "learning_rate": 1e-2})
    network, outcome = pretrain(X, settings, seed=0)
    assert outcome.trace[-1]["loss_reconstruction"] < 0.5 * outcome.trace[0]["loss_reconstruction"]
    assert {name.split(".")[0] for name in network.state_dict()} == {"encoder", "decoder"}
