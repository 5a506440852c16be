"""The shares of the largest singular values stand beside those that PC-X prints, by class and not by cluster."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepclust import layout
from deepclust.files import write_json
from deepclust.reporting import shares
from deepclust.reporting.aggregate import read_reported
from deepclust.reporting.coverage import OURS, Absent, coverage
from deepclust.reporting.tables import paper_tables

Y = np.repeat([0, 1, 2], 4)
TABLE = pd.DataFrame({"cluster": [0, 1, 2], "before": [50.0, 40.0, np.nan], "after": [30.0, 20.0, 10.0]})


def test_a_cluster_bears_its_class_and_one_without_codes_is_in_no_mean() -> None:
    found = shares.by_class(Y, (Y + 1) % 3, TABLE)
    before = {"share_before_2": 50.0, "share_before_0": 40.0, "share_before_mean": 45.0}
    after = {"share_after_2": 30.0, "share_after_0": 20.0, "share_after_1": 10.0, "share_after_mean": 20.0}
    assert found == before | after


def test_without_classes_the_means_alone_are_left() -> None:
    assert shares.by_class(None, Y, TABLE) == {"share_before_mean": 45.0, "share_after_mean": 20.0}


@pytest.fixture
def compared(tmp_path: Path) -> pd.DataFrame:
    """Return the numbers of PC-X on MNIST beside two seeds, the second of which has no share of digit 7."""
    first = {f"share_{when}_{digit}": 30.0 for when in ("before", "after") for digit in [*range(10), "mean"]}
    second = {key: 40.0 for key in first if not key.endswith("_7")}
    write_json(tmp_path / "scores/mnist/pc_x.json", {"pc_x": {"0": first, "1": second}})
    return shares.compare(tmp_path, {"mnist": ["pc_x"], "usps": ["pc_x"]}, read_reported(layout.REPORTED))


def test_scores_of_a_cell_that_the_grid_no_longer_has_are_left_out(tmp_path: Path, compared: pd.DataFrame) -> None:
    assert len(compared)
    assert shares.compare(tmp_path, {"mnist": ["kmeans"]}, read_reported(layout.REPORTED)).empty


def test_every_published_share_has_the_mean_of_our_seeds(compared: pd.DataFrame) -> None:
    assert len(compared) == 22
    rows = {(row["method"], row["setting"]): row for row in compared.to_dict("records")}
    seventh = rows["PC-X before fusion", "digit 7"]
    assert (seventh["reproduced"], seventh["n"]) == (30.0, 1)
    assert np.isnan(seventh["std"])
    mean = rows["PC-X after fusion", "digit mean"]
    assert (mean["reported"], mean["reproduced"], mean["n"]) == (32.74, 35.0, 2)
    assert mean["difference"] == pytest.approx(35.0 - 32.74)


def test_they_are_a_table_and_count_as_numbers_with_ours(compared: pd.DataFrame) -> None:
    (table,) = paper_tables(compared)["pc_x_table_7"]
    assert [row[0].text for row in table.rows][:2] == ["PC-X before fusion (digit 0)", "PC-X after fusion (digit 0)"]
    assert [entry.text for entry in table.rows[0][1:]] == ["54.8", "35.0 ± 7.1", "\N{MINUS SIGN}19.8", "2", "0"]
    covered = coverage(read_reported(layout.REPORTED), compared, Absent())
    assert list(covered.loc[covered["metric"] == shares.METRIC, "kind"].unique()) == [OURS]


def test_a_grid_without_them_has_no_such_table(tmp_path: Path) -> None:
    write_json(tmp_path / "scores/mnist/pc_x.json", {"pc_x": {"0": {"acc": 0.5}}})
    for cells in ({"mnist": ["pc_x"]}, {"usps": ["pc_x"]}, {}):
        found = shares.compare(tmp_path, cells, read_reported(layout.REPORTED))
        assert found.empty
        assert [str(found[column].dtype) for column in ("n", "failed")] == ["int64", "int64"]
