"""The losses on the unit sphere: against the paper's formulas as loops, at their optima, and where they could break."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepclust.losses.hypersphere import (
    Reduction,
    cluster_directions,
    compactness,
    directions,
    norm_penalty,
    uniformity,
)
from tests.references import ulhe_dc as reference

SIZES = [(1, 3, 1), (12, 2, 3), (40, 10, 10), (25, 4, 9)]  # samples, features, clusters
sizes = pytest.mark.parametrize(("n", "p", "k"), SIZES)
both = pytest.mark.parametrize("reduction", ["mean", "sum"])


def sample(n: int, p: int, k: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(n)
    return torch.from_numpy(rng.normal(size=(n, p))), torch.from_numpy(rng.integers(k, size=n))


def unif(z: Tensor, labels: Tensor, k: int) -> Tensor:
    centroids, counts = cluster_directions(directions(z), labels, k)
    return uniformity(centroids, counts > 0)


@sizes
def test_norm_penalty_is_the_papers(n: int, p: int, k: int) -> None:
    z, _ = sample(n, p, k)
    assert norm_penalty(z).item() == pytest.approx(reference.norm_penalty(z.numpy()))
    assert norm_penalty(directions(z)).item() == pytest.approx(0, abs=1e-12)


def test_norm_penalty_has_a_finite_gradient_at_the_origin() -> None:
    z = torch.zeros(3, 4, requires_grad=True)
    norm_penalty(z).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@sizes
def test_centroids_are_the_papers(n: int, p: int, k: int) -> None:
    z, labels = sample(n, p, k)
    centroids, counts = cluster_directions(directions(z), labels, k)
    for cluster in range(k):
        assert counts[cluster] == int((labels == cluster).sum())
        expected = reference.centroid(z.numpy(), labels.tolist(), cluster) if counts[cluster] else np.zeros(p)
        np.testing.assert_allclose(centroids[cluster], expected, atol=1e-12)


# ----------------------------------------------------------------------------------------------------- uniformity


@sizes
def test_uniformity_is_the_papers_over_the_clusters_present(n: int, p: int, k: int) -> None:
    z, labels = sample(n, p, k)
    assert unif(z, labels, k).item() == pytest.approx(reference.uniformity(z.numpy(), labels.tolist()), rel=1e-9)


def test_absent_clusters_add_nothing_and_get_no_gradient() -> None:
    z, labels = sample(40, 10, 4)
    z.requires_grad_()
    absent_between = torch.tensor([0, 3, 5, 8])[labels]
    found = unif(z, absent_between, 10)
    assert found.item() == pytest.approx(unif(z, labels, 4).item())
    found.backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert unif(z, torch.full_like(labels, 7), 10).item() == 0


def test_comparing_only_clusters_that_can_be_present_changes_nothing() -> None:
    z, labels = sample(30, 10, 200)
    z.requires_grad_()
    centroids, counts = cluster_directions(directions(z), labels, 200)
    found = [uniformity(centroids, counts > 0, at_most) for at_most in (None, 30, 200)]
    gradients = [torch.autograd.grad(value, z, retain_graph=True)[0] for value in found]
    assert found[1].item() == pytest.approx(found[0].item(), rel=1e-12)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients[2], gradients[0], rtol=0, atol=0)


@pytest.mark.parametrize("p", [2, 5, 10])
def test_free_centroids_of_least_energy_are_a_simplex(p: int) -> None:
    """K = P + 1: all cosines -1/P, and the energy (K - 1)^2."""
    free = torch.from_numpy(np.random.default_rng(p).normal(size=(p + 1, p))).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [free], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-9, tolerance_change=0
    )

    def energy() -> Tensor:
        return uniformity(directions(free), torch.ones(p + 1, dtype=torch.bool))

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = energy()
        value.backward()
        return value

    optimizer.step(closure)
    m = directions(free.detach())
    cosines = (m @ m.T)[~torch.eye(p + 1, dtype=torch.bool)]
    np.testing.assert_allclose(cosines, -1 / p, atol=1e-6)
    assert energy().item() == pytest.approx(p**2)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, 0.05, 0.45, 0.452])
def test_energy_of_close_centroids_is_finite_and_repels(angle: float) -> None:
    """Below the guard (an angle of 0.451) as above it; at angle 0 there is no direction to repel in."""
    turn = torch.tensor([angle], dtype=torch.float32, requires_grad=True)
    pair = torch.cat([torch.tensor([[1.0, 0.0]]), torch.stack([turn.cos(), turn.sin()], dim=1)])
    value = uniformity(pair, torch.ones(2, dtype=torch.bool))
    (slope,) = torch.autograd.grad(value, turn)
    assert 19 < value.item() <= 40
    assert slope.item() < 0 if angle > 0 else slope.item() == 0
    assert abs(slope.item()) < 100
    if angle == 0.452:
        assert value.item() == pytest.approx(2 / (1 - math.cos(angle)), rel=1e-4)


def test_energy_and_its_slope_have_no_step_at_the_guard() -> None:
    found = []
    for gap in (0.1 * (1 - 1e-6), 0.1 * (1 + 1e-6)):
        turn = torch.tensor([math.acos(1 - gap)], dtype=torch.float64, requires_grad=True)
        pair = torch.cat([torch.tensor([[1.0, 0.0]]).double(), torch.stack([turn.cos(), turn.sin()], dim=1)])
        value = uniformity(pair, torch.ones(2, dtype=torch.bool))
        found.append((value.item(), torch.autograd.grad(value, turn)[0].item()))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


# ---------------------------------------------------------------------------------------------------- compactness


@both
@sizes
def test_compactness_is_the_papers_over_all_pairs(n: int, p: int, k: int, reduction: Reduction) -> None:
    z, labels = sample(n, p, k)
    expected = reference.compactness(z.numpy(), labels.tolist(), k, reduction)
    assert compactness(directions(z), labels, k, reduction).item() == pytest.approx(expected, abs=1e-12)


@both
@pytest.mark.parametrize("n", [3, 150])
def test_collapsed_clusters_are_compact_to_the_last_digit(reduction: Reduction, n: int) -> None:
    labels = torch.arange(n) % 3
    axes = torch.eye(3, 10)[labels]
    assert compactness(axes, labels, 5, reduction).item() == 0
    rows = directions(torch.from_numpy(np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)))[labels]
    squared_rounding = 1e-12 * (n * n if reduction == "sum" else 1)  # 1 - u'u would be off by 1e-7 a pair
    assert compactness(rows, labels, 5, reduction).item() < squared_rounding


@both
def test_compactness_is_lowest_where_clusters_are_collapsed(reduction: Reduction) -> None:
    z, labels = sample(40, 10, 4)
    z.requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    first = compactness(directions(z), labels, 4, reduction).item()
    for _ in range(300):
        optimizer.zero_grad()
        value = compactness(directions(z), labels, 4, reduction)
        value.backward()
        optimizer.step()
    assert 0 <= value.item() < 1e-3 * first


def test_the_mean_does_not_depend_on_sizes_and_the_sum_grows_with_their_square() -> None:
    z, labels = sample(30, 5, 3)
    u = directions(z)
    for reduction, factor in (("mean", 1), ("sum", 16)):
        once, four = (compactness(u.repeat(n, 1), labels.repeat(n), 3, reduction) for n in (1, 4))  # type: ignore[arg-type]
        assert four.item() == pytest.approx(factor * once.item())


# ------------------------------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize("loss", ["norm", "uniformity", "compactness_mean", "compactness_sum"])
def test_gradients_are_those_of_finite_differences(loss: str) -> None:
    z, labels = sample(9, 3, 4)
    functions: dict[str, Any] = {
        "norm": norm_penalty,
        "uniformity": lambda z: unif(z, labels, 4),
        "compactness_mean": lambda z: compactness(directions(z), labels, 4, "mean"),
        "compactness_sum": lambda z: compactness(directions(z), labels, 4, "sum"),
    }
    assert torch.autograd.gradcheck(functions[loss], z.requires_grad_())


@both
def test_codes_without_a_direction_do_not_break_the_losses(reduction: Reduction) -> None:
    z = torch.zeros(6, 4)
    z[3:] = torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0]])  # and a cluster whose members cancel
    z.requires_grad_()
    labels = torch.tensor([0, 0, 1, 2, 2, 3])
    total = norm_penalty(z) + unif(z, labels, 4) + compactness(directions(z), labels, 4, reduction)
    total.backward()
    assert total.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()
