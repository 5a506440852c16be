"""DECS's threshold, determinacy, stability and loss against the paper's formulas, their gradients and their bounds."""

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu
from torch import Tensor

from deepclust.losses.stability import determinacy, instability, otsu_threshold, stability
from deepclust.losses.student_t import soft_assignment
from tests.references import decs as reference

SIZES = [(1, 1, 1), (1, 3, 2), (7, 2, 1), (20, 5, 10)]  # N, K, P
T = torch.tensor(0.3, dtype=torch.float64)


def points(n: int, k: int, p: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, p)) * 2), torch.from_numpy(rng.normal(size=(k, p)))


def assignments(n: int, k: int, concentration: float, seed: int = 0) -> Tensor:
    """Return rows q (N, K): nearly one-hot for a small concentration, nearly uniform for a large one."""
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(k, concentration), size=n))


def loss(q: Tensor, t: Tensor, lam: float, power: int = 2, batch_variance: bool = False) -> Tensor:
    return instability(stability(determinacy(q, t, power), lam), batch_variance)


# ----------------------------------------------------------------------------------------------- Otsu's threshold


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("concentration", [0.1, 0.5, 1.0, 10.0, 1000.0])
def test_threshold_is_scikit_images_on_random_histograms(concentration: float, seed: int) -> None:
    q = assignments(256, 10, concentration, seed)
    assert otsu_threshold(q).item() == pytest.approx(threshold_otsu(q.numpy()), rel=1e-12)
    single = q.float()
    assert otsu_threshold(single).dtype == torch.float32
    assert otsu_threshold(single).item() == pytest.approx(threshold_otsu(single.double().numpy()), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 1.0])
def test_threshold_of_equal_entries_is_their_value_inside_the_interval(value: float) -> None:
    q = torch.full((6, 4), value, dtype=torch.float64)
    assert threshold_otsu(q.numpy()) == value
    assert otsu_threshold(q).item() == pytest.approx(np.clip(value, 1e-6, 1 - 1e-6), rel=1e-12)


@pytest.mark.parametrize(
    "q",
    [
        torch.eye(10, dtype=torch.float64),
        torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64),
        torch.tensor([[0.2, 0.2, 0.6]], dtype=torch.float64),
        torch.tensor([[0.25, 0.75]], dtype=torch.float64).repeat(128, 1),
    ],
)
def test_threshold_between_two_values_is_their_middle_where_scikit_image_takes_an_end(q: Tensor) -> None:
    low, high = q.min().item(), q.max().item()
    assert low < threshold_otsu(q.numpy()) < high
    assert otsu_threshold(q).item() == pytest.approx((low + high) / 2, abs=(high - low) / 256)


@pytest.mark.parametrize("concentration", [0.01, 0.3, 3.0])
def test_threshold_matches_the_plain_loop(concentration: float) -> None:
    q = assignments(9, 4, concentration)
    assert otsu_threshold(q).item() == pytest.approx(reference.otsu_threshold(q.numpy()), rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_no_cut_separates_better_than_the_threshold(seed: int) -> None:
    values = np.sort(assignments(64, 10, 0.2, seed).numpy().ravel())

    def between(t: float) -> float:
        lower, upper = values[values <= t], values[values > t]
        return float(len(lower) * len(upper) * (lower.mean() - upper.mean()) ** 2)

    best = max(between(t) for t in values[:-1])
    assert between(otsu_threshold(torch.from_numpy(values)).item()) > 0.999 * best  # bins cost the rest


def test_threshold_does_not_depend_on_the_order_of_the_entries() -> None:
    q = assignments(64, 10, 0.2)
    order = torch.from_numpy(np.random.default_rng(0).permutation(64))
    assert torch.equal(otsu_threshold(q), otsu_threshold(q[order]))


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("k", [1, 2, 10, 300])
def test_threshold_is_inside_the_interval_and_the_loss_finite(k: int, scale: float) -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(scale * rng.normal(size=(8, k))).float().requires_grad_()
    q = torch.softmax(logits, dim=1)
    t = otsu_threshold(q)
    assert 0 < t < 1
    assert not t.requires_grad
    for power in (1, 2):
        value = loss(q, t, 0.8, power, True)
        (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_threshold_of_what_is_not_finite_is_not_hidden() -> None:
    assert otsu_threshold(torch.tensor([[0.5, float("nan")]])).isnan()


# -------------------------------------------------------------------------------------------- the paper's formulas


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("lam", [0.0, 0.8])
def test_loss_matches_the_papers_loops(n: int, k: int, p: int, alpha: float, lam: float) -> None:
    z, m = points(n, k, p)
    q = soft_assignment(z, m, alpha)
    fq = determinacy(q, T)
    np.testing.assert_allclose(fq, reference.determinacy(q.numpy(), T.item()), rtol=1e-12)
    np.testing.assert_allclose(stability(fq, lam), reference.stability(fq.numpy(), lam), rtol=1e-9)
    assert loss(q, T, lam).item() == pytest.approx(reference.loss(z.numpy(), m.numpy(), T.item(), lam, alpha))


@pytest.mark.parametrize("lam", [0.0, 0.4])
def test_released_loss_matches_its_loops(lam: float) -> None:
    q = assignments(20, 5, 0.3)
    assert loss(q, T, lam, 1, True).item() == pytest.approx(reference.released_loss(q.numpy(), T.item(), lam))


@pytest.mark.parametrize("power", [1, 2])
def test_determinacy_runs_from_nothing_at_the_threshold_to_one_at_the_ends(power: int) -> None:
    q = torch.tensor([[0.0, 0.15, 0.3, 0.65, 1.0]], dtype=torch.float64)
    expected = np.array([[1, 0.5**power, 0, 0.5**power, 1]])
    np.testing.assert_allclose(determinacy(q, T, power), expected, atol=1e-15)


# ---------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("concentration", [0.01, 0.3, 3.0, 300.0])
@pytest.mark.parametrize(("power", "lam"), [(2, 0.8), (1, 0.4), (2, 1.0), (1, 0.0)])
def test_loss_lies_between_nought_and_one(concentration: float, power: int, lam: float) -> None:
    for seed in range(20):
        q = assignments(16, 6, concentration, seed)
        for batch_variance in (False, True):
            assert 0 <= loss(q, otsu_threshold(q), lam, power, batch_variance) <= 1


@pytest.mark.parametrize("lam", [0.5, 1.0, 2.0, 5.0])
def test_bounds_are_reached(lam: float) -> None:
    # of rows of noughts and ones, with a share p of ones, sq = p - lam p (1 - p)
    rows = torch.stack([torch.cat([torch.ones(p), torch.zeros(100 - p)]) for p in range(101)]).double()
    lowest = -(max(lam - 1, 0) ** 2) / (4 * lam)
    sq = stability(rows, lam)
    assert sq.max() == 1
    assert sq.min().item() == pytest.approx(lowest, abs=lam * 1e-4)
    worst = sq.argmin()
    assert instability(sq[worst : worst + 1]).item() == pytest.approx(1 - lowest, abs=lam * 1e-4)
    assert instability(sq[worst : worst + 1], True).item() == pytest.approx(1 - lowest, abs=lam * 1e-4)
    # with the batch's variance: 1 - m - (1 - m)(m - lowest), least at m = 1 + lowest / 2
    at_ends = [torch.tensor([lowest] * n + [1.0] * (1000 - n), dtype=torch.float64) for n in range(1001)]
    least = min(instability(sq, True).item() for sq in at_ends)
    assert least == pytest.approx(-(lowest**2) / 4, abs=1e-5)


@pytest.mark.parametrize(("power", "lam", "batch_variance"), [(2, 0.8, False), (1, 0.4, True)])
def test_loss_is_nought_at_any_hard_assignment_even_to_one_cluster(
    power: int, lam: float, batch_variance: bool
) -> None:
    rng = np.random.default_rng(0)
    for labels in (rng.integers(10, size=64), np.zeros(64, dtype=int)):
        q = torch.from_numpy(np.eye(10)[labels])
        for t in (otsu_threshold(q), T):
            assert loss(q, t, lam, power, batch_variance).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("k", [2, 10, 40])
@pytest.mark.parametrize("lam", [0.2, 0.4, 0.8, 2.0])
@pytest.mark.parametrize("share", [0.5, 0.9, 1.2, 2.0, 2.2, 2.4, 3.0, 5.0])
def test_undecided_sample_is_held_there_where_the_variance_outweighs_the_squares(
    share: float, lam: float, k: int
) -> None:
    t = torch.tensor(min(share / k, 0.95), dtype=torch.float64)
    ratio = 1 - 1 / (k * t) if t > 1 / k else (1 / k - t) / (1 - t)  # of determinacy's slope to its curvature
    for power, held in ((2, 4 * lam * ratio**2 > 1), (1, True)):
        curvature = torch.autograd.functional.hessian(
            lambda logits, power=power: stability(determinacy(torch.softmax(logits, 0)[None], t, power), lam).sum(),
            torch.zeros(k, dtype=torch.float64),
        )
        across = torch.linalg.eigvalsh(curvature)  # one of them, of all logits rising together, is 0
        assert (across.max() < 1e-12) == bool(held)


# ------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(("n", "k", "p"), SIZES)
@pytest.mark.parametrize("lam", [0.0, 0.8])
def test_gradient_matches_equations_9_to_17(n: int, k: int, p: int, lam: float) -> None:
    z, m = (x.requires_grad_() for x in points(n, k, p))
    loss(soft_assignment(z, m), T, lam).backward()
    by_z, by_m = reference.gradient(z.detach().numpy(), m.detach().numpy(), T.item(), lam)
    assert z.grad is not None
    assert m.grad is not None
    np.testing.assert_allclose(z.grad, by_z, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(m.grad, by_m, rtol=1e-9, atol=1e-14)


def test_gradient_of_stability_is_equation_10() -> None:
    fq = assignments(4, 6, 1.0).requires_grad_()
    stability(fq, 0.8).sum().backward()
    assert fq.grad is not None
    for row, found in zip(fq.detach().numpy(), fq.grad, strict=True):
        np.testing.assert_allclose(found, reference.stability_by_determinacy(row, 0.8), rtol=1e-12)


def test_gradient_of_determinacy_is_equation_11() -> None:
    q = assignments(4, 6, 1.0).requires_grad_()
    determinacy(q, T).sum().backward()
    assert q.grad is not None
    for row, found in zip(q.detach().numpy(), q.grad, strict=True):
        np.testing.assert_allclose(found, reference.determinacy_by_assignment(row, T.item()), rtol=1e-12)


def test_equation_14_is_the_derivative_by_the_code_and_15_as_printed_that_by_a_shift_of_all_centroids() -> None:
    z, m = points(1, 5, 3)
    by_z = torch.autograd.functional.jacobian(lambda z: soft_assignment(z, m)[0], z)[:, 0]
    by_m = torch.autograd.functional.jacobian(lambda m: soft_assignment(z, m)[0], m)
    np.testing.assert_allclose(by_z, reference.assignment_by_code(z[0].numpy(), m.numpy()), rtol=1e-9)
    np.testing.assert_allclose(by_m, reference.assignment_by_centroids(z[0].numpy(), m.numpy()), rtol=1e-9)
    printed = reference.assignment_by_common_shift(z[0].numpy(), m.numpy())
    np.testing.assert_allclose(by_m.sum(dim=1), printed, rtol=1e-9)
    np.testing.assert_allclose(by_z, -printed, rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
@pytest.mark.parametrize(("power", "lam", "batch_variance"), [(2, 0.8, False), (1, 0.4, True), (2, 2.0, True)])
def test_gradient_matches_finite_differences(alpha: float, power: int, lam: float, batch_variance: bool) -> None:
    z, m = (x.requires_grad_() for x in points(6, 3, 2))
    assert torch.autograd.gradcheck(
        lambda z, m: loss(soft_assignment(z, m, alpha), T, lam, power, batch_variance), (z, m), atol=1e-7, rtol=1e-6
    )


def test_batch_variance_weighs_stable_samples_more() -> None:
    sq = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    instability(sq, True).backward()
    assert sq.grad is not None
    np.testing.assert_allclose(sq.grad, -(1 + 2 * (sq.detach() - sq.detach().mean())) / 3, rtol=1e-12)
