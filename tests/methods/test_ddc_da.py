"""DDC-DA: densities, separations and joined clusters against plain loops, and the two counts of clusters."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from deepclust.errors import UserError
from deepclust.methods.baselines import ddc_da
from deepclust.methods.baselines.ddc_da import DDCDA, core_gaps, density_peaks, joined
from tests.references import density_peaks as reference


def groups(*centers: tuple[float, float], n: int = 40, seed: int = 0) -> np.ndarray:
    """Return n points of a Gaussian of width 1 about each centre."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(center, 1, size=(n, 2)) for center in centers])


CHAIN = groups((0, 0), (4.5, 0), (9, 0), (40, 40), (46, 40), n=30)
CASES = {"two": groups((0, 0), (20, 0)), "chain": CHAIN, "none": np.random.default_rng(1).random((100, 2))}


def own(points: np.ndarray, share: float = 0.1) -> np.ndarray:
    peaks = density_peaks(points, share)
    labels: np.ndarray = joined(core_gaps(points, peaks), peaks.cutoff)[peaks.labels]
    return labels


# ------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("entries", [2**22, 300], ids=["one block", "many blocks"])
@pytest.mark.parametrize("points", CASES.values(), ids=CASES)
def test_peaks_and_joined_clusters_equal_the_formulas(
    points: np.ndarray, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddc_da, "_ENTRIES", entries)
    rho, delta, labels, cutoff = reference.peaks(points, 0.1)
    found = density_peaks(points, 0.1)
    assert found.cutoff == pytest.approx(cutoff)
    np.testing.assert_allclose(found.density, rho, rtol=1e-9)
    np.testing.assert_allclose(found.separation, delta, rtol=1e-9)
    assert found.labels.tolist() == labels
    assert found.labels[found.centers].tolist() == list(range(len(found.centers)))
    assert adjusted_rand_score(reference.merged(points, rho, labels, cutoff), own(points)) == 1


def test_density_of_a_lattice_is_that_of_its_sums() -> None:
    """An even lattice on the line: mean distance (n^2 - 1) / (3 n) steps."""
    n = 31
    points = np.column_stack([np.arange(n), np.zeros(n)]).astype(float)
    cutoff = 0.1 * (n**2 - 1) / (3 * n)
    found = density_peaks(points, 0.1)
    assert found.cutoff == pytest.approx(cutoff)
    assert found.density[15] == pytest.approx(2 * sum(np.exp(-((k / cutoff) ** 2)) for k in range(1, 16)))
    assert found.density[0] == pytest.approx(sum(np.exp(-((k / cutoff) ** 2)) for k in range(1, 31)))


@pytest.mark.parametrize("seed", range(3))
def test_groups_far_apart_are_found_and_counted(seed: int) -> None:
    points = groups((0, 0), (20, 0), (0, 20), (20, 20), seed=seed)
    y = np.repeat(np.arange(4), 40)
    assert adjusted_rand_score(y, own(points)) == 1


def test_order_scale_and_turn_of_the_points_do_not_matter() -> None:
    order = np.random.default_rng(0).permutation(len(CHAIN))
    turned = 1000 * CHAIN @ np.array([[0.6, -0.8], [0.8, 0.6]])
    expected = own(CHAIN)
    assert adjusted_rand_score(expected[order], own(CHAIN[order])) == 1
    assert adjusted_rand_score(expected, own(turned)) == 1


def test_joining_is_single_linkage_of_the_cores() -> None:
    rng = np.random.default_rng(0)
    gaps = rng.random((9, 9)) * (1 - np.eye(9))
    gaps = np.maximum(gaps, gaps.T)
    tree = linkage(squareform(gaps), "single")
    for below in (0.2, 0.5, 0.7):
        assert adjusted_rand_score(fcluster(tree, below, "distance"), joined(gaps, below)) == 1
    for count in range(1, 10):
        assert adjusted_rand_score(fcluster(tree, count, "maxclust"), joined(gaps, np.inf, count)) == 1
    assert joined(gaps, 0.0).tolist() == list(range(9))


# --------------------------------------------------------------------------------------------------------- the method


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Put a known map in the place of t-SNE's; it needs no code."""
    monkeypatch.setattr(ddc_da, "_tsne", lambda *_: (CHAIN, 1))
    return np.random.default_rng(0).random((len(CHAIN), 3))


def quick(n_clusters: int, **settings: Any) -> Any:
    return DDCDA(n_clusters, random_state=0, device="cpu", pretraining={"hidden": [8], "epochs": 0}, **settings)


def test_labels_have_k_clusters_and_the_readout_as_many_as_were_found(mapped: np.ndarray) -> None:
    fits = {k: quick(k, cutoff=0.04).fit(mapped) for k in (1, 2, 3, 4, 5, 30)}
    for k, method in fits.items():
        n_centers = len(method.extras_["peaks"])
        assert n_centers > 5
        assert len(set(method.labels_)) == method.labels_.max() + 1 == min(k, n_centers)
        assert method.n_clusters_ == len(set(method.readouts_["own_k"])) == 5
    np.testing.assert_array_equal(fits[5].labels_, fits[5].readouts_["own_k"])
    y = np.repeat(np.arange(5), 30)
    assert adjusted_rand_score(y >= 3, fits[2].labels_) == 1
    assert adjusted_rand_score(y, fits[5].labels_) > 0.9
    peaks = fits[2].extras_["peaks"]
    np.testing.assert_array_equal(fits[2].labels_[peaks["sample"]], peaks["cluster"])
    np.testing.assert_array_equal(fits[2].readouts_["own_k"][peaks["sample"]], peaks["own_cluster"])


def test_digits_are_mapped_and_counted() -> None:
    digits = load_digits(n_class=4)
    X = (digits.data[:300] / 16).astype(np.float32)
    pretraining = {"hidden": [64], "epochs": 20, "batch_size": 32}
    method: Any = DDCDA(4, random_state=0, device="cpu", pretraining=pretraining).fit(X)
    assert method.extras_["map"].shape == (300, 2)
    assert 2 <= method.n_clusters_ <= 8
    assert adjusted_rand_score(digits.target[:300], method.labels_) > 0.7
    with torch.no_grad():
        np.testing.assert_allclose(method.network_.encode(torch.from_numpy(X)), method.embedding_, atol=1e-5)


def test_too_few_and_identical_samples() -> None:
    with pytest.raises(UserError, match="t-SNE needs at least 4 samples, got n_samples=3; give more"):
        quick(1).fit(np.random.default_rng(0).random((3, 2)))
    for row, count in ((np.full(3, 0.5), 10), (np.random.default_rng(2).random(6), 50)):
        same = quick(2).fit(np.tile(row, (count, 1)))  # codes of 50 equal rows differ by their places in the batch
        assert same.n_clusters_ == 1
        assert set(same.labels_) == {0}
    assert len(set(quick(3).fit(np.random.default_rng(0).random((4, 1))).labels_)) <= 3
