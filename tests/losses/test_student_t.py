"""DEC's soft assignment, target and divergence against the paper's formulas, their gradients and their limits."""

import numpy as np
import pytest
import torch
from torch import Tensor

from deepclust.losses.student_t import kl_divergence, soft_assignment, target_distribution
from tests.references import dec as reference

SIZES = [(1, 1, 1), (1, 3, 2), (7, 2, 1), (20, 5, 10)]  # N, K, P


def points(n: int, k: int, p: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, p)) * 2), torch.from_numpy(rng.normal(size=(k, p)))


def distribution(n: int, k: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(k), size=n))


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_soft_assignment_matches_the_papers_loops(n: int, k: int, p: int, alpha: float) -> None:
    z, centroids = points(n, k, p)
    q = soft_assignment(z, centroids, alpha)
    np.testing.assert_allclose(q, reference.soft_assignment(z.numpy(), centroids.numpy(), alpha), rtol=1e-12)
    np.testing.assert_allclose(q.sum(dim=1), 1, rtol=1e-14)


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
def test_target_distribution_matches_the_papers_loops(n: int, k: int, p: int) -> None:
    q = soft_assignment(*points(n, k, p))
    target = target_distribution(q)
    np.testing.assert_allclose(target, reference.target_distribution(q.numpy()), rtol=1e-12)
    np.testing.assert_allclose(target.sum(dim=1), 1, rtol=1e-14)


def test_target_of_a_batch_is_not_that_of_all_samples() -> None:
    q = soft_assignment(*points(20, 5, 10))
    assert (target_distribution(q)[:10] - target_distribution(q[:10])).abs().max() > 1e-3


def test_target_sharpens_equal_sized_clusters() -> None:
    q = torch.tensor([[0.8, 0.2], [0.2, 0.8]], dtype=torch.float64)
    np.testing.assert_allclose(target_distribution(q), np.array([[16, 1], [1, 16]]) / 17, rtol=1e-14)


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
def test_divergence_matches_the_papers_sum_over_the_rows(n: int, k: int, p: int) -> None:
    target, q = distribution(n, k, 1), distribution(n, k, 2)
    assert kl_divergence(target, q).item() == pytest.approx(reference.kl_divergence(target.numpy(), q.numpy()))


def test_divergence_counts_a_zero_of_the_target_as_nothing() -> None:
    target = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    q = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64)
    assert kl_divergence(target, q).item() == pytest.approx(np.log(4) / 2)


def test_gradient_is_finite_where_target_and_assignment_underflow() -> None:
    z = torch.tensor([[0.0, 0.0], [60.0, 0.0]], requires_grad=True)
    q = soft_assignment(z, z.detach().clone(), alpha=20.0)
    target = target_distribution(q.detach())
    assert (target == 0).any()
    kl_divergence(target, q).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("seed", range(5))
def test_divergence_is_zero_only_between_equal_distributions(seed: int) -> None:
    p = distribution(6, 4, seed)
    assert kl_divergence(p, p) == 0
    moved = p.clone()
    moved[2, 0], moved[2, 1] = (p[2, :2].sum() * share for share in (0.3, 0.7))
    assert kl_divergence(p, moved) > 0
    assert kl_divergence(p, distribution(6, 4, seed + 100)) > 0.01


def test_divergence_does_not_depend_on_the_batch_size() -> None:
    p, q = distribution(6, 4, 0), distribution(6, 4, 1)
    assert kl_divergence(p.repeat(5, 1), q.repeat(5, 1)).item() == pytest.approx(kl_divergence(p, q).item())


def test_large_alpha_is_a_gaussian_kernel() -> None:
    z, centroids = points(20, 5, 10)
    gaussian = torch.softmax(-torch.cdist(z, centroids).square() / 2, dim=1)
    np.testing.assert_allclose(soft_assignment(z, centroids, 1e9), gaussian, atol=1e-6)
    assert (soft_assignment(z, centroids) - gaussian).abs().max() > 0.1


@pytest.mark.parametrize("distance", [1e3, 1e6, 1e9])
def test_far_away_points_stay_finite(distance: float) -> None:
    centroids = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    z = torch.tensor([[0.0, 0.0], [distance, 0.0], [-distance, distance], [distance, -distance]], requires_grad=True)
    q = soft_assignment(z, centroids)
    target = target_distribution(q.detach())
    kl_divergence(target, q).backward()
    assert z.grad is not None
    for values in (q, target, z.grad):
        assert values.isfinite().all()
    torch.testing.assert_close(q.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(q[1], torch.full((2,), 0.5), atol=2 / distance, rtol=0)


def test_a_point_between_two_near_centroids_keeps_its_digits() -> None:
    # far from the origin, |z|^2 - 2 z'mu + |mu|^2 in float32 would lose these distances altogether
    z, centroids = torch.tensor([[4096.0]]), torch.tensor([[4096.0 - 0.25], [4096.0 + 0.5]])
    kernel = torch.tensor([1 / (1 + 0.25**2), 1 / (1 + 0.5**2)])
    torch.testing.assert_close(soft_assignment(z, centroids)[0], kernel / kernel.sum(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_gradient_matches_the_papers_closed_form(n: int, k: int, p: int, alpha: float) -> None:
    z, centroids = (x.requires_grad_() for x in points(n, k, p))
    target = target_distribution(soft_assignment(z, centroids, alpha).detach())
    kl_divergence(target, soft_assignment(z, centroids, alpha)).backward()
    by_z, by_centroids = reference.gradient(target.numpy(), z.detach().numpy(), centroids.detach().numpy(), alpha)
    assert z.grad is not None
    assert centroids.grad is not None
    np.testing.assert_allclose(z.grad, by_z, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(centroids.grad, by_centroids, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_gradient_matches_finite_differences(alpha: float) -> None:
    z, centroids = (x.requires_grad_() for x in points(6, 3, 2))
    target = distribution(6, 3, 0)
    assert torch.autograd.gradcheck(
        lambda z, mu: kl_divergence(target, soft_assignment(z, mu, alpha)), (z, centroids), atol=1e-7, rtol=1e-6
    )
