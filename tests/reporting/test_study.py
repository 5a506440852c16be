"""The study: tests and intervals against independent formulas, each published number once, sentences that follow."""

import itertools
from collections.abc import Callable
from math import nan, sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deepclust import layout
from deepclust.errors import UserError
from deepclust.files import read_yaml
from deepclust.reporting import study, study_page
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.study import FEW, Interval
from deepclust.reporting.verdicts import NOT_RUN

FACTS = read_yaml(layout.STUDY)
RNG = np.random.default_rng(1)


def ranked(**accuracies: list[float]) -> pd.DataFrame:
    """Return what `ranking.ranked` returns for cells of these accuracies."""
    cells = sorted(accuracies, key=lambda cell: -np.mean(accuracies[cell]))
    rows = [
        {"method": cell, "mean": np.mean(accuracies[cell]), "n": len(accuracies[cell]), "values": accuracies[cell]}
        for cell in cells
    ]
    return pd.DataFrame(rows, index=pd.Index(cells, name="cell"))


def test_holm_steps_down() -> None:
    assert study.holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    p = RNG.uniform(size=40) ** 4
    rejected, level = set[int](), 0.05
    for place, which in enumerate(np.argsort(p)):  # as Holm's paper has it, one hypothesis after the other
        if p[which] > level / (40 - place):
            break
        rejected.add(int(which))
    assert set(np.flatnonzero(study.holm(p) <= level)) == rejected != set()


def test_one_data_set_has_the_p_of_welch() -> None:
    cells = [RNG.normal(size=n) for n in (3, 5, 4)]
    p = study.welch([[list(values) for values in cells]])
    for a, b in itertools.combinations(range(3), 2):
        assert p[a, b] == p[b, a] == pytest.approx(stats.ttest_ind(cells[a], cells[b], equal_var=False).pvalue)


def test_fixed_data_sets_have_satterthwaites_degrees_of_freedom() -> None:
    first, second = ([RNG.normal(size=n) for n in sizes] for sizes in ((3, 5), (4, 3)))
    errors = [(values.var(ddof=1) / len(values), len(values) - 1) for values in [*first, *second]]
    variance = sum(error for error, _ in errors)
    freedom = variance**2 / sum(error**2 / n for error, n in errors)
    t = (sum(v.mean() for v in first) - sum(v.mean() for v in second)) / sqrt(variance)
    p = study.welch([[list(a), list(b)] for a, b in zip(first, second, strict=True)])
    assert p[0, 1] == pytest.approx(2 * stats.t.sf(abs(t), freedom))


def test_cells_without_spread_are_equal_or_differ_for_certain_and_one_seed_tells_nothing() -> None:
    p = study.welch([[[0.5, 0.5], [0.5, 0.5, 0.5], [0.6, 0.6], [0.9]]])
    assert p[0, 1] == 1
    assert p[0, 2] == 0
    assert p[3].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(("cells", "q"), [(2, 1.960), (4, 2.569), (10, 3.164)])  # Demsar (2006), Table 5 (a)
def test_the_critical_difference_is_nemenyis(cells: int, q: float) -> None:
    expected = q * sqrt(cells * (cells + 1) / (6 * 14))
    assert study.critical_difference(14, cells) == pytest.approx(expected, abs=1e-3)


def test_medians_of_repeated_values_are_those_of_the_values_written_out() -> None:
    values, counts = RNG.normal(size=7), RNG.integers(0, 4, size=(50, 7))
    counts[0] = 0
    found = study.weighted_medians(values, counts)
    assert np.isnan(found[0])
    assert found[1:].tolist() == pytest.approx([np.median(np.repeat(values, of)) for of in counts[1:]])


def test_the_bootstrap_has_the_variance_of_its_two_levels() -> None:
    seeds = [[[0.1, 0.3, 0.8], [0.0]], [[0.5, 0.6], [0.0]], [[0.9, 1.0, 0.2, 0.4], [0.0]]]
    draws = study.resampled(seeds)
    means = [np.mean(of[0]) for of in seeds]
    within = np.mean([np.var(of[0]) / len(of[0]) for of in seeds])  # of a drawn data set's mean, given the data set
    expected = (np.var(means) + within) / len(seeds)
    assert draws[:, 0].mean() == pytest.approx(np.mean(means), abs=4 * sqrt(expected / study.DRAWS))
    assert draws[:, 0].var() == pytest.approx(expected, rel=0.1)
    assert not draws[:, 1].any()


def test_the_bootstrap_draws_the_same_data_sets_for_all_cells() -> None:
    draws = study.resampled([[[mean], [mean + 0.25]] for mean in (0.1, 0.4, 0.7)])
    assert np.allclose(draws[:, 1] - draws[:, 0], 0.25)
    assert len(np.unique(draws[:, 0].round(9))) == 7  # the means of three draws of three


def test_a_contest_says_what_four_data_sets_can_tell() -> None:
    by_dataset = {
        name: ranked(best=[0.9 + shift] * 3, middle=[0.8, 0.7, 0.75], last=[0.3, 0.4, 0.35])
        for name, shift in (("a", 0), ("b", 0.01), ("c", 0.02), ("d", 0.03))
    }
    found = study.contest(by_dataset)
    assert list(found.table.index) == ["best", "middle", "last"]
    assert found.behind["middle"].value == pytest.approx(16.5)
    assert found.behind["middle"].low > 10
    assert found.ahead.to_numpy().tolist() == [[0.5, 1, 1], [0, 0.5, 1], [0, 0, 0.5]]
    assert (found.pairs, found.clear, found.told) == (3, 3, 3)
    assert found.least_p == 2 * 0.5**4  # all differences of one sign
    assert found.enough == next(n for n in range(1, 99) if 2 * 0.5**n * found.pairs <= 0.05)
    assert found.width == pytest.approx(sqrt(3 / 4) * 1.959964 / 3.182446, rel=1e-5)
    assert found.friedman == pytest.approx(stats.chi2.sf(8, 2))  # perfect agreement: N (k - 1)


def test_a_contest_takes_three_cells_on_every_data_set() -> None:
    with pytest.raises(UserError, match="fewer than three cells finished on each of a, b"):
        study.contest({"a": ranked(x=[0.1], y=[0.2]), "b": ranked(x=[0.1], y=[0.2])})


def test_seeds_of_one_data_set_tell_what_is_told_from_the_best() -> None:
    values = {"best": [0.900, 0.901, 0.902], "near": [0.90, 0.901, 0.905], "far": [0.300, 0.301, 0.302]}
    found = study.seen(ranked(**values))
    assert found.best == "near"
    assert found.level == ("best",)
    assert (found.cells, found.seeds, found.pairs, found.told, found.disjoint) == (3, "3", 3, 2, 2)


# -------------------------------------------------------------------------------------------- reported minus reproduced


def judged(**results: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"paper": "decs", "method": "decs", "cell": "decs", "dataset": "usps"}
    row |= {"reported": {"1": {"acc": 99.0}, "2": {"acc": 50.0}}}
    return row | {"ours": {"acc": 90.0}, "n": 5, "grid": "second", "verdict": "near"} | results


def compared(grid: str, cell: str, reproduced: float, n: int, table: str = "1", **others: Any) -> dict[str, Any]:
    row = {"paper": "decs", "table": table, "dataset": "usps", "cell": cell, "metric": "acc", "reported": 80.0}
    return row | {"difference": reproduced - 80, "n": n, "grid": grid, "borrows": False} | others


METHODS = {("first", name): name for name in ("dec", "kmeans", "idec", "decs")}
METHODS |= {("second", name): name for name in ("dec", "idec", "decs")} | {("second", "decs_weak"): "decs"}
FAMILIES = {"dec": "deep", "idec": "deep", "kmeans": "plain", "decs": "deep"}


def test_each_published_number_counts_once_and_no_score_chooses_ours() -> None:
    rows = [
        compared("first", "kmeans", 10.0, 1),
        compared("first", "kmeans", 99.0, 1, table="3"),
        compared("first", "idec", 70.0, 5),
        compared("first", "dec", 79.0, 5),
        compared("second", "dec", 60.0, 1),  # of the grid that is judged for the paper and data set
        compared("second", "decs", 1.0, 5),
        compared("second", "decs_weak", 1.0, 5),
        compared("second", "idec", nan, 0),
    ]
    verdicts = pd.DataFrame([judged(), judged(dataset="ytf", verdict=NOT_RUN, grid="", ours={})])
    found = study.differences(verdicts, pd.DataFrame(rows), METHODS, FAMILIES)
    assert found[["cell", "gap", "own", "grid", "family"]].to_numpy().tolist() == [
        ["decs", 9.0, True, "second", "deep"],
        ["kmeans", 70.0, False, "first", "plain"],
        ["idec", 10.0, False, "first", "deep"],
        ["dec", 20.0, False, "second", "deep"],
    ]


def test_one_grid_stands_for_a_method_on_a_data_set_in_all_tables_of_a_paper() -> None:
    rows = pd.DataFrame(
        [
            compared("first", "dec", 79.0, 5),
            compared("first", "dec", 79.0, 5, table="3"),
            compared("first", "dec", 79.0, 2, dataset="mnist"),
            compared("second", "dec", 60.0, 1),
            compared("second", "dec", 60.0, 1, table="3"),
            compared("second", "dec", 60.0, 3, dataset="mnist"),
        ]
    )
    verdicts = pd.DataFrame([judged(), judged(dataset="mnist", verdict=NOT_RUN, grid="", ours={})])
    assert study.in_one_grid(rows, verdicts).tolist() == [False, False, False, True, True, True]
    assert study.in_one_grid(rows, verdicts.iloc[1:]).tolist() == [True, True, False, False, False, True]
    current = {"first": frozenset([("usps", "dec")]), "second": frozenset([("mnist", "dec")])}
    assert study.in_one_grid(rows, verdicts, current).tolist() == [True, True, False, False, False, True]
    older = {"first": frozenset(), "second": frozenset[tuple[str, str]]()}  # seeds alone decide
    assert study.in_one_grid(rows, verdicts, older).tolist() == [True, True, False, False, False, True]


def test_three_seeds_come_before_the_order_of_the_grids() -> None:
    rows = [compared("first", "dec", 10.0, 2), compared("second", "dec", 30.0, 3)]
    found = study.differences(pd.DataFrame([judged(dataset="mnist")]), pd.DataFrame(rows), METHODS, FAMILIES)
    assert found.loc[found["cell"] == "dec", ["gap", "grid"]].to_numpy().tolist() == [[50.0, "second"]]


def test_a_method_on_its_own_network_comes_before_one_on_another_but_not_before_the_papers_own_grid() -> None:
    rows = pd.DataFrame([compared("first", "dec", 79.0, 5, borrows=True), compared("second", "dec", 60.0, 1)])
    of_no_grid, of_first = (pd.DataFrame([judged(grid=grid)]) for grid in ("third", "first"))
    assert study.in_one_grid(rows, of_no_grid).tolist() == [False, True]
    assert study.in_one_grid(rows, of_first).tolist() == [True, False]


def numbers(*rows: tuple[str, str, str, float, bool]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["paper", "dataset", "cell", "gap", "own"])
    return table.assign(metric="acc", grid="g", n=3, reported=90.0, family="f")


def test_facts_are_those_of_the_method_the_paper_and_the_data_set() -> None:
    gaps = numbers(
        ("deepcluster_admm", "mnist", "dec", 1.0, False),
        ("hybrid", "coil20", "convex_clustering", 1.0, False),
        ("decs", "mnist", "dec", 1.0, False),
        ("decs", "mnist", "decs", 1.0, True),
        ("pc_x", "fashion", "pc_x", 1.0, True),
    )
    ours = {("g", "mnist", "decs"): 40.0, ("g", "mnist", "dec"): 1.0}
    found = study.described(gaps, FACTS, ours, {"mnist": 70_000})
    assert found["chosen"].tolist() == [True, True, False, False, False]
    assert found["code"].tolist() == ["", "", "", "may choose", "choose nothing"]
    assert found["augmented"].tolist() == [False, False, False, True, False]
    assert found["network"].tolist() == ["fully connected", "none", "fully connected", "convolutional", "convolutional"]
    assert found["longer"].tolist() == pytest.approx([nan, nan, nan, (500 + 1e4 * 256 / 7e4) / 40, nan], nan_ok=True)


def test_a_method_of_unknown_network_is_named() -> None:
    with pytest.raises(UserError, match="does not say which network unheard_of has; add it under networks"):
        study.described(numbers(("decs", "usps", "unheard_of", 1.0, False)), FACTS, {}, {})


def test_a_method_has_one_network_and_lengths_are_of_the_papers_own(reported: pd.DataFrame) -> None:
    named = [cell for cells in FACTS["networks"].values() for cell in cells]
    assert len(named) == len(set(named))
    assert {*FACTS["augmented"], *FACTS["networks_on"], *FACTS["lengths"]} <= set(named)
    own = {method for paper in PAPERS.values() for method in paper.methods}
    assert set(FACTS["lengths"]) <= own
    assert sorted(method for methods in FACTS["released_code"].values() for method in methods) == sorted(own)
    rows = set(reported[["paper", "method_id"]].itertuples(index=False, name=None))
    for paper, entry in FACTS["chosen_by_labels"].items():
        assert all((paper, method) in rows for method in entry.get("methods", PAPERS[paper].methods))


def test_a_median_has_the_interval_of_its_clusters_and_not_of_its_numbers() -> None:
    cells = [("decs", "usps", f"cell{i}", float(i), False) for i in range(9)]
    once, twice = (numbers(*cells * times) for times in (1, 2))
    found, draws = study.medians(once, {"all": np.ones(9, bool), "few": np.arange(9) < FEW - 1})
    copied, _ = study.medians(twice, {"all": np.ones(18, bool)})
    assert found["all"] == copied["all"] == Interval.of(4.0, draws[:, 0])
    assert found["few"].value == 1.5
    assert np.isnan(found["few"].low)
    # the median of a draw is at most m if five of nine are: a binomial
    for m in range(9):
        expected = stats.binom.sf(4, 9, (m + 1) / 9)
        assert (draws[:, 0] <= m).mean() == pytest.approx(expected, abs=4 * sqrt(0.25 / study.DRAWS))


def test_own_methods_meet_the_baselines_of_their_paper_and_data_set() -> None:
    gaps = numbers(
        ("decs", "usps", "decs", 5.0, True),
        ("decs", "usps", "dec", 1.0, False),
        ("decs", "usps", "idec", 2.0, False),
        ("decs", "mnist", "decs", 9.0, True),
        ("decs", "mnist", "kmeans", 0.0, False),
        ("decs", "fashion", "decs", 9.0, True),
        ("pc_x", "mnist", "dec", 9.0, False),
    )
    rows = study.described(gaps, FACTS, {}, {})
    found = study.own_against(rows, ~rows["own"].to_numpy())
    assert (found.larger, found.n, found.median.value) == (2, 2, (3.5 + 9) / 2)
    trained = study.own_against(rows, study.whose(rows)[study.TRAINED])
    assert (trained.larger, trained.n, trained.median.value) == (1, 1, 3.5)
    assert np.isnan(trained.median.low)


def test_a_correlation_is_spearmans_and_so_are_its_draws() -> None:
    x, y = RNG.normal(size=12), RNG.normal(size=12)
    found = study_page._rank_correlation(x, y)
    drawn = np.random.default_rng(0).integers(12, size=(1000, 12))
    expected = [stats.spearmanr(x[of], y[of]).statistic for of in drawn]
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert [found.low, found.high] == pytest.approx(np.percentile(expected, [2.5, 97.5]))


@pytest.fixture
def pairs() -> Callable[[float], pd.DataFrame]:
    """Make ten pairs of a paper and a data set, in which own methods are further above ours by about as much."""

    def make(further: float) -> pd.DataFrame:
        rows: list[tuple[str, str, str, float, bool]] = []
        for place, (paper, dataset) in enumerate(itertools.product(PAPERS, ["usps", "mnist"])):
            noise = (place - 4.5) / 2
            rows.append((paper, dataset, PAPERS[paper].methods[0], further + noise, True))
            rows.append((paper, dataset, ("dec", "idec", "vade", "daec", "kmeans")[place // 2], 0.0, False))
        return numbers(*rows)

    return make


@pytest.mark.parametrize(
    ("further", "said"),
    [
        (9.0, "**Papers are further above ours"),
        (0.8, "**How far papers are above ours does not tell their own methods from trained baselines: "),
        (-9.0, "**Papers are less far above ours"),
    ],
)
def test_the_finding_follows_the_numbers(further: float, said: str, pairs: Callable) -> None:
    gaps = pd.concat([pairs(further).assign(metric=metric) for metric in ("acc", "nmi", "ari")], ignore_index=True)
    rows = study.described(gaps, FACTS, {}, {})
    block = study_page.gaps_block(gaps, rows, "figures/gaps.svg")
    assert said in block
    assert f"trained baselines in {8 if further > 5 else 5 if further > 0 else 0} of 8 pairs" in block
    assert f"it is larger in {10 if further > 5 else 7 if further > 0 else 0} of 10 pairs" in block
    assert "| Hybrid | 4, 2 |" in block
    assert "Left out" not in block
    assert study_page.gaps_block(gaps, rows, "figures/gaps.svg", {"deepdpm": 4, "senet": 1}).endswith(
        "Left out of all gaps are 5 numbers of methods that are reduced here, or told the number of clusters, because "
        "ours are not of the same method: `deepdpm` (4), `senet` (1)."
    )


def test_what_is_told_and_what_is_one_paper_is_said(pairs: Callable) -> None:
    rows = study.described(pairs(9.0), FACTS, {}, {})
    block = study_page.factors_block(rows, "figures/goes_with.svg")
    assert "differ by +9.0 [" in block
    assert "nothing below is told from 0" in block
    assert "says the paper of 4 of 20 numbers (4 in DeepCluster-ADMM)" in block
    assert "too few for an interval; the first are all of one paper, from which they cannot be told" in block
    assert "both known of 0 results, too few to tell" in block
