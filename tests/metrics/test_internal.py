"""Internal metrics against naive formulas, and the cases in which they are not defined."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from deepclust.errors import UserError
from deepclust.metrics import ari, internal, stability
from deepclust.metrics.internal import SAMPLE

X = np.random.default_rng(0).random((24, 3), dtype=np.float32)
LABELS = np.arange(24) % 4
NEAR = np.linalg.norm(X[:, None] - X, axis=2)
W = sp.csr_matrix(np.where((NEAR < 0.4) & (NEAR > 0), np.exp(-NEAR), 0))


def naive_silhouette() -> float:
    values = []
    for i in range(24):
        means = [NEAR[i, [j for j in range(24) if LABELS[j] == k and j != i]].mean() for k in range(4)]
        a = means.pop(LABELS[i])
        values.append((min(means) - a) / max(a, min(means)))
    return float(np.mean(values))


def naive_davies_bouldin() -> float:
    centers = [X[k == LABELS].mean(axis=0) for k in range(4)]
    spreads = [np.linalg.norm(X[k == LABELS] - centers[k], axis=1).mean() for k in range(4)]
    return float(
        np.mean(
            [
                max((spreads[i] + spreads[j]) / np.linalg.norm(centers[i] - centers[j]) for j in range(4) if j != i)
                for i in range(4)
            ]
        )
    )


def naive_modularity() -> float:
    weights, degrees = W.toarray(), W.toarray().sum(axis=1)
    total = degrees.sum()
    same = np.equal.outer(LABELS, LABELS)
    return float(((weights - np.outer(degrees, degrees) / total) * same).sum() / total)


def test_internal_metrics_equal_their_formulas() -> None:
    expected = {
        "silhouette": naive_silhouette(),
        "davies_bouldin": naive_davies_bouldin(),
        "modularity": naive_modularity(),
    }
    assert internal(X, W, LABELS) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("labels", [np.zeros(24, dtype=int), np.arange(24)], ids=["one_cluster", "only_singletons"])
def test_what_is_not_defined_is_absent(labels: np.ndarray) -> None:
    assert set(internal(X, W, labels)) == {"modularity"}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_no_size_of_the_values_takes_their_digits(kind: Any) -> None:
    samples = X.astype(kind)
    expected = internal(samples, W, LABELS)["silhouette"]
    for power in (-80, -20, 60, 100):
        assert internal(np.ldexp(samples, power), W, LABELS)["silhouette"] == expected


def test_the_units_of_the_samples_change_nothing() -> None:
    wide = X.astype(np.float64)
    assert internal(wide * 1e-12, W, LABELS) == pytest.approx(internal(wide, W, LABELS), rel=1e-6)


def test_the_index_of_two_clusters_about_one_centre_is_not_defined() -> None:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.column_stack([np.cos(angles), np.sin(angles)])
    found = internal(np.concatenate([ring, 2 * ring]), W, np.arange(24) // 12)
    assert set(found) == {"silhouette", "modularity"}


def test_nodes_without_features_have_a_modularity_alone() -> None:
    W = sp.csr_matrix(np.kron(np.eye(2), 1 - np.eye(3)))
    assert internal(np.empty((6, 0)), W, np.arange(6) // 3) == pytest.approx({"modularity": 0.5})


def test_silhouette_of_many_samples_is_that_of_a_bounded_sample_and_always_the_same() -> None:
    n = 3 * SAMPLE
    labels = np.arange(n) % 3
    many = np.random.default_rng(1).normal(size=(n, 2)) * 0.1 + labels[:, None]
    found = internal(many, sp.csr_matrix((n, n)), labels)
    assert found["silhouette"] > 0.8
    assert found == internal(many, sp.csr_matrix((n, n)), labels)


def test_stability_is_the_mean_index_with_the_others() -> None:
    rng = np.random.default_rng(2)
    labelings = [rng.integers(3, size=50) for _ in range(4)]
    pairs = [ari(a, b) for a, b in itertools.combinations(labelings, 2)]
    assert np.mean(stability(labelings)) == pytest.approx(np.mean(pairs))
    assert stability(labelings)[1] == pytest.approx(np.mean([ari(labelings[1], labelings[i]) for i in (0, 2, 3)]))


def test_stability_of_a_table_is_refused() -> None:
    with pytest.raises(UserError, match=r"^labelings must be a sequence of arrays, got a data frame; \[\*table"):
        stability(pd.DataFrame({"a": LABELS, "b": LABELS}))  # type: ignore[arg-type]


def test_stability_does_not_depend_on_names_and_needs_two_seeds() -> None:
    assert stability([LABELS, 3 - LABELS]) == pytest.approx([1, 1])
    assert stability([LABELS]) == stability([]) == []
