"""DECS: what its variants say, what one step minimises, its start, its end, and its way there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from deepclust.errors import NotApplicable, UserError
from deepclust.losses.stability import determinacy, instability, stability
from deepclust.losses.student_t import soft_assignment
from deepclust.methods.baselines.ae_kmeans import AEKMeans
from deepclust.methods.centroids import decs
from deepclust.methods.centroids.decs import DECS
from deepclust.metrics import nmi
from deepclust.nets._autoencoder import Autoencoder
from deepclust.settings import Augmentation
from deepclust.training.loop import make_optimizer
from deepclust.training.pretrain import pretrain
from deepclust.training.runtime import Runtime
from tests.networks import network_of
from tests.references import decs as reference

SETTINGS = {"hidden": [64, 64], "n_embedding": 10, "epochs": 30, "batch_size": 64}
X, Y = load_digits().data[:600].astype(np.float32) / 16, load_digits().target[:600]
SHAPE = (1, 8, 8)
variants = pytest.mark.parametrize("variant", ["paper", "released"])


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    return pretrain(torch.from_numpy(X), network_of(SETTINGS), seed=0, image_shape=SHAPE)[0]


class Quick(DECS):
    """DECS without the partition of its embedding's graph, which takes longer than the short fits here."""

    def _modularity(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        return {"modularity": np.zeros(len(codes), dtype=np.int64)}


def quick(**settings: Any) -> DECS:
    return Quick(10, **{"random_state": 0, "epochs": 3, "batch_size": 64, "n_init": 3, "device": "cpu", **settings})


# --------------------------------------------------------------------------------------------------------- variants


def used(monkeypatch: pytest.MonkeyPatch, network: Autoencoder, **settings: Any) -> dict[str, Any]:
    """Return what the first step of a fit hands to the functions that do the work."""
    found: dict[str, Any] = {}

    def note(name: str, function: Any, *keys: str) -> None:
        def noted(*args: Any, **kwargs: Any) -> Any:
            for key, value in zip(keys, args[-len(keys) :], strict=True):
                found.setdefault(key, value)
            return function(*args, **kwargs)

        monkeypatch.setattr(decs, name, noted)

    note("soft_assignment", soft_assignment, "alpha")
    note("determinacy", determinacy, "power")
    note("stability", stability, "lam")
    note("instability", instability, "batch_variance")
    note("make_optimizer", make_optimizer, "optimizer", "module", "learning_rate")
    quick(epochs=1, **settings).fit(X, network=network)
    del found["module"]
    return found


PAPER = {
    "alpha": 1.0,
    "power": 2,
    "lam": 0.8,
    "batch_variance": False,
    "optimizer": "sgd",
    "learning_rate": decs._LEARNING_RATES["sgd"],
}
RELEASED = {
    "alpha": 0.5,
    "power": 1,
    "lam": 0.4,
    "batch_variance": True,
    "optimizer": "adam",
    "learning_rate": decs._LEARNING_RATES["adam"],
}


@pytest.mark.parametrize(("variant", "expected"), [("paper", PAPER), ("released", RELEASED)])
def test_variant_says_all_that_is_not_said(
    variant: str, expected: dict[str, Any], network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert used(monkeypatch, network, variant=variant) == expected


@pytest.mark.parametrize("name", ["alpha", "power", "lam", "batch_variance", "optimizer", "learning_rate"])
def test_every_difference_is_a_setting_of_its_own(
    name: str, network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = used(monkeypatch, network, **{name: RELEASED[name]})
    if name == "optimizer":  # whose learning rate comes with it
        assert found.pop("learning_rate") == RELEASED["learning_rate"]
    rest = {key: value for key, value in PAPER.items() if key in found and key != name}
    assert found == rest | {name: RELEASED[name]}


def test_settings_of_nought_are_not_taken_for_unsaid(network: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    found = used(monkeypatch, network, variant="released", lam=0.0, batch_variance=False)
    assert (found["lam"], found["batch_variance"]) == (0.0, False)


# --------------------------------------------------------------------------------------------------------- training


@variants
def test_first_batch_minimises_the_papers_loss_at_the_kmeans_start(
    variant: str, network: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Tensor] = []
    real = network.__class__.encode

    def encode(self: Autoencoder, x: Tensor) -> Tensor:
        if x.requires_grad is False and self.training:
            rows.append(x)
        return real(self, x)

    monkeypatch.setattr(Autoencoder, "encode", encode)
    method = quick(variant=variant, epochs=1, batch_size=len(X)).fit(X, network=network)
    start = AEKMeans(10, n_init=3, random_state=0, device="cpu").fit(X, network=network)
    assert len(rows) == 1
    with torch.no_grad():
        z = network.encoder(rows[0]).double().numpy()
    centers = start.cluster_centers_.astype(np.float64)
    alpha, lam = (1.0, 0.8) if variant == "paper" else (0.5, 0.4)
    q = reference.soft_assignment(z, centers, alpha)
    t = method.trace_[0]["threshold"]
    expected = reference.loss(z, centers, t, lam, alpha) if variant == "paper" else reference.released_loss(q, t, lam)
    assert method.trace_[0]["loss"] == pytest.approx(expected, rel=1e-4)


@variants
def test_stability_rises_and_the_partition_does_not_fall_below_its_start(variant: str, network: Autoencoder) -> None:
    method = quick(variant=variant, alpha=0.2, epochs=50).fit(X, network=network)
    start = AEKMeans(10, n_init=3, random_state=0, device="cpu").fit(X, network=network)
    assert method.trace_[-1]["stability"] > method.trace_[0]["stability"] + 0.05
    assert nmi(Y, start.labels_) > 0.5
    assert nmi(Y, method.labels_) > nmi(Y, start.labels_)


def test_training_moves_the_encoder_and_the_centroids_and_drops_the_decoder(network: Autoencoder) -> None:
    start = AEKMeans(10, n_init=3, random_state=0, device="cpu").fit(X, network=network)
    method = quick(optimizer="adam").fit(X, network=network)
    assert np.abs(method.embedding_ - start.embedding_).max() > 1e-2
    assert np.abs(method.cluster_centers_ - start.cluster_centers_).max() > 1e-3
    np.testing.assert_array_equal(method.extras_["embedding_before"], start.embedding_)
    for name, tensor in network.decoder.state_dict().items():
        assert torch.equal(method.network_.decoder.state_dict()[name], tensor), name


def test_augmented_batches_are_other_images_of_the_same_samples(network: Autoencoder) -> None:
    plain, augmented, again = (quick(augment=value).fit(X, network=network) for value in (False, True, True))
    assert plain.trace_[0]["loss"] < augmented.trace_[0]["loss"]  # the network has only seen plain ones
    np.testing.assert_array_equal(augmented.embedding_, again.embedding_)
    with torch.no_grad():
        np.testing.assert_array_equal(augmented.network_.encode(torch.from_numpy(X)).numpy(), augmented.embedding_)


def test_augmentation_has_settings_of_its_own(network: Autoencoder) -> None:
    still: dict[str, Any] = {"rotation": 0.0, "shift": 0.0, "crop": 0.0}
    plain, none, true, declared, border = (
        quick(augment=value).fit(X, network=network).trace_[0]["loss"]
        for value in (False, still, True, {}, Augmentation(crop=0.0, fill="border"))
    )
    assert none == pytest.approx(plain, rel=1e-3)  # the maps are the identity, the batches the same
    assert true == declared
    assert plain < border != true
    for wrong, why in (({"crop": 2.0}, r"augment.crop: .*less than 1"), ("yes", "augment: .*boolean")):
        with pytest.raises(UserError, match=why):
            quick(augment=wrong).fit(X, network=network)


def test_augmentation_of_what_is_no_image_is_refused() -> None:
    flat = {"hidden": [16], "epochs": 1}
    with pytest.raises(NotApplicable, match="image"):
        quick(augment=True, pretraining=flat).fit(X)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop_after", [2, 5])
def test_interrupted_augmented_fit_ends_with_the_same_bits(
    stop_after: int, network: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = quick(variant="released", augment=True, epochs=6)

    def fit(folder: Path) -> DECS:
        with Runtime(threads=1, checkpoints=folder, checkpoint_every=2).open():
            return method.fit(X, network=network)

    epochs: list[int] = []
    last = 0
    clear = decs.DECSState.clear

    def count(self: decs.DECSState) -> None:
        if len(epochs) == last:
            raise Interrupted
        epochs.append(1)
        clear(self)

    monkeypatch.setattr(decs.DECSState, "clear", count)
    last = 6
    fit(tmp_path / "whole")
    expected = method.embedding_, method.labels_, method.cluster_centers_, method.trace_
    epochs, last = [], stop_after
    with pytest.raises(Interrupted):
        fit(tmp_path / "killed")
    epochs, last = [], 6
    fit(tmp_path / "killed")
    assert len(epochs) == 6 - stop_after // 2 * 2  # from the last checkpoint on
    found = method.embedding_, method.labels_, method.cluster_centers_, method.trace_
    for a, b in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[3] == expected[3]


# ---------------------------------------------------------------------------------------------------------- results


def test_labels_are_the_likeliest_clusters_under_the_final_weights(network: Autoencoder) -> None:
    method = quick(alpha=2.0, optimizer="adam").fit(X, network=network)
    z, centers = (torch.from_numpy(array) for array in (method.embedding_, method.cluster_centers_))
    np.testing.assert_array_equal(method.labels_, soft_assignment(z, centers, 2.0).argmax(dim=1).numpy())
    np.testing.assert_array_equal(method.predict(X), method.labels_)


def test_modularity_is_read_off_the_final_embedding(network: Autoencoder) -> None:
    method = DECS(10, epochs=3, batch_size=64, random_state=0, device="cpu", optimizer="adam").fit(X, network=network)
    assert set(method.readouts_) == {"modularity"}
    np.testing.assert_array_equal(method.readouts_["modularity"], method._modularity(method.embedding_)["modularity"])
    assert nmi(Y, method.readouts_["modularity"]) > 0.5


def test_trace_holds_what_an_epoch_saw(network: Autoencoder) -> None:
    method = quick(epochs=5, optimizer="adam").fit(X, network=network)
    names = ["phase", "epoch", "loss", "label_change", "threshold", "stability", "alive"]
    assert [list(row) for row in method.trace_] == [names] * 5
    for row in method.trace_:
        assert row["stability"] == pytest.approx(1 - row["loss"], abs=1e-6)
        assert 0 < row["threshold"] < 1
        assert 0 <= row["label_change"] < 0.3
        assert row["alive"] == 10
    assert method.n_iter_ == 5 * (len(X) // 64)


def test_label_change_counts_rows_whose_cluster_is_another_than_when_last_seen() -> None:
    start = type("KMeans", (), {"cluster_centers_": np.eye(3), "labels_": np.array([0, 1, 2, 0])})()
    state = decs.DECSState(torch.nn.Linear(1, 1), start, torch.zeros(4, 3))  # type: ignore[arg-type]
    one, half = torch.tensor(1.0), torch.tensor(0.5)
    state.note(torch.tensor([2, 0]), torch.eye(3)[[2, 1]], half, torch.stack([one, half]))
    state.note(torch.tensor([1, 3]), torch.eye(3)[[1, 0]], one, torch.stack([one, one]))
    assert state.labels.tolist() == [1, 1, 2, 0]
    expected = {"threshold": 0.75, "stability": 0.875, "label_change": 0.25, "alive": 3}
    assert state.columns() == pytest.approx(expected)
    state.clear()
    state.note(torch.tensor([0, 3]), torch.eye(3)[[1, 1]], half, torch.stack([one, one]))
    assert state.columns() == pytest.approx({"threshold": 0.5, "stability": 1.0, "label_change": 0.5, "alive": 2})


@variants
def test_identical_samples_do_not_break_it(variant: Any) -> None:
    flat = {"hidden": [16], "epochs": 1, "batch_size": 16}
    same = np.full((40, 6), 0.5, dtype=np.float32)
    with pytest.warns(match="distinct clusters"):
        method = DECS(3, variant=variant, epochs=2, batch_size=16, pretraining=flat, random_state=0).fit(same)
    assert np.isfinite(method.embedding_).all()
    assert len(set(method.labels_)) == 1
