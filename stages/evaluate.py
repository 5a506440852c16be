"""Hold one cell's labels against the true ones: metrics, run records and figures. The first stage to see y."""

from pathlib import Path

import numpy as np
import pandas as pd

from deepclust.errors import run_as_script
from deepclust.files import read_array, read_json, write_json, write_text
from deepclust.metrics import external
from deepclust.reporting import figures
from deepclust.reporting.aggregate import cell_metrics
from deepclust.runs import RECORD
from deepclust.seeding import derive_seed


def main(grid: str, dataset: str, cell: str) -> None:
    runs = Path("data/runs") / dataset / cell
    reports = Path("reports") / grid
    y = read_array(f"data/prepared/{dataset}/y.npy")
    numbers = sorted(int(folder.name.removeprefix("seed-")) for folder in runs.iterdir())
    folders = {number: runs / f"seed-{number}" for number in numbers}
    records = {number: read_json(folder / RECORD) for number, folder in folders.items()}
    finished = {number: folders[number] for number in numbers if records[number]["status"] == "ok"}

    labels = {number: read_array(folder / "labels.npy") for number, folder in finished.items()}
    scores = {str(number): external(y, found) for number, found in labels.items()}
    failed = sum(record["status"] == "failed" for record in records.values())
    write_json(reports / "metrics" / dataset / f"{cell}.json", cell_metrics(scores, failed))
    method = records[numbers[0]]["method"]
    write_json(
        reports / "runs" / dataset / f"{cell}.json",
        {"dataset": dataset, "cell": cell, "method": method, "seeds": {str(n): r for n, r in records.items()}},
    )

    target = reports / "cells" / dataset / cell
    if not finished:
        write_text(target / "why-no-figures.txt", "".join(f"seed {n}: {r['reason']}\n" for n, r in records.items()))
        return
    shown = min(finished)
    draw(target, f"{cell} on {dataset}, seed {shown}", y, labels[shown], finished[shown])
    traces = {n: pd.read_csv(f / "trace.csv") for n, f in finished.items() if (f / "trace.csv").exists()}
    if traces:
        figures.save(figures.curves(traces, f"{cell} on {dataset}"), target / "curves")


def draw(target: Path, title: str, y: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    """Draw one seed's confusion matrix and, where there is one, the t-SNE map of its embedding."""
    figures.save(figures.confusion(y, labels, title), target / "confusion")
    if (folder / "embedding.npy").exists():
        embedding = read_array(folder / "embedding.npy")
        seed = derive_seed(0, title)
        rows = figures.sample(len(embedding), seed)
        places = figures.tsne(embedding, seed)
        figures.save(figures.tsne_map(places, y[rows], labels[rows], title), target / "tsne")


if __name__ == "__main__":
    run_as_script(main)
