"""One labeling of several: the plurality after matching, against its definition in loops, and its edges."""

import itertools

import numpy as np
import pandas as pd
import pytest

from deepclust.consensus import consensus
from deepclust.errors import UserError
from deepclust.metrics import stability

TRUTH = np.repeat([0, 1, 2], [5, 4, 6])


def flawed(truth: np.ndarray, samples: list[int], shift: int = 1) -> np.ndarray:
    """Return the labels with some samples moved to another cluster."""
    found = truth.copy()
    found[samples] = (found[samples] + shift) % 3
    return found


def in_loops(labelings: list[np.ndarray], K: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and agreement by all K! ways to rename, sample by sample."""
    reference = labelings[int(np.argmax(stability(labelings)))]
    renamed = []
    for labels in labelings:
        ways = [np.array(way)[labels] for way in itertools.permutations(range(K))]
        renamed.append(max(ways, key=lambda way: (way == reference).sum()))
    found, shares = [], []
    for i, own in enumerate(reference):
        votes = [int(labels[i]) for labels in renamed]
        most = max(votes.count(name) for name in range(K))
        first = [name for name in range(K) if votes.count(name) == most]
        found.append(int(own) if own in first else first[0])
        shares.append(most / len(labelings))
    return np.array(found), np.array(shares)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_most_frequent_name_after_the_best_matching(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=60)
    labelings = []
    for _ in range(int(rng.integers(2, 6))):
        labels = np.where(rng.random(60) < 0.3, rng.integers(4, size=60), truth)
        labelings.append(rng.permutation(4)[labels])
    found = consensus(labelings)
    labels, agreement = in_loops(labelings, 4)
    assert found.labels.tolist() == labels.tolist()
    assert found.agreement == pytest.approx(agreement)


def test_a_flaw_of_one_is_outvoted_whatever_the_clusters_are_called() -> None:
    names = np.array([7, -2, 4])
    labelings = [flawed(TRUTH, [0, 9]), names[TRUTH], names[::-1][flawed(TRUTH, [14])]]
    found = consensus(labelings)
    assert found.nearest == 1
    assert found.labels.tolist() == names[TRUTH].tolist()
    assert found.labels.dtype == np.int64
    expected = np.ones(15)
    expected[[0, 9, 14]] = 2 / 3
    assert found.agreement == pytest.approx(expected)


def test_of_two_the_first_decides() -> None:
    found = consensus([TRUTH, flawed(TRUTH, [3])])
    assert found.nearest == 0
    assert found.labels.tolist() == TRUTH.tolist()
    assert found.agreement.tolist() == [0.5 if i == 3 else 1.0 for i in range(15)]


def test_one_labeling_is_its_own_consensus() -> None:
    found = consensus([TRUTH.astype(np.uint8)])
    assert (found.labels.tolist(), found.agreement.tolist(), found.nearest) == (TRUTH.tolist(), [1.0] * 15, 0)


def test_clusters_left_over_have_no_vote() -> None:
    torn = np.where(np.arange(15) < 2, 3, TRUTH)  # a fourth cluster, out of the first
    found = consensus([TRUTH, TRUTH, torn, torn, torn[::-1][::-1], TRUTH, TRUTH])
    assert found.labels.tolist() == TRUTH.tolist()
    assert found.agreement[:3] == pytest.approx([4 / 7, 4 / 7, 1])


@pytest.mark.parametrize(
    ("labelings", "message"),
    [
        ([], "^labelings must be at least one, got none$"),
        ([TRUTH, TRUTH[:-1]], "^labelings must be of the same samples, got 15 and 14$"),
        ([TRUTH, TRUTH / 2], "^labelings must be a non-empty vector of integers, got .* float64$"),
        (
            [TRUTH.astype(np.uint64) + 2**63],
            "^labelings must have names in int64, got larger ones; number the clusters",
        ),
        (
            pd.DataFrame({"first": TRUTH, "second": TRUTH}),
            r"^labelings must be a sequence of arrays, got a data frame;",
        ),
        ([TRUTH[None]], r"^labelings must be a non-empty vector of integers, got shape \(1, 15\)"),
    ],
)
def test_what_is_no_labeling_is_refused(labelings: list[np.ndarray], message: str) -> None:
    with pytest.raises(UserError, match=message):
        consensus(labelings)
