"""PC-X's losses and its centroids' moving averages against the paper's formulas, finite differences and limits."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from deepclust.losses.distances import squared_distances
from deepclust.losses.exemplars import (
    assignment_entropy,
    clustering_loss,
    inverse_sizes,
    moving_average,
    moving_ratio,
)
from tests.references import pc_x as reference

SIZES = [(1, 1, 1), (1, 3, 2), (7, 2, 1), (20, 5, 10)]  # B, K, P


def points(n: int, k: int, p: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, p))), torch.from_numpy(rng.normal(size=(k, p)))


# ---------------------------------------------------------------------------------------------------- the entropy


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
@pytest.mark.parametrize("tau", [0.1, 5.0])
def test_entropy_matches_the_papers_loops(n: int, k: int, p: int, tau: float) -> None:
    z, centroids = points(n, k, p)
    found = assignment_entropy(squared_distances(z, centroids), tau).item()
    assert found == pytest.approx(reference.assignment_entropy(z.numpy(), centroids.numpy(), tau), abs=1e-12)
    assert -1e-15 <= found <= np.log(k) + 1e-12


@pytest.mark.parametrize("tau", [0.1, 1.0, 5.0])
def test_entropys_gradient_matches_finite_differences(tau: float) -> None:
    z, centroids = points(6, 4, 3)
    z = (0.5 * z).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: assignment_entropy(squared_distances(z, centroids), tau), (z,), atol=1e-7, rtol=1e-6
    )


def test_entropy_is_largest_between_and_vanishes_at_the_centroids() -> None:
    centroids = torch.tensor([[-3.0, 0.0], [3.0, 0.0]])
    between, at = torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 0.0]])
    assert assignment_entropy(squared_distances(between, centroids), 5).item() == pytest.approx(np.log(2))
    assert assignment_entropy(squared_distances(at, centroids), 5).item() == pytest.approx(0, abs=1e-12)


def test_entropy_and_gradient_of_far_codes_are_finite() -> None:
    centroids = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    z = torch.tensor([[1e6, 0.0], [-1e9, 1e9]], requires_grad=True)
    entropy = assignment_entropy(squared_distances(z, centroids), 5)
    entropy.backward()
    assert entropy.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()


# --------------------------------------------------------------------------------------------- the clustering term


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
def test_clustering_loss_matches_the_papers_loops(n: int, k: int, p: int) -> None:
    z, centroids = points(n, k, p)
    omega = np.random.default_rng(1).uniform(0.2, 3, size=k)
    squared = squared_distances(z, centroids)
    np.testing.assert_allclose(squared, reference.squared_distances(z.numpy(), centroids.numpy()), rtol=1e-12)
    for weights, by in [(None, np.ones(k)), (torch.from_numpy(1 / omega), omega)]:
        found = clustering_loss(squared, squared.argmin(dim=1), weights).item()
        assert found == pytest.approx(reference.clustering_loss(z.numpy(), centroids.numpy(), by))


def test_clustering_loss_is_kmeans_inertia_over_the_samples() -> None:
    z, _ = points(50, 1, 3)
    kmeans = KMeans(4, n_init=1, random_state=0).fit(z.numpy())
    squared = squared_distances(z, torch.from_numpy(kmeans.cluster_centers_))
    found = clustering_loss(squared, torch.from_numpy(kmeans.labels_).long()).item()
    assert found == pytest.approx(kmeans.inertia_ / 50)


def test_reweighted_loss_is_the_mean_of_within_cluster_variances_where_sizes_are_exact() -> None:
    z = points(100, 1, 3)[0].exp()  # skewed: the smallest cluster is the widest
    centroids = torch.tensor([[0.5, 0.5, 0.5], [1, 1, 1], [4, 4, 4]], dtype=torch.float64)
    squared = squared_distances(z, centroids)
    labels = squared.argmin(dim=1)
    sizes = labels.bincount(minlength=3).double()
    assert sizes.min() < 0.5 * sizes.max()  # the weights matter
    found = clustering_loss(squared, labels, inverse_sizes(sizes, 1e-12)).item()
    expected = reference.mean_within_cluster_variance(z.numpy(), centroids.numpy())
    assert found == pytest.approx(expected, rel=1e-9)
    assert abs(clustering_loss(squared, labels).item() - expected) > 0.1 * expected


@pytest.mark.parametrize("smoothing", [1e-5, 5.0])
def test_inverse_sizes_match_the_papers_loops(smoothing: float) -> None:
    sizes = np.array([0.0, 1.0, 10.0, 245.0])
    weights = inverse_sizes(torch.from_numpy(sizes), smoothing)
    np.testing.assert_allclose(weights, 1 / reference.relative_sizes(sizes, smoothing), rtol=1e-12)
    assert weights.isfinite().all()


def test_equal_sizes_weigh_nothing_and_smoothing_evens_unequal_ones() -> None:
    np.testing.assert_allclose(inverse_sizes(torch.full((4,), 64.0), 5.0), 1)
    sizes = torch.tensor([6.0, 250.0])
    spreads = [float(w[0] / w[1]) for w in (inverse_sizes(sizes, eps) for eps in (1e-5, 5.0, 1e9))]
    assert spreads[0] == pytest.approx(250 / 6, rel=1e-4)
    assert spreads[0] > spreads[1] > spreads[2] == pytest.approx(1)


def test_a_code_near_its_centroid_keeps_its_digits() -> None:
    # far from the origin, |z|^2 - 2 z'mu + |mu|^2 in float32 would lose these distances altogether
    z, centroids = torch.tensor([[4096.0]]), torch.tensor([[4096.0 - 0.25], [4096.0 + 0.5]])
    torch.testing.assert_close(squared_distances(z, centroids), torch.tensor([[0.0625, 0.25]]))


# ----------------------------------------------------------------------------------------------- the moving average


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
@pytest.mark.parametrize("kappa", [0.0, 0.9, 0.995])
def test_moving_average_matches_the_papers_loops(n: int, k: int, p: int, kappa: float) -> None:
    z, centroids = points(n, k, p)
    labels = torch.from_numpy(np.random.default_rng(2).integers(k, size=n))
    moved, counts = moving_average(centroids, z, labels, kappa)
    expected = reference.moving_average(centroids.numpy(), z.numpy(), labels.numpy(), kappa)
    np.testing.assert_allclose(moved, expected, rtol=1e-12)
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=k))


def test_clusters_without_a_sample_are_kept_to_the_bit() -> None:
    z, centroids = (x.float() for x in points(20, 5, 10))
    labels = torch.tensor([1, 3] * 10)
    moved = moving_average(centroids, z, labels, 0.995)[0]
    assert torch.equal(moved[[0, 2, 4]], centroids[[0, 2, 4]])
    assert not torch.equal(moved[[1, 3]], centroids[[1, 3]])


def test_repeated_batches_bring_the_centroids_to_their_means_at_the_rate_kappa() -> None:
    z, centroids = points(20, 2, 3)
    labels = torch.arange(20) % 2
    means = torch.stack([z[labels == k].mean(dim=0) for k in range(2)])
    now = centroids
    for _ in range(300):
        now = moving_average(now, z, labels, 0.99)[0]
    np.testing.assert_allclose(now - means, 0.99**300 * (centroids - means), rtol=1e-9)


# ------------------------------------------------------------------------------------- ratios of sums and counts


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
@pytest.mark.parametrize("kappa", [0.0, 0.9, 0.995])
def test_moving_ratio_matches_the_loops(n: int, k: int, p: int, kappa: float) -> None:
    rng = np.random.default_rng(2)
    sums, sizes = points(1, k, p)[1], torch.zeros(k, dtype=torch.float64)
    expected = sums.numpy(), sizes.numpy()
    for batch in range(5):
        z, labels = points(n, 1, p, seed=batch)[0], torch.from_numpy(rng.integers(k, size=n))
        sums, sizes, counts = moving_ratio(sums, sizes, z, labels, kappa, 1e-5)
        expected = reference.moving_ratio(*expected, z.numpy(), labels.numpy(), kappa, 1e-5)
        np.testing.assert_allclose(sums, expected[0], rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(sizes, expected[1], rtol=1e-10)
        np.testing.assert_array_equal(counts, np.bincount(labels, minlength=k))


def test_a_centroid_without_samples_starts_far_away_and_sweeps_inward() -> None:
    # alone, w_k = 0.995^t w_0 over a size that settles at 1e-5 / 0.005: norm 1 after ln(500) / -ln(0.995) batches
    sums, sizes = torch.tensor([[0.0, 1.0], [0.6, 0.8]]), torch.zeros(2)
    z, labels = torch.randn(512, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(512, dtype=torch.int64)
    norms = []
    for _ in range(1500):
        sums, sizes, _ = moving_ratio(sums, sizes, z, labels, 0.995, 1e-5)
        norms.append(float((sums[1] / sizes[1]).norm()))
    assert norms[0] == pytest.approx(0.995 / 1e-5, rel=1e-3)
    assert (np.diff(norms) < 0).all()
    crossing = int(np.argmax(np.array(norms) < 1))
    assert crossing == pytest.approx(np.log(500) / -np.log(0.995), abs=3)
    assert float(sizes[1]) == pytest.approx(1e-5 / 0.005, rel=1e-2)
    np.testing.assert_allclose(sums[0] / sizes[0], z.mean(dim=0), atol=1e-3)


def test_ratios_revive_a_centroid_that_means_leave_dead() -> None:
    z = torch.tensor([[2.0, 0.0], [-2.0, 0.0]]).repeat(32, 1)
    z = z + 0.1 * torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    means = centroids = torch.tensor([[0.0, 0.0], [1e5, 0.0]])
    sums, sizes = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.zeros(2)
    alive = []
    for _ in range(2000):
        means, counts = moving_average(means, z, squared_distances(z, means).argmin(dim=1), 0.995)
        assert counts.tolist() == [64, 0]
        labels = squared_distances(z, centroids).argmin(dim=1)
        sums, sizes, counts = moving_ratio(sums, sizes, z, labels, 0.995, 1e-5)
        centroids = sums / sizes[:, None]
        alive.append(int((counts > 0).sum()))
    assert alive[100] == 1
    assert counts.tolist() == [32, 32]
    assert centroids[:, 0].tolist() == pytest.approx([-2, 2], abs=0.1)
