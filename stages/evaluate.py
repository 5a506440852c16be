"""Judge one cell's labels: metrics, traces, run records, figures and assignments. The first stage to see y.

python stages/evaluate.py DATASET CELL

Unlabelled data have an empty y: only internal metrics are computed, and only figures that need no classes are drawn.
"""

from deepclust import layout
from deepclust.files import read_array, read_json, read_sparse, write_json, write_text
from deepclust.integrity import intact
from deepclust.metrics.internal import internal_of
from deepclust.reporting import figures, shares
from deepclust.reporting.aggregate import cell_means, confusion, run_record, scores, write_csv
from deepclust.reporting.finished import Cell
from deepclust.runs import RECORD
from deepclust.script import run_as_script

import numpy as np
import pandas as pd


def main(dataset: str, cell: str) -> None:
    runs, prepared, reports = layout.run(dataset, cell), layout.prepared(dataset), layout.REPORTS
    read = [prepared / name for name in ("X.npy", "y.npy", "samples.txt", "meta.json")]
    intact(layout.plan(dataset, "evaluate"), runs, layout.graph(dataset), *read)
    X = read_array(prepared / "X.npy").astype(np.float32, copy=False)  # own data may be stored in float16
    classes = read_array(prepared / "y.npy")
    y = classes if len(classes) else None
    W = read_sparse(layout.graph(dataset) / "weights.npz")
    meta = read_json(prepared / "meta.json")
    numbers = sorted(int(folder.name.removeprefix("seed-")) for folder in runs.iterdir())
    folders = {number: runs / f"seed-{number}" for number in numbers}
    records = {number: read_json(folder / RECORD) for number, folder in folders.items()}
    finished = {number: folders[number] for number in numbers if records[number]["status"] == "ok"}

    failed = sum(record["status"] == "failed" for record in records.values())
    readouts = sorted({file.stem for folder in finished.values() for file in (folder / "readouts").glob("*.npy")})
    labelings = {cell: "labels.npy"} | {f"{cell}/{readout}": f"readouts/{readout}.npy" for readout in readouts}
    by_shape = internal_of(X, W)
    by_row = {
        row: scores(y, by_shape, {number: read_array(folder / name) for number, folder in finished.items()})
        for row, name in labelings.items()
    }
    for number, folder in finished.items():
        if (folder / shares.FILE).exists():
            labels, table = read_array(folder / "labels.npy"), pd.read_csv(folder / shares.FILE)
            by_row[cell][str(number)] |= shares.by_class(y, labels, table)
    write_json(reports / "scores" / dataset / f"{cell}.json", by_row)
    write_json(reports / "metrics" / dataset / f"{cell}.json", cell_means(by_row[cell], failed))

    traces = {n: pd.read_csv(f / "trace.csv") for n, f in finished.items() if (f / "trace.csv").exists()}
    stacked = pd.concat(traces, names=["seed"]).reset_index("seed") if traces else pd.DataFrame(columns=["seed"])
    write_csv(reports / "traces" / dataset / f"{cell}.csv", stacked)
    clusters = {f"seed_{number}": read_array(folder / "labels.npy") for number, folder in finished.items()}
    write_csv(reports / "confusion" / dataset / f"{cell}.csv", confusion(y, clusters))

    images, others = reports / "cells" / dataset / cell, reports / "files" / dataset / cell
    images.mkdir(parents=True, exist_ok=True)  # images alone: DVC plots every file of this folder
    drawn: list[str] = []
    if finished:
        shown = min(finished)
        run = Cell(dataset, cell, X, y, meta["image_shape"], meta["k"], shown, finished[shown], traces)
        for name, figure in figures.draw("cell", run, images, others).items():
            drawn.append(name)
            for table in getattr(figure, "TABLES", ()):
                write_csv(others / table, run.table(table))
        samples = (prepared / "samples.txt").read_text(encoding="utf-8").split("\n")[:-1]
        write_csv(others / "assignments.csv", pd.DataFrame({"sample": samples} | clusters))
    else:
        reasons = "".join(f"seed {number}: {record['reason']}\n" for number, record in records.items())
        write_text(others / "why-no-figures.txt", reasons)
    write_json(reports / "runs" / dataset / f"{cell}.json", run_record(dataset, cell, drawn, records))


if __name__ == "__main__":
    run_as_script(main)
