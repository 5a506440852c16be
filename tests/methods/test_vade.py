"""VaDE: the loss against the paper's sums, its limits, the start from a mixture, and a run on blobs."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from deepclust.errors import NotApplicable
from deepclust.losses.latent_mixture import divergences, log_joint
from deepclust.methods import _deep
from deepclust.methods.generative.vade import VaDE
from deepclust.metrics import external
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.loop import Outcome, train
from deepclust.training.pretrain import pretrain
from tests.networks import network_of
from tests.references import vade as reference

X = load_digits().data[:300].astype(np.float32) / 16
SMALL = {"network": "bernoulli", "hidden": [24], "n_embedding": 4, "epochs": 5, "batch_size": 32}
outputs = pytest.mark.parametrize("output", ["sigmoid", "linear"])


def mixture(n_clusters: int, n_embedding: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random weights (K,), means (K, P) and variances (K, P)."""
    rng = np.random.default_rng(seed)
    shape = n_clusters, n_embedding
    return rng.dirichlet(np.ones(n_clusters)), rng.normal(size=shape), rng.uniform(0.3, 2, size=shape)


def tensors(weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(np.log(weights)), torch.from_numpy(means), torch.from_numpy(np.log(variances))


def codes(n: int, n_embedding: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Return random z, m and ln s^2 (B, P)."""
    z, m, log_variance = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, n, n_embedding))).unbind()
    return z, m, log_variance


def samples(batch: tuple[Tensor, ...], prior: tuple[np.ndarray, ...]) -> list[Any]:
    """Return the arguments of `reference.code_terms` for each row of a batch."""
    return [(*(part[row].double().numpy() for part in batch), *prior) for row in range(len(batch[0]))]


def code_terms(z: Tensor, m: Tensor, log_variance: Tensor, *prior: Tensor) -> Tensor:
    """Return the loss of each sample (B,) but for the reconstruction."""
    log_gamma = log_joint(z, *prior).log_softmax(dim=1)
    return (log_gamma.exp() * (divergences(m, log_variance, *prior[1:]) + log_gamma - prior[0])).sum(dim=1)


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(torch.from_numpy(X), network_of(SMALL), seed=0, image_shape=(1, 8, 8))[0]


def quick(**settings: Any) -> Any:
    return VaDE(10, **{"random_state": 0, "epochs": 2, "batch_size": 32, "n_init": 1, "device": "cpu", **settings})


# ------------------------------------------------------------------------------------------------------ the loss


@pytest.mark.parametrize(("n_clusters", "n_embedding"), [(1, 1), (3, 2), (5, 4)])
def test_loss_of_the_code_equals_the_printed_sums(n_clusters: int, n_embedding: int) -> None:
    prior = mixture(n_clusters, n_embedding)
    batch = codes(6, n_embedding)
    found = code_terms(*batch, *tensors(*prior))
    expected = [reference.code_terms(*rows) for rows in samples(batch, prior)]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    gamma = log_joint(batch[0], *tensors(*prior)).softmax(dim=1)
    np.testing.assert_allclose(gamma, [reference.responsibilities(z, *prior) for z in batch[0].numpy()], rtol=1e-9)


def test_one_standard_component_gives_the_variational_autoencoders_bound() -> None:
    z, m, log_variance = codes(7, 3)
    found = code_terms(z, m, log_variance, torch.zeros(1), torch.zeros(1, 3), torch.zeros(1, 3))
    expected = (log_variance.exp() + m.square() - 1 - log_variance).sum(dim=1) / 2
    torch.testing.assert_close(found, expected)


def test_responsibilities_are_those_of_scikit_learns_mixture() -> None:
    weights, means, variances = mixture(4, 3)
    model = GaussianMixture(4, covariance_type="diag")
    model.weights_, model.means_, model.precisions_cholesky_ = weights, means, variances**-0.5
    z = codes(20, 3)[0]
    gamma = log_joint(z, *tensors(weights, means, variances)).softmax(dim=1)
    np.testing.assert_allclose(gamma, model.predict_proba(z.numpy()), atol=1e-12)


def test_responsibilities_far_from_all_components_are_finite_and_sum_to_one() -> None:
    prior = [part.float().requires_grad_() for part in tensors(*mixture(5, 4))]
    z = torch.full((2, 4), 1e4) * torch.tensor([[1.0], [-1.0]])
    log_gamma = log_joint(z, *prior).log_softmax(dim=1)
    torch.testing.assert_close(log_gamma.exp().sum(dim=1), torch.ones(2))
    (log_gamma.exp() * log_gamma).sum().backward()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in prior)


def test_names_and_halves_of_components_do_not_matter() -> None:
    weights, means, variances = mixture(4, 3)
    batch = codes(9, 3)
    expected = code_terms(*batch, *tensors(weights, means, variances))
    order = np.array([2, 0, 3, 1])
    torch.testing.assert_close(code_terms(*batch, *tensors(weights[order], means[order], variances[order])), expected)
    twice = np.array([0, 1, 2, 3, 3])
    halved = tensors(weights[twice] * [1, 1, 1, 0.5, 0.5], means[twice], variances[twice])
    torch.testing.assert_close(code_terms(*batch, *halved), expected)


def test_loss_of_the_code_is_the_expected_log_ratio_at_fixed_responsibilities() -> None:
    """E_q(z) sum_c gamma_c [ln q(z) gamma_c - ln p(z, c)], by a million draws."""
    prior = tensors(*mixture(3, 2))
    z, m, log_variance = codes(1, 2)
    log_gamma = log_joint(z, *prior).log_softmax(dim=1)
    noise = torch.randn(1_000_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = m + (log_variance / 2).exp() * noise
    log_q = torch.distributions.Normal(m[0], (log_variance[0] / 2).exp()).log_prob(draws).sum(dim=1, keepdim=True)
    ratio = (log_gamma.exp() * (log_q + log_gamma - log_joint(draws, *prior))).sum(dim=1)
    error = float(ratio.std()) / 1000
    assert abs(float(ratio.mean() - code_terms(z, m, log_variance, *prior))) < 4 * error < 0.02


def test_gradients_are_those_of_finite_differences() -> None:
    prior = [part.requires_grad_() for part in tensors(*mixture(3, 2))]
    batch = [part.requires_grad_() for part in codes(4, 2)]
    assert torch.autograd.gradcheck(code_terms, (*batch, *prior))


@outputs
def test_batch_loss_equals_the_formulas(output: str, network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    if output == "linear":
        network = pretrain(torch.from_numpy(X), network_of(SMALL | {"output": output}), seed=0)[0]
    seen: list[float] = []

    def training(state: Any, data: Tensor, terms: Any, **rest: Any) -> Outcome:
        index = torch.arange(0, 40, 7)
        x = data[index]
        found = terms(x, index, torch.Generator().manual_seed(3))
        with torch.no_grad():
            m, log_variance = state.encode(x)
            torch.testing.assert_close(m, state.network.encode(x))
            noise = torch.randn(m.shape, generator=torch.Generator().manual_seed(3))
            z = m + (log_variance / 2).exp() * noise
            decoded = state.network.decode(z).double().numpy()
        weights, *rest_of_it = (part.detach().double().exp().numpy() for part in state.mixture()[::2])
        prior = weights, state.means.detach().double().numpy(), rest_of_it[0]
        in_code = [reference.code_terms(*rows) for rows in samples((z, m, log_variance), prior)]
        expected = []
        for row, image in enumerate(x.double().numpy()):
            squared = 5 * float(sum((image - decoded[row]) ** 2))
            expected.append(
                in_code[row] + (reference.cross_entropy(image, decoded[row]) if output == "sigmoid" else squared)
            )
        assert sum(found.values()).item() == pytest.approx(np.mean(expected), rel=1e-5)
        seen.append(found["reconstruction"].item())
        return train(state, data, terms, **rest)

    monkeypatch.setattr(_deep, "train", training)
    quick(error_weight=5.0).fit(X, network=network)
    assert len(seen) == 1


# ----------------------------------------------------------------------------------------------------- the method


def started(network: Autoencoder, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Any, Any]:
    """Return a method and its state before the first batch."""
    states = []

    def training(state: Any, *_: Any, **__: Any) -> Outcome:
        states.append(state)
        return Outcome([], 1, False)

    monkeypatch.setattr(_deep, "train", training)
    return quick(**settings).fit(X, network=network), states[0]


@pytest.mark.parametrize("start", ["gmm", "kmeans"])
def test_training_starts_at_the_mixture_of_the_means(
    start: str, network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, state = started(network, monkeypatch, start=start)
    gamma = log_joint(torch.from_numpy(method.embedding_), *state.mixture()).argmax(dim=1).numpy()
    np.testing.assert_array_equal(method.labels_, gamma)
    np.testing.assert_allclose(method.weights_.sum(), 1, rtol=1e-6)
    if start == "gmm":
        model = GaussianMixture(10, covariance_type="diag", reg_covar=1e-3, random_state=method._seed)
        np.testing.assert_array_equal(model.fit_predict(method.embedding_.astype(np.float64)), method.labels_)
        np.testing.assert_allclose(method.covariances_, model.covariances_, rtol=1e-5)
    else:
        assert (method.covariances_ == 1).all()
    with torch.no_grad():
        m, log_variance = state.encode(torch.from_numpy(X))
    np.testing.assert_array_equal(m, method.embedding_)
    np.testing.assert_allclose(log_variance.exp(), np.tile(method.covariances_.mean(axis=0), (len(X), 1)), rtol=1e-5)


def test_start_of_the_released_code_is_at_hand(network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    method, state = started(network, monkeypatch, initial_weights="uniform", variance_head="random")
    np.testing.assert_allclose(method.weights_, np.full(10, 0.1), rtol=1e-6)
    bound = (6 / (24 + 4)) ** 0.5
    assert 0.8 * bound < state.variance.weight.abs().max() <= bound
    assert (state.variance.bias == 0).all()


def test_rates_decay_to_their_floor(network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[list[float]] = []

    def training(state: Any, data: Tensor, terms: Any, *, steps: Any, optimizer: Any, **_: Any) -> Outcome:
        for _epoch in range(8):
            steps.before()
            rates.append([group["lr"] for group in optimizer.param_groups])
            state.changed += 1
            steps.after()
        return Outcome([], 8, False)

    monkeypatch.setattr(_deep, "train", training)
    settings = {"learning_rate": 1.0, "mixture_learning_rate": 0.1, "decay": 0.5, "decay_epochs": 2}
    quick(**settings, lowest_rate=0.2).fit(X, network=network)
    np.testing.assert_allclose(rates, [[rate, 0.1] for rate in (1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2)])


def test_separated_blobs_are_found_from_the_kmeans_start() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    blobs = np.array([[0, 0], [4, 0], [0, 4]])[y] + 0.3 * rng.normal(size=(150, 2))
    pretraining = {"hidden": [16], "n_embedding": 2, "epochs": 60, "batch_size": 30, "learning_rate": 1e-2}
    method = VaDE(3, start="kmeans", epochs=20, batch_size=30, pretraining=pretraining, random_state=0, device="cpu")
    assert external(y, method.fit(blobs).labels_)["acc"] == 1
    assert method.trace_[-1]["alive"] == 3
    assert method.trace_[-1]["loss"] < method.trace_[0]["loss"]


def test_training_lowers_the_loss_and_moves_every_part(network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        start, _ = started(network, patch)
    method = quick(epochs=15).fit(X, network=network)
    assert method.trace_[-1]["loss"] < 0.95 * method.trace_[0]["loss"]
    for name in ("cluster_centers_", "covariances_", "weights_", "embedding_"):
        assert np.abs(getattr(method, name) - getattr(start, name)).max() > 1e-3
    assert (method.covariances_ > 0).all()
    assert set(method.trace_[0]) >= {"loss_reconstruction", "loss_code", "loss_assignment", "label_change", "alive"}
    decoded = method.extras_["decoded_centers"]
    assert decoded.shape == (10, 64)
    assert decoded.min() >= 0
    assert decoded.max() <= 1


def test_a_bernoulli_distribution_of_other_data_is_refused(network: Autoencoder) -> None:
    with pytest.raises(NotApplicable, match=r"needs data in \[0, 1\], got values from -1 to 1; rescale the data, or"):
        quick().fit(2 * X - 1, network=network)


# ---------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize(
    ("shape", "output", "last"),
    [
        ((1, 8, 8), None, nn.Sigmoid),
        (None, None, nn.Linear),
        ((1, 8, 8), "linear", nn.Linear),
        (None, "sigmoid", nn.Sigmoid),
    ],
)
def test_images_have_a_sigmoid_output_alone(shape: Any, output: Any, last: type[nn.Module]) -> None:
    net = network_of(SMALL | {"output": output}).build(64, shape, torch.Generator().manual_seed(0))
    assert type(net.decoder[-1]) is last
    assert type(net.encoder[-1]) is nn.Linear
    assert sum(isinstance(layer, nn.Sigmoid) for layer in net.modules()) == (last is nn.Sigmoid)


@pytest.mark.parametrize("layerwise", [0, 1])
def test_pretraining_minimises_the_cross_entropy(layerwise: int) -> None:
    settings = network_of(SMALL | {"layerwise_epochs": layerwise, "epochs": 8})
    net, outcome = pretrain(torch.from_numpy(X), settings, seed=0, image_shape=(1, 8, 8))
    with torch.no_grad():
        output = net(torch.from_numpy(X))[1]
    found = F.binary_cross_entropy(output, torch.from_numpy(X)).item()
    rows = zip(X.astype(float), output.double().numpy(), strict=True)
    expected = np.mean([reference.cross_entropy(*row) / 64 for row in rows])
    assert found == pytest.approx(expected, rel=1e-5)
    assert outcome.trace[-1]["loss"] == pytest.approx(found, rel=0.05)
    assert found < 0.8 * np.log(2)
    with pytest.raises(NotApplicable, match=r"needs data in \[0, 1\]"):
        pretrain(torch.from_numpy(2 * X), settings, seed=0, image_shape=(1, 8, 8))
