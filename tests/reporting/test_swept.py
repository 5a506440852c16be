"""Points of a sweep stand beside the points that a paper prints, and count as numbers with ours."""

from pathlib import Path

import pandas as pd
import pytest

from deepclust.errors import UserError
from deepclust.files import write_json, write_text
from deepclust.metrics import EXTERNAL, INTERNAL
from deepclust.reporting import coverage, overview
from deepclust.reporting.aggregate import compare, summarise
from deepclust.reporting.readme import best_block, swept_sentence
from deepclust.reporting.swept import place, read_sweeps
from deepclust.reporting.tables import dataset_table, paper_tables, sweeps_beside, write

POINT = {"paper": "ulhe_dc", "table": "3", "dataset": "usps", "method": "ULHE-DC", "method_id": "ulhe_dc"}
GRID = {"lambda_unif": [0.02, 0.1], "lambda_cmpt": [1]}
INDEX = {"name": "weights", "dataset": "usps", "cell": "ulhe_dc", "base": {}, "seeds": [0, 1], "grid": GRID}
RESULTS = """point,seed,status,reason,metric,value
"lambda_unif=0.02,lambda_cmpt=1",0,ok,,acc,0.5
"lambda_unif=0.02,lambda_cmpt=1",1,ok,,acc,0.7
"lambda_unif=0.1,lambda_cmpt=1",0,failed,loss is nan,acc,
"lambda_unif=0.1,lambda_cmpt=1",1,failed,loss is nan,acc,
"lambda_unif=0.3,lambda_cmpt=1",0,ok,,acc,0.9
"lambda_unif=0.3,lambda_cmpt=1",1,ok,,acc,0.9
"""


@pytest.fixture
def reported() -> pd.DataFrame:
    """Return a sweep of three points, two of which are ours, and a number of the method as it is."""
    notes = ["lambda_unif=0.02 lambda_cmpt=1", "lambda_cmpt=1 lambda_unif=0.1", "lambda_unif=0.5 lambda_cmpt=1"]
    points = [POINT | {"value": 90.0 + i, "note": note} for i, note in enumerate(notes)]
    whole = POINT | {"table": "1", "value": 95.0, "note": ""}
    table = pd.DataFrame([*points, whole])
    return table.assign(metric="acc", std=float("nan"), unit="percent")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a grid's reports with that sweep, and with one that is not evaluated yet."""
    write_json(tmp_path / "sweeps/index.json", [INDEX, INDEX | {"name": "waiting"}])
    write_text(tmp_path / "sweeps/weights/results.csv", RESULTS)
    return tmp_path


@pytest.fixture
def comparison(reported: pd.DataFrame) -> pd.DataFrame:
    """Return the comparison of a grid with one cell of another method."""
    one = {"dataset": "usps", "cell": "dec", "method": "dec", "seed": 0, "status": "ok", "reason": "", "metric": "acc"}
    return compare(summarise(pd.DataFrame([one | {"value": 0.5}])), reported)


@pytest.fixture
def placed(root: Path, comparison: pd.DataFrame) -> pd.DataFrame:
    return place(comparison, read_sweeps(root))


def test_each_printed_point_has_the_mean_of_ours(placed: pd.DataFrame) -> None:
    first, broken, absent, whole = placed.to_dict("records")
    assert first["reproduced"] == pytest.approx(60)
    assert first["std"] == pytest.approx(100 * 0.02**0.5)
    assert first["difference"] == pytest.approx(-30)
    assert (first["n"], first["failed"], first["status"]) == (2, 0, "ok")
    assert (broken["n"], broken["failed"], broken["status"], broken["reason"]) == (0, 2, "failed", "loss is nan")
    assert absent["status"] == whole["status"] == "not run"


@pytest.mark.parametrize("table", [RESULTS[:-1], RESULTS[:-30], RESULTS[: RESULTS.rindex('"lambda')]])
def test_a_table_that_is_cut_short_is_refused(root: Path, table: str) -> None:
    write_text(root / "sweeps/weights/results.csv", table)
    with pytest.raises(UserError, match=r"weights/results\.csv is cut short"):
        read_sweeps(root)


@pytest.mark.parametrize("other", [{"dataset": "digits"}, {"cell": "ulhe_dc_sum"}])
def test_a_sweep_of_another_cell_or_data_set_stands_beside_nothing(
    root: Path, comparison: pd.DataFrame, other: dict[str, str]
) -> None:
    sweeps = [(index | other, found) for index, found in read_sweeps(root)]
    pd.testing.assert_frame_equal(place(comparison, sweeps), comparison)


def test_points_with_ours_count(placed: pd.DataFrame, reported: pd.DataFrame) -> None:
    covered = coverage.coverage(reported, placed, coverage.Absent())
    assert covered["kind"].tolist() == [coverage.OURS, coverage.DID_NOT_FINISH, coverage.SWEEP, coverage.NOT_RUN]


def test_points_are_no_number_of_the_method_itself(root: Path, reported: pd.DataFrame, tmp_path: Path) -> None:
    one = {"dataset": "usps", "cell": "ulhe_dc", "method": "ulhe_dc", "seed": 0, "status": "ok", "reason": ""}
    results = pd.DataFrame([one | {"metric": metric, "value": 0.5} for metric in (*EXTERNAL, *INTERNAL)])
    summary, families = summarise(results), {"ulhe_dc": "centroids"}
    placed = place(compare(summary, reported), read_sweeps(root))
    assert placed["difference"].notna().tolist() == [True, False, False, True]

    table = dataset_table("usps", summary, placed)
    assert [[row[0].text, row[1].text] for row in table.rows] == [
        ["ulhe_dc", "50.0"],
        ["\u21b3 ULHE-DC, Table 1", "95.0 (\u221245.0)"],
    ]
    write([table], tmp_path / "usps")
    data = pd.read_csv(tmp_path / "usps.csv")
    assert data.loc[data["source"] != "ours", ["source", "value"]].to_numpy().tolist() == [["ulhe_dc: Table 1", 95.0]]
    assert not data.duplicated(["cell", "metric", "source"]).any()
    assert "**50.0** (95.0) `ulhe_dc`" in best_block(results, placed, families, "reports")
    papers = paper_tables(placed)
    (ranks,) = overview.best(results, summary, ["usps"], papers, families)[1].split("<tbody>")[1:]
    assert ranks.count("<td>95.0</td>") == 1
    assert "1 accuracies that papers print" in overview.reported(summary, papers, families, None)[0]


def test_a_papers_sweep_says_which_of_ours_stands_beside_it(root: Path, placed: pd.DataFrame) -> None:
    sweeps = [(index | {"base": {"epochs": 6}}, found) for index, found in read_sweeps(root)]
    later = [(index | {"name": "later", "base": {}}, found) for index, found in sweeps]
    other = [(index | {"name": "other", "dataset": "digits"}, found) for index, found in sweeps]
    tables = paper_tables(placed, sweeps=[*other, *sweeps, *later])
    assert tables["ulhe_dc_table_3"][0].caption.endswith(
        " Ours at the points of the paper's sweep are from sweeps of this grid: weights (2 seeds a point, epochs = 6)."
    )
    assert "sweep" not in tables["ulhe_dc_table_1"][0].caption
    (one,) = later
    assert sweeps_beside(placed, [(one[0], one[1][one[1]["seed"] == 1])]) == ["later (1 seed a point)"]
    both = pd.concat([placed.assign(grid="first"), placed.assign(grid="second")])
    said = swept_sentence(both, {"first": sweeps}, {"first": {"weights"}})
    assert said.startswith("1 of the numbers with ours are points of the papers' sweeps.")
    assert said.endswith(": `first`: weights (2 seeds a point, epochs = 6).")
    said = swept_sentence(placed.assign(grid="first"), {"first": sweeps}, {"first": set()})
    assert said.endswith(": `first`: weights (2 seeds a point, epochs = 6) †.")
    assert swept_sentence(placed.assign(grid="first", setting=""), {"first": sweeps}, {"first": set()}) == ""


def test_a_point_links_to_no_run_record_of_its_cell(placed: pd.DataFrame) -> None:
    (table,) = paper_tables(placed)["ulhe_dc_table_3"]
    assert [row[2].text for row in table.rows] == ["60.0 ± 14.1", "failed", "not run"]
    assert {entry.link for row in table.rows for entry in row} == {""}
