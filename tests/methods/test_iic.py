"""IIC: its loss against loops and closed forms, its heads, and the choice among them."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from deepclust.errors import NotApplicable
from deepclust.methods.views import iic
from deepclust.methods.views.iic import IIC, IICState, information_loss
from deepclust.nets._autoencoder import Autoencoder
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime
from tests.networks import network_of
from tests.references import views as reference

X = load_digits().data[:200].astype(np.float32) / 16


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    settings = {"network": "wide_conv", "channels": [4, 8], "n_embedding": 16}
    return pretrain(torch.from_numpy(X), network_of(settings), seed=0, image_shape=(1, 8, 8))[0]


def quick(n_clusters: int = 10, **settings: Any) -> IIC:
    short = {"random_state": 0, "epochs": 3, "batch_size": 50, "n_heads": 2, "learning_rate": 1e-3, "device": "cpu"}
    return IIC(n_clusters, **{**short, **settings})


def soft(n_heads: int = 3, n_clusters: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).dirichlet([1.0] * n_clusters, size=(2, 20, n_heads)))


# -------------------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("lam", [0.0, 1.0, 1.5])
def test_loss_of_every_head_equals_the_formula(lam: float) -> None:
    p, other = soft()
    found = information_loss(p, other, lam)
    expected = [reference.information_loss(p[:, h].numpy(), other[:, h].numpy(), lam) for h in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_loss_is_least_where_both_views_are_sure_of_clusters_of_equal_size() -> None:
    sure = torch.eye(4, dtype=torch.float64)[torch.arange(20) % 4].unsqueeze(1)
    assert information_loss(sure, sure).item() == pytest.approx(-math.log(4), abs=1e-12)
    p, other = soft()
    assert bool((information_loss(p, other) > -math.log(4)).all())
    one = torch.eye(4, dtype=torch.float64)[torch.zeros(20, dtype=torch.int64)].unsqueeze(1)
    assert information_loss(one, one).item() == pytest.approx(0, abs=1e-12)  # all in one cluster


def test_the_loss_is_in_float32_where_products_are_in_bfloat16(
    network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noted(*views: Any) -> Tensor:
        seen.append(information_loss(*views))
        return seen[-1]

    monkeypatch.setattr(iic, "information_loss", noted)
    with Runtime(1, "bfloat16").open():
        quick(epochs=1).fit(X, network=network)
    assert {loss.dtype for loss in seen} == {torch.float32}


def test_loss_does_not_depend_on_the_order_of_clusters_or_of_views() -> None:
    p, other = soft()
    order = [2, 0, 3, 1]
    torch.testing.assert_close(information_loss(p[..., order], other[..., order]), information_loss(p, other))
    torch.testing.assert_close(information_loss(other, p), information_loss(p, other))


def test_gradient_is_that_of_differences_and_none_where_nothing_is_known() -> None:
    logits = torch.randn(2, 6, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return information_loss(a.softmax(dim=2), b.softmax(dim=2)).sum()

    assert torch.autograd.gradcheck(loss, [part.requires_grad_() for part in logits.unbind()])
    flat = torch.zeros(6, 1, 3, dtype=torch.float64, requires_grad=True)
    loss(flat, flat).backward()
    assert flat.grad is not None
    np.testing.assert_allclose(flat.grad, 0, atol=1e-15)


# ----------------------------------------------------------------------------------------------------------- heads


def test_every_third_epoch_trains_the_heads_of_many_clusters(network: Autoencoder) -> None:
    method = quick(epochs=5).fit(X, network=network)
    assert [row["overclusters"] for row in method.trace_] == [True, False, False, True, False]
    state = IICState(network, 16, (50, 10), 2, seed=0)
    for overclusters, count in ((True, 50), (False, 10)):
        state.overclusters = overclusters
        shares = state.probabilities(torch.from_numpy(X[:5]))
        assert shares.shape == (5, 2, count)
        torch.testing.assert_close(shares.sum(dim=2), torch.ones(5, 2))


def test_first_loss_is_that_of_the_heads_of_many_clusters(network: Autoencoder) -> None:
    method = quick(epochs=1, batch_size=len(X), n_overclusters=7, augment=False, corruption=0.0)
    method.fit(X, network=network)
    state = IICState(network, 16, (7, 10), 2, seed=method._seed)
    network.train()
    with torch.no_grad():
        p = state.probabilities(torch.from_numpy(X)).double().numpy()
    network.eval()
    expected = np.mean([reference.information_loss(p[:, h], p[:, h], 1.0) for h in range(2)])
    assert method.trace_[0]["loss"] == pytest.approx(expected, rel=1e-3)


def test_labels_are_those_of_the_head_with_the_least_loss(network: Autoencoder) -> None:
    method = quick(n_heads=4, epochs=6).fit(X, network=network)
    losses = method.extras_["head_losses"]
    assert losses.shape == (4,)
    assert len(set(losses.tolist())) == 4
    assert method.head_["weight"].shape == (10, 16)
    shares = torch.from_numpy(method.predict_proba(X)[:, None])
    best = information_loss(shares, shares).item()  # without a map the loss is less, or the like
    assert best < losses.min() + 0.1


def test_groups_that_noise_leaves_apart_are_found() -> None:
    """Noisy copies of two patterns, as rows that are no images."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    rows = (rng.random((2, 40))[y] + 0.05 * rng.normal(size=(300, 40))).astype(np.float32)
    flat = {"pretraining": {"hidden": [32], "n_embedding": 16, "epochs": 2}}
    found = quick(2, epochs=20, learning_rate=3e-3, **flat).fit(rows)
    assert adjusted_rand_score(y, found.labels_) > 0.9
    assert found.extras_["head_losses"].min() == pytest.approx(-math.log(2), abs=0.05)


# ----------------------------------------------------------------------------------------------------------- views


def test_rows_that_are_no_images_have_no_affine_maps(network: Autoencoder) -> None:
    flat: dict[str, Any] = {"pretraining": {"hidden": [16], "epochs": 1}, "epochs": 1}
    default, plain = (quick(augment=value, **flat).fit(X) for value in (None, False))
    np.testing.assert_array_equal(default.embedding_, plain.embedding_)
    assert default.trace_[0]["loss"] != quick(corruption=0.5, **flat).fit(X).trace_[0]["loss"]
    with pytest.raises(NotApplicable, match="image shape; leave `augment` out"):
        quick(augment=True, **flat).fit(X)
    default, asked = (quick(augment=value, epochs=1).fit(X, network=network) for value in (None, True))
    np.testing.assert_array_equal(default.embedding_, asked.embedding_)
