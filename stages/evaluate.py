"""Hold one cell's labels against the true ones: metrics, run records and figures. The first stage to see y."""

from pathlib import Path

import numpy as np
import pandas as pd

from deepclust.errors import run_as_script
from deepclust.files import read_array, read_json, read_sparse, write_json, write_text
from deepclust.metrics import accuracy, external
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

    failed = sum(record["status"] == "failed" for record in records.values())
    readouts = sorted({file.stem for folder in finished.values() for file in (folder / "readouts").glob("*.npy")})
    metrics = {
        name: cell_metrics({str(n): external(y, read_array(folder / name)) for n, folder in finished.items()}, failed)
        for name in ["labels.npy", *(f"readouts/{readout}.npy" for readout in readouts)]
    }
    content = metrics["labels.npy"]
    if readouts:
        content["readouts"] = {readout: metrics[f"readouts/{readout}.npy"] for readout in readouts}
    write_json(reports / "metrics" / dataset / f"{cell}.json", content)
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
    draw(target, f"{cell} on {dataset}, seed {shown}", y, finished[shown])
    traces = {n: pd.read_csv(f / "trace.csv") for n, f in finished.items() if (f / "trace.csv").exists()}
    if traces:
        draw_traces(target, f"{cell} on {dataset}", traces)


def draw(target: Path, title: str, y: np.ndarray, folder: Path) -> None:
    """Draw one seed: its confusion matrix, and what else the files of its run allow."""
    labels = read_array(folder / "labels.npy")
    figures.save(figures.confusion(y, labels, title), target / "confusion")
    if (folder / "embedding.npy").exists():
        embedding = read_array(folder / "embedding.npy")
        seed = derive_seed(0, title)
        rows = figures.sample(len(embedding), seed)
        places = figures.tsne(embedding, seed)
        figures.save(figures.tsne_map(places, y[rows], labels[rows], title), target / "tsne")
    if (folder / "candidates.csv").exists():
        table = pd.read_csv(folder / "candidates.csv")
        accuracies = [accuracy(y, candidate) for candidate in read_array(folder / "candidate_labels.npy")]
        figures.save(figures.candidates(table, accuracies, title), target / "candidates")
    if (folder / "affinity.npz").exists():
        Z = abs(read_sparse(folder / "affinity.npz"))
        before = read_sparse(folder / "candidate_weights.npz")
        figures.save(figures.affinity(before, Z + Z.T, y, title), target / "affinity")


def draw_traces(target: Path, title: str, traces: dict[int, pd.DataFrame]) -> None:
    """Write the traces of all seeds, one below the other, and draw what they have the columns for."""
    stacked = pd.concat(traces, names=["seed"]).reset_index("seed")
    write_text(target / "trace.csv", stacked.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    if "loss" in stacked and stacked["loss"].notna().any():
        figures.save(figures.curves(traces, title), target / "curves")
    if set(stacked.columns) >= figures.HALF_STEPS:
        by_seed = {f"seed {number}": trace for number, trace in traces.items()}
        figures.save(figures.half_steps(by_seed, title), target / "half_steps")


if __name__ == "__main__":
    run_as_script(main)
