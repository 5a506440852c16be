"""From files to long tables: nothing averaged in that did not finish, nothing absent, like against like."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepclust.errors import UserError
from deepclust.files import write_json
from deepclust.metrics import EXTERNAL, INTERNAL
from deepclust.reporting.aggregate import (
    SHOWN,
    cell_means,
    compare,
    is_unlabelled,
    read_reported,
    read_results,
    read_run,
    run_record,
    summarise,
    write_csv,
)

DATASETS = ["usps", "toy"]
CELLS = ["dec", "idec", "hybrid", "vade"]
NAN = "loss_kl is nan at epoch 3 | lower a_b by 50%"
SIZE = "no network fits 2 features"
HEADER = "paper,table,dataset,method,method_id,metric,value,std,unit,note"


def row(table: pd.DataFrame, **where: object) -> pd.Series:
    chosen = table[np.logical_and.reduce([table[name] == value for name, value in where.items()])]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_text_that_a_spreadsheet_would_run_begins_with_an_apostrophe(tmp_path: Path) -> None:
    run = ["=cmd|'/c calc'!A1", "+1-1.png", "-a.png", "@SUM(A1)", "\t=1", "\uff1d1", "-1+1"]
    kept = ["-0.1", "+1e-05", "a=1.png", "", "views/-1.png", "1"]
    table = pd.DataFrame(
        {"sample": run + kept, "value": -np.arange(len(run + kept)), "mixed": [-1.5, "-x", None] + [1] * 10}
    )
    write_csv(tmp_path / "t.csv", table)
    found = pd.read_csv(tmp_path / "t.csv", dtype={"sample": str, "mixed": str}, keep_default_na=False)
    assert found["sample"].tolist() == [*(f"'{text}" for text in run), *kept]
    assert found["value"].tolist() == table["value"].tolist()
    assert found["mixed"].tolist() == ["-1.5", "'-x", ""] + ["1"] * 10
    assert table["sample"].tolist() == run + kept


def test_a_cell_is_compared_by_means_over_the_finished_seeds(scores: Callable) -> None:
    means = {name: value for name, value in scores(0.6).items() if name in SHOWN}
    assert set(means) == set(SHOWN)
    assert cell_means({"0": scores(0.5), "1": scores(0.7)}, failed=2) == pytest.approx({**means, "n": 2, "failed": 2})


def test_a_cell_without_a_finished_seed_has_no_means() -> None:
    assert cell_means({}, failed=3) == {"n": 0, "failed": 3}


def test_results_hold_one_row_per_asked_cell_seed_and_metric_in_order(results: pd.DataFrame) -> None:
    assert len(results) == len(DATASETS) * (3 + 3 + 3 + 1) * len((*EXTERNAL, *INTERNAL))
    assert not results.duplicated(["dataset", "cell", "seed", "metric"]).any()
    assert list(results["dataset"].unique()) == DATASETS
    assert list(results["cell"].unique()) == CELLS
    assert list(results.loc[results["cell"] == "dec", "seed"].unique()) == [0, 1, 10]
    assert results["value"].notna().equals(results["status"] == "ok")
    assert row(results, dataset="toy", cell="idec", seed=1, metric="nmi")["value"] == pytest.approx(0.91)
    assert row(results, dataset="toy", cell="vade", seed=0, metric="acc")["reason"] == SIZE


def test_only_the_asked_cells_are_read(grid: Path) -> None:
    (grid / "scores" / "usps" / "stale.json").write_text("not json")
    assert set(read_results(grid, ["usps"], ["dec"])["cell"]) == {"dec"}


@pytest.mark.parametrize("folder", ["scores", "runs"])
def test_a_missing_cell_is_named(grid: Path, folder: str) -> None:
    (grid / folder / "toy" / "hybrid.json").unlink()
    with pytest.raises(UserError, match=f"{folder}/toy/hybrid.json is missing"):
        read_results(grid, DATASETS, CELLS)


def test_scores_and_run_records_must_agree_on_what_finished(grid: Path, tmp_path: Path, write_cell: Callable) -> None:
    write_cell(tmp_path / "other", "toy", "dec", {"0": 0.5, "1": ("failed", NAN)})
    (tmp_path / "other" / "runs" / "toy" / "dec.json").replace(grid / "runs" / "toy" / "dec.json")
    with pytest.raises(UserError, match="disagree: seed 1 of dec has status 'failed'"):
        read_results(grid, ["toy"], ["dec"])


def test_a_cell_without_seeds_is_refused(grid: Path, write_cell: Callable) -> None:
    write_cell(grid, "toy", "dec", {})
    with pytest.raises(UserError, match="toy/dec has no run record"):
        read_results(grid, ["toy"], ["dec"])


def test_readouts_are_rows_of_their_own_after_their_cell(grid: Path, write_cell: Callable) -> None:
    write_cell(grid, "toy", "hybrid", {"0": 0.5}, readouts=("spectral", "kmeans"))
    cells = read_results(grid, ["toy"], ["dec", "hybrid", "vade"])["cell"].unique()
    assert sorted(cells[2:4]) == ["hybrid/kmeans", "hybrid/spectral"]
    assert [cells[0], cells[1], cells[4]] == ["dec", "hybrid", "vade"]


def test_unlabelled_data_has_values_of_internal_metrics_alone(grid: Path, write_cell: Callable) -> None:
    write_cell(grid, "own", "dec", {"0": 0.5})
    path = grid / "scores" / "own" / "dec.json"
    path.write_text('{"dec": {"0": {"modularity": 0.4}}}')
    summary = summarise(read_results(grid, ["own", "toy"], ["dec"]))
    own = summary[summary["dataset"] == "own"].set_index("metric")
    assert own["mean"].dropna().to_dict() == {"modularity": 0.4}
    assert set(own["n"]) == {1}
    assert set(own["status"]) == {"ok"}
    assert [is_unlabelled(summary, dataset) for dataset in ("own", "toy")] == [True, False]


def test_data_on_which_nothing_finished_is_not_taken_for_unlabelled(grid: Path, write_cell: Callable) -> None:
    write_cell(grid, "own", "dec", {"0": ("failed", NAN)})
    assert not is_unlabelled(summarise(read_results(grid, ["own"], ["dec"])), "own")


def test_a_run_record_says_once_what_its_seeds_share_and_gives_each_back_whole(tmp_path: Path) -> None:
    def record(seed: int, **more: Any) -> dict[str, Any]:
        about = {"dataset": "toy", "cell": "dec", "method": "dec", "seed": seed, "code": "c" * 64, "network": None}
        inputs = {"X": "a", "network": str(seed)}
        return about | {"settings": {"epochs": 3}, "inputs": inputs, "compute": {}, "status": "ok"} | more

    records = {
        0: record(0, n_iter=1, converged=True, versions={"numpy": "2"}),
        3: record(3, n_iter=True, converged=True, versions={}, inputs={"X": "a"}),
        10: record(10, status="failed", compute={"threads": 1}),
    }
    run = run_record("toy", "dec", ["tsne", "curves"], records)
    write_json(tmp_path / "dec.json", run)
    shared = {"code": "c" * 64, "network": None, "settings": {"epochs": 3}, "inputs": {"X": "a"}}
    assert run["shared"] == shared
    own = {"seed": 10, "status": "failed", "inputs": {"network": "10"}, "compute": {"threads": 1}}
    assert run["seeds"]["10"] == own
    assert (run["dataset"], run["cell"], run["method"]) == ("toy", "dec", "dec")
    read = read_run(tmp_path / "dec.json")
    assert read["figures"] == ["curves", "tsne"]
    assert {int(seed): whole for seed, whole in read["seeds"].items()} == records
    assert read["seeds"]["3"]["n_iter"] is True


def test_a_metric_that_is_not_defined_for_a_seed_enters_no_mean() -> None:
    content = cell_means({"0": {"modularity": 0.0}, "1": {"modularity": 0.5, "silhouette": 0.3}}, failed=0)
    assert (content["modularity"], content["silhouette"], content["n"]) == (0.25, 0.3, 2)


def test_summary_is_that_of_the_finished_seeds(summary: pd.DataFrame) -> None:
    dec = row(summary, dataset="usps", cell="dec", metric="acc")
    wanted = {"mean": 0.75, "std": 0.05, "median": 0.75, "min": 0.7, "max": 0.8, "n": 3, "failed": 0}
    assert dec[list(wanted)].to_dict() == pytest.approx(wanted)
    assert (dec["status"], dec["reason"], dec["method"]) == ("ok", "", "DEC")
    idec = row(summary, dataset="usps", cell="idec", metric="acc")
    assert idec["mean"] == pytest.approx(0.91)
    assert (idec["n"], idec["failed"], idec["status"], idec["reason"]) == (2, 1, "ok", NAN)


@pytest.mark.parametrize(("cell", "failed", "reason"), [("hybrid", 3, NAN), ("vade", 0, SIZE)])
def test_what_did_not_finish_is_a_row_without_numbers(
    summary: pd.DataFrame, cell: str, failed: int, reason: str
) -> None:
    found = row(summary, dataset="toy", cell=cell, metric="ari")
    assert found[["mean", "std", "median", "min", "max"]].isna().all()
    assert (found["n"], found["failed"], found["reason"]) == (0, failed, reason)
    assert found["status"] == ("failed" if failed else "skipped")


def test_std_of_one_seed_is_unknown(grid: Path, write_cell: Callable) -> None:
    write_cell(grid, "toy", "dec", {"0": 0.5})
    summary = summarise(read_results(grid, ["toy"], ["dec"]))
    assert summary["std"].isna().all()
    assert summary["mean"].notna().all()


def test_published_numbers_are_read_whole(reported: pd.DataFrame) -> None:
    assert len(reported) == 745
    assert reported["value"].notna().all()
    assert reported["note"].notna().all()
    assert set(reported["table"]) >= {"1", "text 4.3"}


def test_a_paper_whose_protocol_is_not_stated_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reported.csv"
    path.write_text(f"{HEADER}\nnew_paper,1,usps,DEC,dec,acc,70.0,,percent,\n")
    with pytest.raises(UserError, match="not stated: new_paper; add them to"):
        read_reported(path)


def test_missing_columns_of_published_numbers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "reported.csv"
    path.write_text(HEADER.replace(",unit", "") + "\n")
    with pytest.raises(UserError, match="missing: unit"):
        read_reported(path)


def test_difference_is_ours_minus_reported_in_points(summary: pd.DataFrame, published: Callable) -> None:
    found = compare(summary, published(("hybrid", "1", "usps", "dec", "acc", 76.9, ""))).iloc[0]
    assert found[["reported", "reproduced", "std", "difference"]].tolist() == pytest.approx([76.9, 75.0, 5.0, -1.9])


@pytest.mark.parametrize(("paper", "nmi"), [("ulhe_dc", 73.0), ("decs", 74.0), ("pc_x", 74.0), ("hybrid", 74.0)])
def test_nmi_is_set_against_the_papers_own_normaliser(
    summary: pd.DataFrame, published: Callable, paper: str, nmi: float
) -> None:
    found = compare(summary, published((paper, "1", "usps", "dec", "nmi", 70.0, ""))).iloc[0]
    assert found["metric"] == "nmi"
    assert found["reproduced"] == pytest.approx(nmi)


def test_comparison_keeps_what_was_not_run_and_drops_other_data_and_metrics(
    summary: pd.DataFrame, published: Callable
) -> None:
    found = compare(
        summary,
        published(
            ("decs", "1", "usps", "depict", "acc", 96.4, ""),
            ("decs", "1", "mnist", "dec", "acc", 84.0, ""),
            ("decs", "1", "usps", "dec", "time", 84.0, ""),
            ("decs", "1", "usps", "hybrid", "acc", 90.0, ""),
        ),
    )
    assert found["cell"].tolist() == ["depict", "hybrid"]
    assert found["status"].tolist() == ["not run", "failed"]
    assert found[["reproduced", "difference"]].isna().all(axis=None)


def test_a_sweep_is_not_compared_with_the_cell_that_ran_once(summary: pd.DataFrame, published: Callable) -> None:
    sweep = [("ulhe_dc", "3", "usps", "dec", "acc", 70.0 + i, f"lambda={i}") for i in range(3)]
    found = compare(summary, published(*sweep, ("ulhe_dc", "1", "usps", "dec", "acc", 71.0, "5 runs")))
    assert found["setting"].tolist() == ["lambda=0", "lambda=1", "lambda=2", ""]
    assert found["status"].tolist() == ["not run", "not run", "not run", "ok"]
    assert found["note"].tolist() == ["", "", "", "5 runs"]


def test_a_published_number_stands_beside_the_cells_own_row_alone(
    grid: Path, write_cell: Callable, published: Callable
) -> None:
    write_cell(grid, "usps", "hybrid", {"0": 0.5}, readouts=("spectral",))
    summary = summarise(read_results(grid, ["usps"], ["hybrid"]))
    assert list(summary["cell"].unique()) == ["hybrid", "hybrid/spectral"]
    found = compare(summary, published(("hybrid", "1", "usps", "hybrid", "acc", 97.1, "")))
    assert found["cell"].tolist() == ["hybrid"]


def test_every_published_number_on_the_data_that_ran_is_compared_once(
    comparison: pd.DataFrame, reported: pd.DataFrame
) -> None:
    assert len(comparison) == len(reported[reported["dataset"] == "usps"])
    assert comparison["reported"].tolist() == reported.loc[reported["dataset"] == "usps", "value"].tolist()
