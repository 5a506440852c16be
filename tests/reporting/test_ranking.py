"""Ranks, and which differences the seeds tell, on numbers small enough to check by hand."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from deepclust.reporting.aggregate import read_results
from deepclust.reporting.ranking import RULE, SEEDS, across, ranked, told_apart
from tests.reporting.conftest import DATASETS


def test_cells_are_told_apart_by_disjoint_seeds_if_there_are_enough() -> None:
    best, overlapping, below, touching = [0.8, 0.9, 1.0], [0.1, 0.2, 0.85], [0.5, 0.6, 0.7], [0.7, 0.7, 0.75]
    apart = told_apart([best, overlapping, below, touching, [0.1, 0.1], [0.1]])
    assert (apart == apart.T).all()
    assert apart.tolist()[0] == [False, False, True, True, False, False]
    assert apart.tolist()[2] == [True, False, False, False, False, False]  # 0.7 is in both
    assert not apart[4:].any()


@pytest.mark.parametrize(("n", "one_in"), [(SEEDS, 10), (5, 126)])
def test_the_rule_says_how_often_chance_alone_parts_two_cells(n: int, one_in: int) -> None:
    assert math.comb(2 * n, n) / 2 == one_in  # of all orders of their seeds, two have them apart
    assert f"in {one_in}" in RULE


@pytest.mark.parametrize(("n", "one_in"), [(SEEDS, 4), (5, 16)])
def test_the_rule_says_how_often_chance_parts_a_cell_from_one_without_spread(n: int, one_in: int) -> None:
    level = [0.5] * n  # each seed of the other is above or below it, as by a coin
    tossed = [[0.5 + sign / 10 for sign in signs] for signs in itertools.product((-1, 1), repeat=n)]
    apart = sum(bool(told_apart([level, other])[0, 1]) for other in tossed)
    assert len(tossed) / apart == one_in
    assert f"in {one_in} with {'three' if n == SEEDS else 'five'}" in RULE


def test_a_data_set_ranks_its_finished_cells_by_their_mean(results: pd.DataFrame) -> None:
    table = ranked(results, "usps")
    assert list(table.index) == ["idec", "dec"]  # hybrid failed, vade was skipped
    assert list(table.loc["dec", ["mean", "n"]]) == pytest.approx([0.75, 3])
    assert table.loc["dec", "std"] == pytest.approx(0.05)
    assert table.loc["idec", "values"] == [0.90, 0.92]
    assert table["level"].tolist() == [True, True]  # two seeds of idec


def test_equal_sums_of_ranks_are_equal_mean_ranks() -> None:
    orders = [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]  # thirds of 1 + 2 + 3 add up to 2 in some orders alone
    tables = [
        pd.DataFrame({"mean": [0.9, 0.8, 0.7], "values": [[0.9], [0.8], [0.7]]}, index=pd.Index(order))
        for order in orders
    ]
    assert across(tables)["rank"].tolist() == [2.0, 2.0, 2.0]


def test_ranks_and_counts_across_data_sets(grid: Path, write_cell: Callable) -> None:
    write_cell(grid, "usps", "idec", {"0": 0.90, "1": 0.92, "2": 0.91}, readouts=("kmeans",))
    write_cell(grid, "toy", "idec", {"0": 0.50, "1": 0.52, "2": 0.72})
    for dataset in DATASETS:
        write_cell(grid, dataset, "hybrid", {"0": 0.3, "1": 0.3, "2": 0.3})
    write_cell(grid, "usps", "vade", {"0": 0.99, "1": 0.99, "2": 0.99})  # on one data set alone
    found = across([ranked(read_results(grid, DATASETS, ["dec", "idec", "hybrid", "vade"]), name) for name in DATASETS])
    assert list(found.loc["idec"]) == [1.5, 3, 1, 0]  # above dec on usps, overlaps it on toy
    assert list(found.loc["dec"]) == [1.5, 2, 1, 1]
    assert list(found.loc["hybrid"]) == [3, 0, 0, 4]
    assert list(found.index) == ["idec", "dec", "hybrid"]
    assert (found[["won", "level", "lost"]].sum(axis=1) == 4).all()


def test_cells_that_share_no_data_set_have_no_ranks(results: pd.DataFrame) -> None:
    one, two = ranked(results, "usps").loc[["dec"]], ranked(results, "toy").loc[["idec"]]
    assert across([one, two]).empty
    assert ranked(results.assign(value=float("nan")), "usps").empty
