"""Coverage of the published numbers: each counted once, with a reason where there is none of ours."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from deepclust import datasets, grids, layout, methods
from deepclust.files import write_text
from deepclust.reporting.aggregate import compare
from deepclust.reporting.coverage import (
    DATA,
    DID_NOT_FINISH,
    KINDS,
    METHOD,
    METRIC,
    NOT_RUN,
    OURS,
    SWEEP,
    Absent,
    Reason,
    counts,
    coverage,
    lines,
    read_absent,
)
from tests.reporting.conftest import NAN

ABSENT = read_absent(layout.ABSENT)


def test_every_method_of_the_tables_is_built_or_has_a_reason(reported: pd.DataFrame) -> None:
    built = {*methods.names(), *(cell for _, cell in grids.commands())}
    assert set(reported["method_id"]) - built <= set(ABSENT.methods)


def test_every_data_set_of_the_tables_is_at_hand_or_has_a_reason(reported: pd.DataFrame) -> None:
    assert set(reported["dataset"]) - set(datasets.names()) <= set(ABSENT.datasets)


def test_reasons_name_what_the_tables_have(reported: pd.DataFrame) -> None:
    assert set(ABSENT.methods) | set(ABSENT.sweeps) <= set(reported["method_id"])
    assert set(ABSENT.datasets) <= set(reported["dataset"])
    assert {tuple(name.split("/")) for name in ABSENT.cells} <= set(
        reported[["dataset", "method_id"]].itertuples(index=False, name=None)
    )
    assert set(ABSENT.metrics) == set(reported["metric"]) - {"acc", "nmi", "ari", "purity"}


def test_a_reason_for_what_is_there_is_left_out_and_told() -> None:
    absent = Absent({"vade": Reason("no", "No."), "cc": Reason("no", "No.")}, {"har": Reason("no", "No.")})
    left, stale = absent.without(["vade", "dec"], ["har", "usps"])
    assert (list(left.methods), list(left.datasets)) == (["cc"], [])
    assert stale == [
        "the method vade is there now: remove its reason from reporting/absent.yaml",
        "the data set har is there now: remove its reason from reporting/absent.yaml",
    ]


@pytest.fixture
def covered(summary: pd.DataFrame, published: Callable) -> pd.DataFrame:
    reported = published(
        ("decs", "1", "usps", "dec", "acc", 70.0, ""),
        ("decs", "1", "usps", "hybrid", "acc", 70.0, ""),  # failed
        ("decs", "1", "usps", "vade", "acc", 70.0, ""),  # skipped
        ("decs", "1", "usps", "jule", "acc", 70.0, ""),
        ("decs", "1", "ytf", "jule", "acc", 70.0, ""),  # neither method nor data
        ("decs", "1", "ytf", "dec", "acc", 70.0, ""),
        ("decs", "1", "usps", "dec", "time", 70.0, ""),
        ("decs", "1", "mnist", "dec", "acc", 70.0, ""),
        ("decs", "1", "mnist", "idec", "acc", 70.0, ""),
        ("decs", "1", "usps", "ulhe_dc", "acc", 70.0, ""),
        ("decs", "1", "usps", "dcec", "acc", 70.0, ""),
        ("ulhe_dc", "3", "usps", "dec", "acc", 70.0, "lambda=1"),
        ("ulhe_dc", "3", "usps", "dec", "acc", 71.0, "lambda=2"),
    )
    absent = Absent(
        {"jule": Reason("long", "It is long.")},
        {"ytf": Reason("no data", "None.")},
        {"time": Reason("other", "Old.")},
        cells={"usps/dcec": Reason("long", "Years.")},
    )
    commands = {("mnist", "dec"): "make repro GRID=big", ("usps", "idec"): "make repro GRID=small"}
    return coverage(reported, compare(summary, reported), absent, commands)


def test_each_number_has_one_kind_and_its_reason(covered: pd.DataFrame) -> None:
    assert covered[["kind", "subject", "reason"]].to_numpy().tolist() == [
        [OURS, "usps/dec", ""],
        [DID_NOT_FINISH, "usps/hybrid", NAN],
        [DID_NOT_FINISH, "usps/vade", "no network fits 2 features"],
        [METHOD, "jule", "It is long."],
        [METHOD, "jule", "It is long."],
        [DATA, "ytf", "None."],
        [METRIC, "time", "Old."],
        [NOT_RUN, "mnist/dec", "make repro GRID=big"],
        [NOT_RUN, "mnist/idec", "make repro GRID=small, with mnist among its data sets"],
        [NOT_RUN, "usps/ulhe_dc", "an entry in a grid of your own"],
        [NOT_RUN, "usps/dcec", "Years."],
        [SWEEP, "usps/dec", "a sweep in a grid of your own"],
        [SWEEP, "usps/dec", "a sweep in a grid of your own"],
    ]


def test_counts_by_paper_add_up(covered: pd.DataFrame) -> None:
    table = counts(covered)
    assert table.to_numpy().sum() == len(covered)
    assert list(table.columns) == list(KINDS)
    assert table.loc["ulhe_dc"].to_dict() == dict.fromkeys(KINDS, 0) | {SWEEP: 2}
    assert lines(covered)[0] == "1 of 13 published numbers have ours beside them"
    assert lines(covered)[2] == "    ulhe_dc: 2 sweep not run"


def test_all_published_numbers_are_explained(summary: pd.DataFrame, reported: pd.DataFrame) -> None:
    covered = coverage(reported, compare(summary, reported), ABSENT, {})
    assert len(covered) == 745
    assert (covered["kind"] == OURS).sum() == compare(summary, reported)["difference"].notna().sum()
    assert covered.loc[covered["kind"] != OURS, "reason"].str.len().min() > 0


def test_commands_are_those_of_grids_with_a_lock_then_of_grids_with_reports_then_of_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PROJECT", tmp_path)
    monkeypatch.setattr(layout, "GRIDS", tmp_path / "grids")
    cells = {"a_new": "a, b, c, d", "b_reported": "b, c, d", "c_locked": "c"}
    write_text(tmp_path / "params.yaml", "grid: main\ndatasets: [usps]\nmethods: {d: {}}")
    for name, listed in cells.items():
        entries = ", ".join(f"{cell}: {{}}" for cell in listed.split(", "))
        write_text(tmp_path / f"grids/{name}/params.yaml", f"datasets: [usps]\nmethods: {{{entries}}}")
    write_text(tmp_path / "grids/b_reported/reports/summary.csv", "")
    write_text(tmp_path / "grids/c_locked/dvc.lock", "")
    assert {cell: command for (_, cell), command in grids.commands().items()} == {
        "a": "make repro GRID=a_new",
        "b": "make repro GRID=b_reported",
        "c": "make repro GRID=c_locked",
        "d": "make repro GRID=b_reported",
    }
    write_text(tmp_path / "dvc.lock", "")
    assert grids.commands()["usps", "d"] == "make repro"


def test_commands_are_those_of_the_first_grid_with_data_and_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PROJECT", tmp_path)
    monkeypatch.setattr(layout, "GRIDS", tmp_path / "grids")
    for name, text in {
        ".": "grid: main\ndatasets: [usps]\nmethods: {dec: {}}",
        "grids/big": "datasets: [usps, mnist]\nmethods: {dec: {}, own: {uses: dec}}",
        "grids/broken": "datasets: [",
        "grids/empty": "",
        "grids/half": "datasets: [fashion]\nmethods:",
    }.items():
        write_text(tmp_path / name / "params.yaml", text)
    big = "make repro GRID=big"
    assert grids.commands() == {
        ("usps", "dec"): "make repro",
        ("usps", "own"): big,
        ("mnist", "dec"): big,
        ("mnist", "own"): big,
    }
