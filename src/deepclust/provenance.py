"""Verdicts on a grid's committed results: are they of the present code, settings and data, and if not, why?

dvc.lock holds the plan, the inputs and the outputs of every stage's last run. A cell is current if every stage behind
its numbers ran by the plan that would be made now, on the outputs of the stages before it, if the files in `reports/`
are those that were written, and if the tables of all cells, from which pages are made, have its scores. The verdict
needs neither data nor cache; files of own data are read where they are.
"""

import csv
import hashlib
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepclust import config, layout, planning
from deepclust.datasets import _own
from deepclust.files import read_json, read_yaml, to_json
from deepclust.integrity import md5, recorded
from deepclust.metrics import EXTERNAL, INTERNAL
from deepclust.reporting.aggregate import read_run

Stages = Mapping[str, Any]
_NOT_LOCKED = "not run yet"


@dataclass(frozen=True)
class Verdict:
    """The verdict on one cell or sweep; a current one has no reason."""

    dataset: str
    cell: str
    reason: str


def judge() -> Iterator[Verdict]:
    """Yield a verdict on each cell of the grid in whose folder this runs."""
    params, locked, made, told, averaged = config.load(), _locked(), recorded(), _told(), _averaged()
    for dataset in params.datasets:
        resolved = config.resolve(params, dataset)
        planned = _planned(params, dataset)
        for name, cell in resolved.cells.items():
            stages = [*_before(dataset, cell), *(f"{stage}@{dataset}-{name}" for stage in ("cluster", "evaluate"))]
            reasons = (reason for stage in stages if (reason := _why_stale(stage, locked, made, planned)))
            reason = next(reasons, "") or _why_untold(dataset, name, told, averaged)
            if reason == _NOT_LOCKED and (layout.REPORTS / "runs" / dataset / f"{name}.json").exists():
                reason = "results of an older pipeline, of which dvc.lock knows nothing"
            yield Verdict(dataset, name, reason)


def judge_sweeps() -> Iterator[Verdict]:
    """Yield a verdict on each sweep of that grid, by its name; the tables of its points are not read."""
    params = config.load()
    if not params.sweeps:
        return
    locked, made = _locked(), recorded()
    for name, sweep in params.sweeps.items():
        cell = config.resolve(params, sweep.dataset).cells[sweep.cell]
        planned = _planned(params, sweep.dataset)
        own = (f"{stage}@{sweep.dataset}-{name}" for stage in ("sweep", "evaluate_sweep"))
        reasons = (_why_stale(stage, locked, made, planned) for stage in (*_before(sweep.dataset, cell), *own))
        yield Verdict(sweep.dataset, name, next(filter(None, reasons), ""))


def _planned(params: config.Config, dataset: str) -> dict[str, planning.Unit]:
    """Return by path the plans that would be made now; own data that is elsewhere counts as it was."""
    own = params.own.get(dataset)
    files = _own.digests(own.path) if own and Path(own.path).exists() else None
    return {unit.path.as_posix(): unit for unit in planning.units(params, dataset, files)}


def _locked() -> Stages:
    """Return the stages that ran, by name, with what they read and wrote."""
    return (read_yaml("dvc.lock") or {}).get("stages", {}) if Path("dvc.lock").exists() else {}


def _before(dataset: str, cell: config.Cell) -> list[str]:
    """Return the stages that a cell's fits build on."""
    names = [f"{stage}@{dataset}" for stage in ("fetch", "prepare", "graph")]
    return names + ([f"pretrain@{dataset}-{cell.network}"] if cell.network else [])


def _why_stale(stage: str, locked: Stages, made: Mapping[str, str], planned: Mapping[str, planning.Unit]) -> str:
    """Return why the last run of a stage does not count, or nothing; `made` are the MD5s of all outputs by path."""
    if stage not in locked:
        return _NOT_LOCKED
    for dep in locked[stage]["deps"]:
        path = dep["path"]
        if path in planned:
            text = to_json(planned[path].content)
            if hashlib.md5(text.encode()).hexdigest() != dep["md5"]:
                return f"{stage.partition('@')[0]}: {_difference(stage, planned[path])}"
        elif path in made and made[path] != dep["md5"]:
            return f"{stage.partition('@')[0]}: ran on another {path}"
    for out in locked[stage].get("outs", []):
        path = Path(out["path"])
        if path.suffix in (".json", ".csv") and path.parts[0] == layout.REPORTS.name:
            if not path.exists():
                return f"{path} is missing"
            if md5(path) != out["md5"]:
                return f"{path} is not what its stage wrote"
    return ""


def _told() -> dict[tuple[str, str], set[tuple[str, str, str, str]]]:
    """Return by data set and cell what the report's table has of it: read-out, seed, metric and value."""
    found = defaultdict(set)
    if (path := layout.REPORTS / "results.csv").exists():
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["value"]:
                    place = row["dataset"], row["cell"].partition("/")[0]
                    found[place].add((row["cell"], row["seed"], row["metric"], row["value"]))
    return found


def _averaged() -> dict[tuple[str, str], dict[tuple[str, str], list[float]]]:
    """Return by data set and cell what the report's means say of it: by read-out and metric, mean and std."""
    found = defaultdict[tuple[str, str], dict[tuple[str, str], list[float]]](dict)
    if (path := layout.REPORTS / "summary.csv").exists():
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["mean"]:
                    place = row["dataset"], row["cell"].partition("/")[0]
                    found[place][row["cell"], row["metric"]] = [float(row[name] or "nan") for name in ("mean", "std")]
    return found


def _why_untold(
    dataset: str,
    cell: str,
    told: Mapping[tuple[str, str], set[tuple[str, str, str, str]]],
    averaged: Mapping[tuple[str, str], dict[tuple[str, str], list[float]]],
) -> str:
    """Return what the report's tables lack of a cell's scores, or nothing; values have six digits, means ten."""
    rows = read_json(layout.REPORTS / "scores" / dataset / f"{cell}.json")
    values = {
        (row, seed, metric, f"{value:.6g}")
        for row, seeds in rows.items()
        for seed, metrics in seeds.items()
        for metric, value in metrics.items()
        if metric in (*EXTERNAL, *INTERNAL)
    }
    by_metric = defaultdict(list)
    for row, seeds in rows.items():
        for metrics in seeds.values():
            for metric in metrics.keys() & {*EXTERNAL, *INTERNAL}:
                by_metric[row, metric].append(metrics[metric])
    said = averaged[dataset, cell]
    whole = values == told[dataset, cell] and said.keys() == by_metric.keys()
    if whole and all(_are_close(said[key], _mean_and_std(found)) for key, found in by_metric.items()):
        return ""
    return "the report does not have its scores: deepclust report renews it"


def _mean_and_std(values: Sequence[float]) -> list[float]:
    return [statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan]


def _are_close(some: Sequence[float], others: Sequence[float]) -> bool:
    """Return whether numbers agree but for the digits of a file; NaN agrees with NaN."""
    pairs = zip(some, others, strict=True)
    return all(math.isclose(a, b, rel_tol=1e-8, abs_tol=1e-12) or (a != a and b != b) for a, b in pairs)


def _difference(stage: str, unit: planning.Unit) -> str:
    """Return the names in which a plan differs from that of the committed run, as far as the run's record tells."""
    kind, _, names = stage.partition("@")
    dataset, _, cell = names.partition("-")
    record = layout.REPORTS / "runs" / dataset / f"{cell}.json"
    known = layout.REPORTS / "code.json"
    if kind == "fetch" and "own" in unit.content:
        return "other files, code or settings"
    if kind != "cluster" or not record.exists() or not known.exists():
        return "other code or settings"
    seeds = read_run(record)["seeds"]
    first = next(iter(seeds.values()))
    if other := [
        key for key, value in unit.content.items() if key not in ("seeds", "code") and first.get(key) != value
    ]:
        return f"other {', '.join(other)}"
    if first.get("code") != unit.content["code"]:
        before = read_json(known).get(first.get("code"))
        if before is None:
            return "other code"
        files = sorted(name for name in before.keys() | unit.files if before.get(name) != unit.files.get(name))
        return f"other code in {', '.join(files)}"
    return "other seeds"
