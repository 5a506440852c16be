"""Long tables made of the files of a grid's cells: per seed, summarised over seeds, and beside published numbers."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from deepclust import files
from deepclust.errors import UserError
from deepclust.metrics import EXTERNAL, INTERNAL, external, match, stability
from deepclust.reporting.papers import PAPERS

NOT_RUN = "not run"
SHOWN = ("acc", "nmi", "ari", "silhouette", "modularity", "stability")  # the columns of `dvc metrics`
_ABOUT = ("dataset", "cell", "method")  # keys of a run record that are alike in all seeds
_FORMULA = r"[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"  # the first character of a formula, full-width ones included
_KEY = ["dataset", "cell", "metric"]
_SUMMARY = ["dataset", "cell", "method", "metric", "mean", "std", "median", "min", "max", "n", "failed"]
_REPORTED = ["paper", "table", "dataset", "method", "method_id", "metric", "value", "std", "unit", "note"]


def scores(
    y: np.ndarray | None, by_shape: Callable[[np.ndarray], dict[str, float]], labelings: Mapping[int, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Return every metric of every seed, the internal ones by `internal_of` the samples and their graph."""
    found = {
        str(number): ({} if y is None else external(y, labels)) | by_shape(labels)
        for number, labels in labelings.items()
    }
    for number, value in zip(labelings, stability(list(labelings.values())), strict=False):
        found[str(number)]["stability"] = value
    return found


def confusion(y: np.ndarray | None, labelings: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Count the samples of each class in each cluster, summed over the seeds; clusters bear their matched classes."""
    columns = ["actual", "predicted"]
    if y is None or not labelings:
        return pd.DataFrame(columns=[*columns, "samples"])
    pairs = [pd.DataFrame({"actual": y, "predicted": match(y, labels)}) for labels in labelings.values()]
    return pd.concat(pairs).groupby(columns).size().rename("samples").reset_index()


def cell_means(per_seed: Mapping[str, Mapping[str, float]], failed: int) -> dict[str, float]:
    """Return a cell's numbers that DVC compares: means of the `SHOWN` metrics, seeds finished (`n`) and `failed`.

    Parameters
    ----------
    per_seed
        The metrics of each finished seed. A metric that is not defined for a seed is absent there and enters no mean.
    failed
        The number of seeds that broke down; they enter no mean. A cell without a finished seed has no means.
    """
    values = {name: [scores[name] for scores in per_seed.values() if name in scores] for name in SHOWN}
    means = {name: fmean(found) for name, found in values.items() if found}
    return {**means, "n": len(per_seed), "failed": failed}


def run_record(
    dataset: str, cell: str, figures: Iterable[str], records: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the content of `runs/DS/CELL.json`: the names of a cell's figures, and the records of its seeds.

    Facts that all seeds share stand once, under `shared`; `seeds` has the rest of each record.
    """
    method = next((record["method"] for record in records.values()), None)
    about = dict(zip(_ABOUT, (dataset, cell, method), strict=True))
    told = [{key: value for key, value in record.items() if key not in about} for record in records.values()]
    shared, own = _parted(told)
    seeds = dict(zip(map(str, records), own, strict=True))
    return {**about, "figures": sorted(figures), "shared": shared, "seeds": seeds}


def read_run(path: Path | str) -> dict[str, Any]:
    """Return the `run_record` in a file, with every seed's record whole: nothing is under `shared`.

    Raises
    ------
    UserError
        If there is no such file.
    """
    run = _read_cell(Path(path))
    shared = {key: run[key] for key in _ABOUT} | run.pop("shared")
    return {**run, "seeds": {seed: _joined(shared, own) for seed, own in run["seeds"].items()}}


def write_csv(path: Path | str, table: pd.DataFrame, digits: int = 6) -> None:
    """Write a table; text that a spreadsheet would run as a formula has an apostrophe before it, as OWASP advises."""
    table = table.copy()
    for name in table.select_dtypes(["object", "string"]):
        words = table[name].astype(str)
        is_run = words.str.match(_FORMULA) & pd.to_numeric(words, errors="coerce").isna()  # a negative number is none
        table[name] = table[name].mask(is_run, "'" + words)
    files.write_text(path, table.to_csv(index=False, lineterminator="\n", float_format=f"%.{digits}g"))


def remark(record: Mapping[str, Any]) -> str:
    """Return why a seed did not finish, or of a finished one that it left clusters without samples, or nothing."""
    found, asked = record.get("n_clusters_found"), record.get("n_clusters")
    if found is None or found == asked:
        return str(record["reason"])
    return f"seed {record['seed']} has samples in {found} of {asked} clusters"


def read_results(root: Path | str, datasets: Sequence[str], cells: Sequence[str]) -> pd.DataFrame:
    """Return one row per dataset, cell, seed and metric: dataset, cell, method, seed, status, reason, metric, value.

    `value` is a fraction, or an internal metric on its own scale. `reason` is the `remark` on the seed. A failed or
    skipped seed keeps its row for every metric, with value NaN. A metric that is not defined, or needs labels where
    there are none, is NaN as well. The read-outs of a cell follow it as `CELL/READOUT`.

    Parameters
    ----------
    root
        The folder of a grid's reports, with `scores/DS/CELL.json` (row -> seed -> metric -> value) and
        `runs/DS/CELL.json`.
    datasets, cells
        The data sets and cells that were asked for, in the order of the tables; files of other cells are not read.

    Raises
    ------
    UserError
        If a cell's file is missing, names no seed, or its scores and its run records disagree on which seeds finished.
    """
    rows = []
    for dataset, cell in itertools.product(datasets, cells):
        path = Path(root, "scores", dataset, f"{cell}.json")
        by_row, run = _read_cell(path), read_run(Path(root, "runs", dataset, f"{cell}.json"))
        if not run["seeds"]:
            raise UserError(
                f"{dataset}/{cell} has no run record of any seed; list at least one seed and evaluate again"
            )
        for name, scores in by_row.items():
            for seed, record in sorted(run["seeds"].items(), key=lambda item: int(item[0])):
                if (record["status"] == "ok") != (seed in scores):
                    raise UserError(
                        f"{path} and the run record disagree: seed {seed} of {name} has status {record['status']!r} "
                        f"but scores of seeds {sorted(scores)}; evaluate the cell again"
                    )
                rows += [
                    {
                        "dataset": dataset,
                        "cell": name,
                        "method": run["method"],
                        "seed": int(seed),
                        "status": record["status"],
                        "reason": remark(record) if name == cell else record["reason"],
                        "metric": metric,
                        "value": scores.get(seed, {}).get(metric, np.nan),
                    }
                    for metric in (*EXTERNAL, *INTERNAL)
                ]
    columns = ["dataset", "cell", "method", "seed", "status", "reason", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Return mean, std, median, min and max over the finished seeds, one row per dataset, cell and metric.

    Fractions; std has ddof 1 and is NaN for one seed. `n` counts finished and `failed` broken seeds. `status` is `ok`
    as soon as one seed finished, else `failed` or `skipped`; `reason` joins the distinct remarks on the seeds.
    """
    ended = results.assign(ok=results["status"] == "ok", broken=results["status"] == "failed")
    found = ended.groupby(_KEY, sort=False, as_index=False).agg(
        method=("method", "first"),
        # by function: the groups' own round otherwise, and of equal seeds the mean is not theirs, nor the std 0
        mean=("value", lambda values: values.mean()),
        std=("value", lambda values: values.std(ddof=1)),
        median=("value", "median"),
        min=("value", "min"),
        max=("value", "max"),
        n=("ok", "sum"),
        failed=("broken", "sum"),
        reason=("reason", lambda reasons: "; ".join(filter(None, reasons.unique()))),
    )
    found["status"] = np.select([found["n"] > 0, found["failed"] > 0], ["ok", "failed"], "skipped")
    return found[[*_SUMMARY, "status", "reason"]]


def is_unlabelled(summary: pd.DataFrame, dataset: str) -> bool:
    """Return whether seeds of a data set finished and none of them has a metric that needs labels."""
    ours = summary[(summary["dataset"] == dataset) & (summary["status"] == "ok")]
    return bool(len(ours)) and bool(ours.loc[ours["metric"].isin(EXTERNAL), "mean"].isna().all())


def read_reported(path: Path | str) -> pd.DataFrame:
    """Return the published numbers, one row each, in their file's order and unit; empty notes are ''.

    Raises
    ------
    UserError
        If a column is missing, or a paper is not in `PAPERS`, which says what a paper's numbers mean.
    """
    reported = pd.read_csv(path, dtype={"table": str, "note": str, "std": float})
    if missing := sorted(set(_REPORTED) - set(reported.columns)):
        raise UserError(f"{path} must have the columns {', '.join(_REPORTED)}; missing: {', '.join(missing)}")
    if unknown := sorted(set(reported["paper"]) - set(PAPERS)):
        raise UserError(
            f"{path} names papers whose protocol is not stated: {', '.join(unknown)}; "
            f"add them to deepclust/reporting/papers.py, which knows {', '.join(PAPERS)}"
        )
    return reported.fillna({"note": ""})


def compare(summary: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Return the published clustering metrics on the datasets that were run, each beside our cell of that name.

    One row per published number, in the order of `reported`: dataset, cell (our name), metric, paper, table, method (as
    the paper prints it), setting, reported, reported_std, reproduced, std, difference (reproduced - reported), n,
    failed, status, reason, note. Numbers are in percent, differences in points. Our NMI uses the paper's normaliser. A
    method that is not among the cells has status `not run` and no numbers of ours. The same holds for numbers that
    share paper, table, dataset, method and metric: they are a sweep over `setting`, for which no cell stands.
    """
    wanted = reported["metric"].isin(["acc", "nmi", "ari", "purity"]) & reported["dataset"].isin(summary["dataset"])
    rows = reported[wanted].rename(columns={"value": "reported", "std": "reported_std", "method_id": "cell"})
    swept = rows.duplicated(["paper", "table", "dataset", "cell", "metric"], keep=False)
    rows["setting"] = rows["note"].where(swept, "")
    rows["note"] = rows["note"].mask(swept, "")
    rows["ours_cell"] = rows["cell"].mask(swept, "")
    rows["ours_metric"] = [PAPERS[p].metric(m) for p, m in zip(rows["paper"], rows["metric"], strict=True)]
    ours = summary[[*_KEY, "mean", "std", "n", "failed", "status", "reason"]]
    ours = ours.rename(columns={"cell": "ours_cell", "metric": "ours_metric", "mean": "reproduced"})
    joined = rows.merge(ours, how="left", on=["dataset", "ours_cell", "ours_metric"])
    joined[["reproduced", "std"]] *= 100
    joined["difference"] = joined["reproduced"] - joined["reported"]
    joined = joined.fillna({"n": 0, "failed": 0, "status": NOT_RUN, "reason": ""}).astype({"n": int, "failed": int})
    ours_columns = ["reproduced", "std", "difference", "n", "failed", "status", "reason"]
    return joined[[*_KEY, "paper", "table", "method", "setting", "reported", "reported_std", *ours_columns, "note"]]


def _read_cell(path: Path) -> Any:
    try:
        return files.read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: evaluate this cell, or take it out of the grid") from None


def _parted(records: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the entries that all records share, within nested mappings too, and the other entries of each record."""
    shared: dict[str, Any] = {}
    own: list[dict[str, Any]] = [{} for _ in records]
    for key in dict.fromkeys(itertools.chain(*records)):
        values = [record[key] for record in records if key in record]
        in_all = len(values) == len(records)
        if in_all and len({json.dumps(value, sort_keys=True) for value in values}) == 1:
            shared[key] = values[0]
            continue
        rests = [{key: record[key]} if key in record else {} for record in records]
        if in_all and all(isinstance(value, Mapping) for value in values):
            common, parts = _parted(values)
            if common:
                shared[key] = common
                rests = [{key: part} if part else {} for part in parts]
        for record, rest in zip(own, rests, strict=True):
            record |= rest
    return shared, own


def _joined(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record that `_parted` split into shared and own entries."""
    both = {key: _joined(shared[key], own[key]) for key in shared.keys() & own.keys()}
    return {**shared, **own, **both}
