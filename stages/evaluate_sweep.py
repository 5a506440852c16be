"""Hold the labels of every point of a sweep against the true ones: one table of scores, one of traces, and figures.

python stages/evaluate_sweep.py DATASET SWEEP
"""

from collections import defaultdict
from typing import Any

from deepclust import layout
from deepclust.files import read_array, read_json
from deepclust.integrity import intact
from deepclust.metrics import EXTERNAL, external
from deepclust.reporting import figures
from deepclust.reporting.aggregate import remark, write_csv
from deepclust.reporting.finished import Sweep
from deepclust.runs import RECORD
from deepclust.script import run_as_script

import numpy as np
import pandas as pd


def main(dataset: str, sweep: str) -> None:
    asked, labels = layout.plan(dataset, "evaluate_sweep", sweep), layout.prepared(dataset) / "y.npy"
    runs, target = layout.sweep(dataset, sweep), layout.REPORTS / "sweeps" / sweep
    intact(asked, labels, runs)
    plan, y = read_json(asked), read_array(labels)
    rows: list[dict[str, Any]] = []
    of_seeds: dict[str, list[pd.DataFrame]] = defaultdict(list)
    for point in plan["points"]:
        settings = dict(part.split("=") for part in point.split(","))
        for seed in plan["seeds"]:
            folder = runs / point / f"seed-{seed}"
            record = read_json(folder / RECORD)
            run = settings | {"point": point, "seed": seed}
            end = {"status": record["status"], "reason": remark(record)}
            scores = external(y, read_array(folder / "labels.npy")) if record["status"] == "ok" else {}
            rows += [run | end | {"metric": metric, "value": scores.get(metric, np.nan)} for metric in EXTERNAL]
            if (folder / "trace.csv").exists():
                trace = pd.read_csv(folder / "trace.csv")
                trace = trace.rename(columns={name: f"trace_{name}" for name in settings if name in trace})
                of_seeds[point].append(pd.concat([pd.DataFrame(run, index=trace.index), trace], axis=1))

    results, traces = pd.DataFrame(rows), {point: pd.concat(parts) for point, parts in of_seeds.items()}
    write_csv(target / "results.csv", results)
    if traces:
        write_csv(target / "traces.csv", pd.concat(traces.values()))
    pages = layout.REPORTS / "files/sweeps" / sweep
    figures.draw("sweep", Sweep(f"{plan['cell']} on {dataset}", results, traces), target, pages)


if __name__ == "__main__":
    run_as_script(main)
