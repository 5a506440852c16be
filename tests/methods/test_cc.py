"""CC: its losses against loops and closed forms, its two heads, and the erased rectangles."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from deepclust.methods.views import cc
from deepclust.methods.views._views import erase
from deepclust.methods.views.cc import CC, CCState, nt_xent, unevenness
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


def quick(n_clusters: int = 10, **settings: Any) -> CC:
    short = {"random_state": 0, "epochs": 2, "batch_size": 50, "learning_rate": 1e-3, "device": "cpu"}
    return CC(n_clusters, **{**short, **settings})


# ------------------------------------------------------------------------------------------------------ the losses


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_contrast_equals_the_formula_and_does_not_depend_on_the_order_of_views(temperature: float) -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 6, 4))
    found = nt_xent(torch.from_numpy(one), torch.from_numpy(other), temperature)
    assert found.item() == pytest.approx(reference.nt_xent(one, other, temperature), rel=1e-12)
    swapped = nt_xent(torch.from_numpy(other), torch.from_numpy(one), temperature)
    assert swapped.item() == pytest.approx(found.item(), rel=1e-12)


def test_clusters_that_agree_and_are_equally_large_have_the_least_loss() -> None:
    sure = torch.eye(5, dtype=torch.float64)[torch.arange(40) % 5]
    best = math.log(math.e + 2 * (5 - 1)) - 1  # cosines: 1 with the other view, 0 with all other columns
    assert nt_xent(sure.T, sure.T, 1.0).item() == pytest.approx(best, rel=1e-12)
    assert unevenness(sure).item() == pytest.approx(0, abs=1e-12)
    p, other = torch.from_numpy(np.random.default_rng(0).dirichlet([1.0] * 5, size=(2, 40)))
    assert nt_xent(p.T, other.T, 1.0).item() > best
    assert unevenness(p).item() == pytest.approx(math.log(5) - reference.entropy(p.mean(dim=0).numpy()), rel=1e-10)


def test_empty_clusters_and_a_single_one_have_finite_losses_and_gradients() -> None:
    p = torch.eye(4)[torch.zeros(10, dtype=torch.int64)].requires_grad_()
    loss = nt_xent(p.T, p.T, 1.0) + unevenness(p)
    loss.backward()
    assert p.grad is not None
    assert bool(p.grad.isfinite().all())
    assert unevenness(p).item() == pytest.approx(math.log(4), rel=1e-6)
    assert nt_xent(p.T[:1], p.T[:1], 1.0).item() == pytest.approx(0, abs=1e-6)


def test_gradients_are_those_of_differences() -> None:
    rows = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), [part.requires_grad_() for part in rows.unbind()])


# ------------------------------------------------------------------------------------------------------- training


def test_first_loss_is_the_sum_of_the_formulas(network: Autoencoder) -> None:
    method = quick(epochs=1, batch_size=len(X), augment=False, corruption=0.0).fit(X, network=network)
    state = CCState(network, 16, 128, 10, seed=method._seed)
    network.train()
    with torch.no_grad():
        codes = network.encode(torch.from_numpy(X))
        z, p = state.instance(codes).double().numpy(), state.cluster(codes).double().softmax(dim=1).numpy()
    network.eval()
    row = method.trace_[0]
    assert row["loss_instances"] == pytest.approx(reference.nt_xent(z, z, 0.5), rel=1e-3)
    assert row["loss_clusters"] == pytest.approx(reference.nt_xent(p.T, p.T, 1.0), rel=1e-3)
    sizes = 2 * (math.log(10) - reference.entropy(p.mean(axis=0)))
    assert row["loss_sizes"] == pytest.approx(sizes, rel=1e-2, abs=1e-5)


def test_each_view_is_a_batch_of_its_own_and_the_losses_are_in_float32(
    network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths, kinds = [], set()

    def encoded(self: Autoencoder, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            lengths.append(len(x))
        return encode(self, x)

    def noted(*rows: Any) -> torch.Tensor:
        loss = nt_xent(*rows)
        kinds.add((loss.dtype, torch.is_autocast_enabled("cpu")))
        return loss

    encode = Autoencoder.encode
    monkeypatch.setattr(Autoencoder, "encode", encoded)
    monkeypatch.setattr(cc, "nt_xent", noted)
    with Runtime(1, "bfloat16").open():
        quick(epochs=1, batch_size=50).fit(X, network=network)
    assert lengths == [50] * 8
    assert kinds == {(torch.float32, False)}


def test_labels_are_the_largest_outputs_of_the_trained_head(network: Autoencoder) -> None:
    method = quick().fit(X, network=network)
    head = CCState(method.network_, 16, 128, 10, seed=0).cluster
    head.load_state_dict({name: torch.from_numpy(value) for name, value in method.head_.items()})
    with torch.no_grad():
        outputs = head(method.network_.eval().encode(torch.from_numpy(X)))
    np.testing.assert_array_equal(outputs.argmax(dim=1), method.labels_)
    np.testing.assert_allclose(outputs.softmax(dim=1), method.predict_proba(X), atol=1e-5)


def test_groups_that_noise_leaves_apart_are_found() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 4
    rows = (rng.random((4, 40))[y] + 0.05 * rng.normal(size=(300, 40))).astype(np.float32)
    flat = {"pretraining": {"hidden": [32], "n_embedding": 16, "epochs": 2}}
    assert adjusted_rand_score(y, quick(4, epochs=25, **flat).fit(rows).labels_) > 0.9


# --------------------------------------------------------------------------------------------------------- erasing


def test_rectangles_are_erased_in_all_channels_of_a_share_of_the_images() -> None:
    images = torch.ones(4000, 2 * 20 * 10)
    found = erase(images, 0.5, torch.Generator().manual_seed(0), (2, 20, 10)).view(-1, 2, 20, 10)
    torch.testing.assert_close(found[:, 0], found[:, 1])
    gone = found[:, 0] == 0
    assert float(gone.any(dim=(1, 2)).float().mean()) == pytest.approx(0.5, abs=0.03)
    rectangle = gone.any(dim=2).unsqueeze(2) & gone.any(dim=1).unsqueeze(1)
    assert torch.equal(rectangle, gone)  # whole rows of whole columns
    share = gone[gone.any(dim=(1, 2))].float().mean(dim=(1, 2))
    assert float(share.mean()) == pytest.approx((0.02 + 0.33) / 2, abs=0.02)
    assert float(share.max()) < 0.41  # 0.33, and pixels that are half inside
    assert torch.equal(erase(images, 0.0, torch.Generator(), (2, 20, 10)), images)


def test_images_have_rectangles_erased_and_other_rows_have_not(network: Autoencoder) -> None:
    found = [quick(epochs=1, erasing=share).fit(X, network=network).trace_[0]["loss"] for share in (0.0, 0.9)]
    assert found[0] != found[1]
    flat: dict[str, Any] = {"pretraining": {"hidden": [16], "epochs": 1}, "epochs": 1}
    found = [quick(erasing=share, **flat).fit(X).trace_[0]["loss"] for share in (0.0, 0.9)]
    assert found[0] == found[1]
