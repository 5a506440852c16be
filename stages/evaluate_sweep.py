"""Hold the labels of every point of a sweep against the true ones: one table of scores, one of traces, and figures."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from deepclust import layout
from deepclust.files import read_array, read_json, write_text
from deepclust.metrics import EXTERNAL, external
from deepclust.reporting import figures
from deepclust.runs import RECORD
from deepclust.script import run_as_script

import numpy as np
import pandas as pd


def main(dataset: str, sweep: str) -> None:
    plan = read_json(layout.plan(dataset, "evaluate_sweep", sweep))
    runs = layout.sweep(dataset, sweep)
    target = layout.REPORTS / "sweeps" / sweep
    y = read_array(layout.prepared(dataset) / "y.npy")
    rows: list[dict[str, Any]] = []
    traces: dict[str, list[pd.DataFrame]] = defaultdict(list)
    for point in plan["points"]:
        settings = dict(part.split("=") for part in point.split(","))
        for seed in plan["seeds"]:
            folder = runs / point / f"seed-{seed}"
            record = read_json(folder / RECORD)
            run = settings | {"point": point, "seed": seed}
            end = {"status": record["status"], "reason": record["reason"]}
            scores = external(y, read_array(folder / "labels.npy")) if record["status"] == "ok" else {}
            rows += [run | end | {"metric": metric, "value": scores.get(metric, np.nan)} for metric in EXTERNAL]
            if (folder / "trace.csv").exists():
                trace = pd.read_csv(folder / "trace.csv")
                trace = trace.rename(columns={name: f"trace_{name}" for name in settings if name in trace})
                traces[point].append(pd.concat([pd.DataFrame(run, index=trace.index), trace], axis=1))

    results = pd.DataFrame(rows)
    write(target / "results.csv", results)
    title = f"{plan['cell']} on {dataset}"
    for metric in ("acc", "nmi"):
        figures.save(figures.sweep(results, metric, title), target / metric)
    if traces:
        by_point = {point: pd.concat(of_seeds) for point, of_seeds in traces.items()}
        write(target / "traces.csv", pd.concat(by_point.values()))
        draw(target, title, by_point)


def write(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


def draw(target: Path, title: str, traces: dict[str, pd.DataFrame]) -> None:
    """Draw a line for every point and seed, where the traces have the columns and a figure can hold the points."""
    columns = set.intersection(*(set(trace) for trace in traces.values()))
    if columns >= figures.GAPS:
        figures.save(figures.gaps(pd.concat(traces.values()), title), target / "gaps")
    elif len(traces) <= figures.SERIES and columns >= figures.HALF_STEPS:
        figures.save(figures.half_steps(traces, title), target / "half_steps")
    if len(traces) <= figures.SERIES and columns >= figures.CODE:
        figures.save(figures.scale_and_rank(traces, title), target / "scale_and_rank")


if __name__ == "__main__":
    run_as_script(main)
