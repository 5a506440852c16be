"""External metrics against brute force, naive formulas and the cases whose answer is known."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from deepclust import metrics
from deepclust.errors import UserError
from deepclust.metrics import accuracy, ari, external, match, nmi, purity

SIZES = [(40, 3, 3), (60, 5, 3), (60, 3, 5), (25, 1, 4), (25, 4, 1), (7, 5, 5)]  # N, classes, clusters


def labelings(n: int, n_classes: int, n_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n + 10 * n_classes + n_clusters)
    y = rng.integers(n_classes, size=n)
    return y, np.where(rng.random(n) < 0.6, y % n_clusters, rng.integers(n_clusters, size=n))


def entropy(values: list) -> float:
    return -sum(c / len(values) * math.log(c / len(values)) for c in Counter(values).values())


def naive(y: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The textbook formulas, by loops over classes, clusters and pairs of samples."""
    true, found, n = y.tolist(), labels.tolist(), len(y)
    classes, clusters = sorted(set(true)), sorted(set(found))
    size = max(len(classes), len(clusters))
    names = classes + [None] * (size - len(classes))
    matched = [dict(zip(clusters, order, strict=False)) for order in itertools.permutations(names, size)]
    h_true, h_found = entropy(true), entropy(found)
    information = h_true + h_found - entropy(list(zip(true, found, strict=True)))
    pairs = list(itertools.combinations(range(n), 2))
    both = sum(true[i] == true[j] and found[i] == found[j] for i, j in pairs)
    in_true, in_found = (sum(v[i] == v[j] for i, j in pairs) for v in (true, found))
    expected, largest = in_true * in_found / len(pairs), (in_true + in_found) / 2
    constant = h_true == h_found == 0
    return {
        "acc": max(sum(m[c] == t for t, c in zip(true, found, strict=True)) for m in matched) / n,
        "nmi": 1.0 if constant else 2 * information / (h_true + h_found),
        "nmi_max": 1.0 if constant else information / max(h_true, h_found),
        "ari": 1.0 if constant else (both - expected) / (largest - expected),
        "purity": sum(max(Counter(t for t, f in zip(true, found, strict=True) if f == c).values()) for c in clusters)
        / n,
    }


@pytest.mark.parametrize("size", SIZES)
def test_metrics_equal_their_naive_formulas(size: tuple[int, int, int]) -> None:
    y, labels = labelings(*size)
    assert external(y, labels) == pytest.approx(naive(y, labels), abs=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_metrics_do_not_depend_on_the_names_of_clusters_and_classes(size: tuple[int, int, int]) -> None:
    y, labels = labelings(*size)
    rng = np.random.default_rng(0)
    renamed_y, renamed_labels = (rng.permutation(np.arange(-3, 17) * 7)[v] for v in (y, labels))
    assert external(renamed_y, renamed_labels) == pytest.approx(external(y, labels), abs=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_metrics_do_not_depend_on_the_order_of_samples(size: tuple[int, int, int]) -> None:
    y, labels = labelings(*size)
    order = np.random.default_rng(1).permutation(len(y))
    assert external(y[order], labels[order]) == pytest.approx(external(y, labels), abs=1e-12)


def test_equal_partitions_score_one_everywhere() -> None:
    y, _ = labelings(60, 5, 5)
    assert external(y, (y + 2) % 5) == pytest.approx(dict.fromkeys(metrics.EXTERNAL, 1.0))


def test_one_cluster_scores_the_largest_class_and_no_information() -> None:
    y = np.array([0, 0, 0, 1, 2])
    assert external(y, np.zeros(5, int)) == pytest.approx(
        {"acc": 0.6, "nmi": 0.0, "nmi_max": 0.0, "ari": 0.0, "purity": 0.6}
    )


def test_two_constant_labelings_are_equal_partitions() -> None:
    assert external([3, 3, 3], [0, 0, 0]) == pytest.approx(dict.fromkeys(metrics.EXTERNAL, 1.0))


def test_singletons_are_pure_but_not_accurate() -> None:
    y = np.repeat([0, 1], 10)
    assert purity(y, np.arange(20)) == 1.0
    assert accuracy(y, np.arange(20)) == pytest.approx(0.1)
    assert ari(y, np.arange(20)) == pytest.approx(0.0)


def test_max_normalised_nmi_is_never_the_larger() -> None:
    for size in SIZES:
        y, labels = labelings(*size)
        assert nmi(y, labels, normalizer="max") <= nmi(y, labels) + 1e-12


def test_ari_falls_below_zero_for_worse_than_chance() -> None:
    assert ari([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(-0.5)


@pytest.mark.parametrize("size", SIZES)
def test_match_renames_clusters_one_to_one_and_attains_the_accuracy(size: tuple[int, int, int]) -> None:
    y, labels = labelings(*size)
    y = y * 3 - 2
    renamed = match(y, labels)
    assert renamed.dtype == np.int64
    assert np.mean(renamed == y) == pytest.approx(accuracy(y, labels))
    assert len(np.unique(renamed)) == len(np.unique(labels))
    assert ari(labels, renamed) == 1.0


def test_clusters_left_over_get_names_after_the_largest_class() -> None:
    y = np.array([4, 4, 4, 9, 9, 9])
    assert match(y, np.array([7, 7, 1, 2, 2, 0])).tolist() == [4, 4, 11, 9, 9, 10]


def test_external_names_every_metric_in_order() -> None:
    assert tuple(external([0, 1], [1, 0])) == metrics.EXTERNAL == ("acc", "nmi", "nmi_max", "ari", "purity")


@pytest.mark.parametrize("metric", [accuracy, nmi, ari, purity, match, external])
@pytest.mark.parametrize(
    ("y", "labels", "message"),
    [
        ([0, 1, 1], [0, 1], "equal lengths, got 3 and 2"),
        ([], [], "y must be a non-empty vector of integers"),
        ([0, 1], [[0], [1]], r"labels must be .* got shape \(2, 1\)"),
        ([0, 1], [0.5, 1.5], "labels must be .* dtype float64"),
    ],
)
def test_bad_input_is_named(metric, y, labels, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        metric(y, labels)


def test_unknown_normalizer_is_named() -> None:
    with pytest.raises(UserError, match="'arithmetic' or 'max', got 'geometric'"):
        nmi([0, 1], [0, 1], normalizer="geometric")  # type: ignore[arg-type]
