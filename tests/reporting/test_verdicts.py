"""Judgements on published numbers: the rule, an entry for every own cell, and the bound of ACC on ARI."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import Bounds, LinearConstraint, minimize

from deepclust import grids, layout
from deepclust.errors import UserError
from deepclust.files import read_yaml, write_text
from deepclust.metrics import accuracy, ari
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.verdicts import (
    TOLERANCE,
    Judgement,
    impossible,
    is_nearly_balanced,
    judge,
    least_ari,
    own_numbers,
    read_judgements,
    verdict,
)

CONTENT = read_yaml(layout.VERDICTS)
ROUNDING = 0.21  # points of ARI, of the two parts of TOLERANCE


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([1.1, 5.0], "exceeded"),
        ([1.0, 5.0], "reached"),
        ([-1.0], "reached"),
        ([3.0, -1.1], "near"),
        ([-5.0, -2.0], "near"),
        ([9.0, 9.0, -5.1], "not reached"),
    ],
)
def test_the_metric_in_which_ours_is_worst_decides(differences: list[float], said: str) -> None:
    assert verdict(differences) == said


def test_every_own_cell_of_the_papers_has_an_entry(reported: pd.DataFrame) -> None:
    cells = {(paper, method) for paper, method, _ in read_judgements(layout.VERDICTS, reported)}
    assert cells == {(name, method) for name, paper in PAPERS.items() for method in paper.methods}


@pytest.mark.parametrize(("change", "said"), [("missing", "has no entry for decs/decs/usps"), ("stale", "has stale")])
def test_an_entry_that_is_missing_or_names_no_cell_is_named(
    change: str, said: str, reported: pd.DataFrame, tmp_path: Path
) -> None:
    text = layout.VERDICTS.read_text(encoding="utf-8")
    before, after = text.split("  decs:\n    decs:\n")
    entry = "usps" if change == "missing" else "ytf"
    after = after.replace(f"      {entry}:\n", "      unheard_of:\n", 1)
    if change == "stale":
        reported = reported[~((reported["paper"] == "decs") & (reported["dataset"] == "ytf"))]
    path = tmp_path / "verdicts.yaml"
    write_text(path, f"{before}  decs:\n    decs:\n{after}")
    with pytest.raises(UserError, match=said):
        read_judgements(path, reported)


def test_evidence_exists_down_to_the_heading(reported: pd.DataFrame) -> None:
    for judgement in read_judgements(layout.VERDICTS, reported).values():
        for evidence in judgement.evidence:
            path, _, anchor = evidence.partition("#")
            headings = re.findall("^#+ (.*)$", (layout.PROJECT / path).read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub("[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in slugs, evidence


def test_a_cause_is_a_sentence(reported: pd.DataFrame) -> None:
    for cell, judgement in read_judgements(layout.VERDICTS, reported).items():
        assert re.fullmatch(r"[A-Z].*[.)]", judgement.cause, re.DOTALL), cell


def test_methods_whose_code_uses_labels_are_those_of_the_tables(reported: pd.DataFrame) -> None:
    named = [method for entry in CONTENT["labels"] for method in entry["methods"]]
    assert len(named) == len(set(named))
    assert set(named) <= set(reported["method_id"])
    assert {method for paper in PAPERS.values() for method in paper.methods} <= set(named)


def test_ours_and_the_verdict_are_those_of_the_named_grid(summary: pd.DataFrame, published: Callable) -> None:
    reported = published(
        ("ulhe_dc", "1", "usps", "ulhe_dc", "acc", 78.0, ""),
        ("ulhe_dc", "1", "usps", "ulhe_dc", "nmi", 73.5, ""),
        ("ulhe_dc", "2", "usps", "ulhe_dc", "acc", 70.0, ""),
        *(("ulhe_dc", "3", "usps", "ulhe_dc", "acc", 10.0, f"lambda={i}") for i in range(2)),
    )
    cell = ("ulhe_dc", "ulhe_dc", "usps")
    (row,) = judge(reported, {cell: Judgement("Why.", (), "small/dec")}, {"small": summary}).to_dict("records")
    assert row["reported"] == {"1": {"acc": 78.0, "nmi": 73.5}, "2": {"acc": 70.0}}
    assert row["ours"] == pytest.approx({"acc": 75.0, "nmi": 73.0, "ari": 72.0})  # its NMI is by the larger entropy
    assert (row["n"], row["grid"], row["cell"], row["verdict"]) == (3, "small", "dec", "near")


def test_a_result_that_is_not_there_or_not_named_is_refused(summary: pd.DataFrame, published: Callable) -> None:
    reported = published(("decs", "1", "usps", "decs", "acc", 78.0, ""))
    with pytest.raises(UserError, match="names small/hybrid for decs/decs/usps, which has no finished seed"):
        judge(reported, {("decs", "decs", "usps"): Judgement("Why.", (), "small/hybrid")}, {"small": summary})
    there = summary.replace({"cell": {"dec": "decs"}})
    with pytest.raises(UserError, match="names no result of decs/decs/usps, but small has one"):
        judge(reported, {("decs", "decs", "usps"): Judgement("Why.", ())}, {"small": there})


@pytest.mark.parametrize("k", [2, 4, 10, 20])
@pytest.mark.parametrize("a", [0.55, 0.8, 0.97])
def test_no_table_of_balanced_classes_and_clusters_falls_below_the_bound(k: int, a: float) -> None:
    """Tables with equal sums of rows and columns are sums of permutations; those without a fixed place hold errors."""
    rng = np.random.default_rng(round(1000 * a) + k)
    each, found = 400, []
    for _ in range(30):
        errors = rng.multinomial(round((1 - a) * each), rng.dirichlet(np.full(k - 1, rng.choice([0.1, 1, 10]))))
        names = rng.permutation(k)
        counts = np.diag(np.full(k, each - errors.sum()))
        for shift, n in enumerate(errors, 1):
            counts[names, np.roll(names, shift)] += n
        y, labels = (np.repeat(np.indices((k, k))[axis].ravel(), counts.ravel()) for axis in (0, 1))
        assert accuracy(y, labels) == pytest.approx(1 - errors.sum() / each)
        found.append(ari(y, labels) - least_ari(accuracy(y, labels), k))
    assert min(found) > -2 / each


def test_errors_spread_evenly_meet_the_bound() -> None:
    k, each = 10, 9000
    counts = np.full((k, k), 100) + (each - 1000) * np.eye(k, dtype=int)
    y, labels = (np.repeat(np.indices((k, k))[axis].ravel(), counts.ravel()) for axis in (0, 1))
    assert ari(y, labels) == pytest.approx(least_ari(0.9, k), abs=1e-4)


def least_found(shares: np.ndarray, a: float, cluster_shares: np.ndarray | None) -> float:
    """Return the least ARI that a local search over tables with these classes, and perhaps these clusters, finds."""
    k = len(shares)
    p = (shares**2).sum()
    rows, columns = (np.kron(*pair) for pair in ((np.eye(k), np.ones(k)), (np.ones(k), np.eye(k))))
    left, right = [*rows, np.eye(k).ravel()], [*shares, a]
    if cluster_shares is not None:
        left, right = [*left, *columns[1:]], [*right, *cluster_shares[1:]]
    limits = LinearConstraint(np.array(left), right, right)

    def index(table: np.ndarray) -> tuple[float, np.ndarray]:
        sums = columns @ table
        q = (sums**2).sum()
        top, bottom = (table**2).sum() - p * q, (p + q) / 2 - p * q
        slope = 2 * columns.T @ sums
        return top / bottom, (2 * table - p * slope) / bottom - top * (1 / 2 - p) * slope / bottom**2

    found = []
    for start in range(k):  # all errors in one cluster
        error = np.full(k, (1 - a) / (k - 1))
        error[start] = 0
        table = np.diag(shares - error)
        table[:, start] += error
        done = minimize(index, table.ravel(), jac=True, bounds=Bounds(0, 1), constraints=limits, method="SLSQP")
        assert np.abs(left @ done.x - right).max() < 1e-6
        found.append(done.fun)
    return float(min(found))


@pytest.mark.parametrize("a", [0.7, 0.912, 0.97])
def test_the_bound_for_clusters_of_any_size_is_the_least_that_is_found(a: float) -> None:
    assert least_found(np.full(10, 0.1), a, None) == pytest.approx(least_ari(a, 10, equal_clusters=False), abs=1e-4)


@pytest.mark.parametrize("a", [0.83, 0.94])
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("dataset", ["mnist", "mnist_test"])
def test_the_tolerance_covers_the_classes_of_mnist(a: float, equal: bool, dataset: str) -> None:
    sizes = np.array(CONTENT["class_sizes"][dataset])
    shares = sizes / sizes.sum()
    found = least_found(shares, a, shares if equal else None)
    lower = 100 * (least_ari(a, 10, equal_clusters=equal) - found)
    assert 0 < lower <= TOLERANCE[equal] - ROUNDING


@pytest.mark.parametrize("k", [10, 20])
@pytest.mark.parametrize("equal", [True, False])
def test_the_tolerance_covers_rounding_to_one_decimal(equal: bool, k: int) -> None:
    accuracies = np.arange(0.7, 1, 0.001)
    bounds = [100 * least_ari(a, k, equal_clusters=equal) for a in accuracies]
    assert 0.5 * np.diff(bounds).max() + 0.05 <= ROUNDING + 0.001  # half a tenth of ACC, and half a tenth of ARI


def test_the_triples_that_cannot_be_are_found(reported: pd.DataFrame) -> None:
    found = impossible(reported, CONTENT["class_sizes"])
    of_mnist = found[found["dataset"] == "mnist"].set_index("method")
    assert set(of_mnist["paper"]) == {"hybrid"}
    assert set(of_mnist.index) == {"VaDE", "DeepCluster", "Convex Clustering", "Proposed Hybrid"}
    assert (of_mnist.loc["DeepCluster", "acc"], of_mnist.loc["DeepCluster", "ari"]) == (97.0, 84.9)
    assert of_mnist.loc["Convex Clustering", "sizes"] == "equal"
    assert set(of_mnist["sizes"]) == {"equal", "any"}
    assert "usps" not in set(found["dataset"])  # 708 to 1,553 a class


def test_labels_of_few_samples_that_are_as_even_as_can_be_are_possible() -> None:
    k, each = 20, 72  # COIL-20's
    rows = []
    for right in range(51, 72):
        errors = np.array([(each - right + j) // (k - 1) for j in range(k - 1)])  # a cluster's, spread evenly
        counts = np.stack([np.roll([right, *errors], i) for i in range(k)])
        y, labels = (np.repeat(np.indices((k, k))[axis].ravel(), counts.ravel()) for axis in (0, 1))
        scores = {"acc": 100 * right / each, "ari": 100 * ari(y, labels)}
        row = {"paper": "hybrid", "table": 1, "dataset": "coil20", "method": str(right)}
        rows += [row | {"metric": metric, "value": round(value, 1)} for metric, value in scores.items()]
    assert impossible(pd.DataFrame(rows), {"coil20": [each] * k}).empty


def test_class_sizes_are_those_of_the_committed_results() -> None:
    seen = set()
    for path in layout.GRIDS.glob("*/reports/confusion/*/kmeans.csv"):
        dataset = path.parent.name
        if dataset in CONTENT["class_sizes"]:
            counts = pd.read_csv(path).groupby("actual")["samples"].sum().to_numpy()
            sizes = np.array(CONTENT["class_sizes"][dataset])
            assert (counts * sizes.sum() == sizes * counts.sum()).all(), path
            seen.add(dataset)
    assert seen >= {"mnist", "fashion", "usps", "mnist_test", "coil20", "usps11k"}


@pytest.mark.parametrize(("dataset", "balanced"), [("mnist", True), ("coil20", True), ("usps", False)])
def test_nearly_balanced_is_decided_by_the_class_sizes(dataset: str, balanced: bool) -> None:
    assert is_nearly_balanced(CONTENT["class_sizes"][dataset]) == balanced


def test_named_grids_have_committed_results(reported: pd.DataFrame) -> None:
    judgements = read_judgements(layout.VERDICTS, reported)
    named = {judgement.place(method)[0] for (_, method, _), judgement in judgements.items() if judgement.ours}
    assert named <= set(grids.names())
    assert set(own_numbers(reported)["method_id"]) == {method for _, method, _ in judgements}
