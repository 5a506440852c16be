"""GNMF against its formulas, and against NMF where the graph weighs nothing."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import non_negative_factorization
from sklearn.metrics import adjusted_rand_score

from deepclust.errors import NotApplicable
from deepclust.methods.graph.gnmf import GNMF, _Data, _scaled
from tests.references import gnmf as reference


def samples(n: int = 40) -> np.ndarray:
    found: np.ndarray = load_digits().data[:n] / 16 + 1e-3 * np.random.default_rng(0).random((n, 64))
    return found


def factors(X: np.ndarray, K: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.random((X.shape[1], K)), rng.random((len(X), K))


@pytest.mark.parametrize("lam", [0.0, 1.0, 100.0])
def test_a_step_returns_the_objective_and_never_raises_it(lam: float) -> None:
    X = samples()
    U, V = factors(X)
    data, W = _Data(X.copy(), lam, 5, normalize=False), reference.weights(X, 5)
    np.testing.assert_array_equal(data.W.toarray(), W)
    values = [reference.objective(X, W, lam, U, V)]
    for _ in range(20):
        before = U.copy()
        found = data.step(U, V)
        values += [reference.objective(X, W, lam, before, V), reference.objective(X, W, lam, U, V)]
        assert found == pytest.approx(values[-1], rel=1e-10)
    assert (np.diff(values) <= 1e-10 * values[0]).all()
    assert values[-1] < 0.9 * values[1]


def test_without_the_graph_it_is_scikit_learns_multiplicative_nmf() -> None:
    X = samples()
    U, V = factors(X)
    W, H = V.copy(), U.T.copy()
    data = _Data(X.copy(), 0.0, 5, normalize=False)
    for _ in range(10):
        data.step(U, V)
        W, H, _ = non_negative_factorization(
            X, W, H, n_components=4, init="custom", solver="mu", max_iter=1, tol=0, random_state=0
        )
        np.testing.assert_allclose(V, W, rtol=1e-10)
        np.testing.assert_allclose(U, H.T, rtol=1e-10)


def test_conditions_of_a_minimum_hold_after_many_steps() -> None:
    X = samples()
    U, V = factors(X)
    data = _Data(X.copy(), 1.0, 5, normalize=False)
    for _ in range(5_000):
        data.step(U, V)
    for factor, gradient in zip((U, V), reference.gradients(X, data.W.toarray(), 1.0, U, V), strict=True):
        assert np.abs(factor * gradient).max() < 3e-3
        assert gradient[factor < 1e-8].min() > -1e-2


def test_order_of_samples_only_reorders_the_codes() -> None:
    X = samples()
    order = np.random.default_rng(2).permutation(len(X))
    (U, V), (U2, V2) = factors(X), factors(X)
    V2 = V2[order]
    one, other = (_Data(x.copy(), 10.0, 5, normalize=True) for x in (X, X[order]))
    for _ in range(30):
        assert one.step(U, V) == pytest.approx(other.step(U2, V2), rel=1e-10)
    np.testing.assert_allclose(V[order], V2, rtol=1e-6)


def test_rescaled_factors_fit_alike_and_are_penalised_otherwise() -> None:
    X = samples()
    U, V = factors(X)
    W, (A, B) = reference.weights(X, 5), _scaled(U, V)
    np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1)
    assert reference.objective(X, W, 0, A, B) == pytest.approx(reference.objective(X, W, 0, U, V))
    assert reference.objective(X, W, 1, A, B) != pytest.approx(reference.objective(X, W, 1, U, V), rel=0.1)


def test_a_heavy_graph_gives_the_samples_of_a_component_one_code() -> None:
    y = np.repeat([0, 1], 20)
    X = np.eye(2)[y] @ np.random.default_rng(0).random((2, 30)) * np.random.default_rng(1).uniform(0.5, 1, (40, 1))
    X[y == 0, :15] = X[y == 1, 15:] = 0
    method = GNMF(2, lam=1e4, random_state=0).fit(X)
    for k in (0, 1):
        codes = method.embedding_[y == k]
        assert np.ptp(codes, axis=0).max() < 1e-3 * method.embedding_.max()
    assert adjusted_rand_score(y, method.labels_) == 1


def test_the_best_start_goes_on_until_the_objective_stands() -> None:
    X = samples()
    one, many = (
        [GNMF(4, lam=1, n_starts=n, max_iter=30, n_init=1, random_state=seed).fit(X) for seed in range(4)]
        for n in (1, 8)
    )
    gains = np.array([a.objective_ - b.objective_ for a, b in zip(one, many, strict=True)])
    assert gains.min() >= 0
    assert gains.max() > 0
    assert not many[0].converged_
    longer = GNMF(4, lam=1, max_iter=10_000, random_state=0).fit(X)
    assert longer.converged_
    assert 30 < longer.n_iter_ < 10_000
    assert longer.objective_ < many[0].objective_
    np.testing.assert_allclose(np.linalg.norm(longer.components_, axis=1), 1)


def test_negative_data_are_refused() -> None:
    with pytest.raises(NotApplicable, match=r"Negative values in data passed to GNMF.*the least is -0\.5"):
        GNMF(2).fit(samples() - 0.5)
