"""A small grid as the evaluation leaves it: finished, partly failed, failed and skipped cells, and one read-out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deepclust import files
from deepclust.layout import REPORTED
from deepclust.metrics import EXTERNAL, INTERNAL
from deepclust.reporting.aggregate import compare, read_reported, read_results, run_record, summarise

DATASETS = ["usps", "toy"]
CELLS = ["dec", "idec", "hybrid", "vade"]
NAN = "loss_kl is nan at epoch 3 | lower a_b by 50%"
SIZE = "no network fits 2 features"


def _scores(acc: float) -> dict[str, float]:
    """Return metrics that differ from each other and are exact in decimals."""
    return {name: acc - 0.01 * i for i, name in enumerate((*EXTERNAL, *INTERNAL))}


def _write_cell(
    root: Path,
    dataset: str,
    cell: str,
    records: dict[str, Any],
    readouts: tuple[str, ...] = (),
    found: Mapping[str, int] = {},
) -> None:
    """Write one cell; a record is an accuracy, or (status, reason). `found` says how many of 4 clusters a seed has."""
    finished = {seed: _scores(value) for seed, value in records.items() if isinstance(value, float)}
    ends = {seed: ("ok", "") if isinstance(value, float) else value for seed, value in records.items()}
    runs: dict[int, dict[str, Any]] = {
        int(seed): {"method": cell.upper(), "status": status, "reason": reason, "seed": int(seed), "settings": {}}
        for seed, (status, reason) in ends.items()
    }
    for seed, n_clusters in found.items():
        runs[int(seed)] |= {"n_clusters": 4, "n_clusters_found": n_clusters}
    rows = [cell, *(f"{cell}/{name}" for name in readouts)]
    files.write_json(root / "scores" / dataset / f"{cell}.json", dict.fromkeys(rows, finished))
    files.write_json(root / "runs" / dataset / f"{cell}.json", run_record(dataset, cell, [], runs))


@pytest.fixture
def scores() -> Callable[[float], dict[str, float]]:
    return _scores


@pytest.fixture
def write_cell() -> Callable[..., None]:
    return _write_cell


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    for dataset in DATASETS:
        _write_cell(tmp_path, dataset, "dec", {"0": 0.70, "1": 0.80, "10": 0.75})
        _write_cell(tmp_path, dataset, "idec", {"0": 0.90, "1": 0.92, "2": ("failed", NAN)})
        _write_cell(tmp_path, dataset, "hybrid", {str(seed): ("failed", NAN) for seed in range(3)})
        _write_cell(tmp_path, dataset, "vade", {"0": ("skipped", SIZE)})
    return tmp_path


@pytest.fixture
def results(grid: Path) -> pd.DataFrame:
    return read_results(grid, DATASETS, CELLS)


@pytest.fixture
def summary(results: pd.DataFrame) -> pd.DataFrame:
    return summarise(results)


@pytest.fixture(scope="session")
def reported() -> pd.DataFrame:
    return read_reported(REPORTED)


@pytest.fixture
def comparison(summary: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    return compare(summary, reported)


@pytest.fixture
def published() -> Callable[..., pd.DataFrame]:
    """Make a table of published numbers from (paper, table, dataset, method_id, metric, value, note) rows."""

    def make(*rows: tuple[str, str, str, str, str, float, str]) -> pd.DataFrame:
        columns = ["paper", "table", "dataset", "method_id", "metric", "value", "note"]
        table = pd.DataFrame(list(rows), columns=columns)
        return table.assign(method=table["method_id"].str.upper(), std=float("nan"), unit="percent")

    return make
