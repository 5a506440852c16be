"""Judge one cell's labels: metrics, traces, run records, figures and assignments. The first stage to see y.

Unlabelled data, whose y is empty, has internal metrics only, and the figures that need no classes.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deepclust import layout
from deepclust.files import read_array, read_json, read_sparse, write_json, write_text
from deepclust.metrics import accuracy, external, internal, match, stability
from deepclust.reporting import figures
from deepclust.reporting.aggregate import cell_means, compact
from deepclust.runs import RECORD
from deepclust.script import run_as_script
from deepclust.seeding import derive_seed

import numpy as np
import pandas as pd
import scipy.sparse as sp
from matplotlib.figure import Figure


def main(dataset: str, cell: str) -> None:
    runs, reports, prepared = layout.run(dataset, cell), layout.REPORTS, layout.prepared(dataset)
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
    by_row = {
        row: scores(X, y, W, {number: read_array(folder / name) for number, folder in finished.items()})
        for row, name in labelings.items()
    }
    write_json(reports / "scores" / dataset / f"{cell}.json", by_row)
    write_json(reports / "metrics" / dataset / f"{cell}.json", cell_means(by_row[cell], failed))

    traces = {n: pd.read_csv(f / "trace.csv") for n, f in finished.items() if (f / "trace.csv").exists()}
    stacked = pd.concat(traces, names=["seed"]).reset_index("seed") if traces else pd.DataFrame(columns=["seed"])
    write_table(reports / "traces" / dataset / f"{cell}.csv", stacked)
    clusters = {f"seed_{number}": read_array(folder / "labels.npy") for number, folder in finished.items()}
    write_table(reports / "confusion" / dataset / f"{cell}.csv", confusion(y, clusters))
    target = Target(reports / "cells" / dataset / cell, reports / "files" / dataset / cell)
    target.images.mkdir(parents=True, exist_ok=True)
    if finished:
        shown = min(finished)
        draw(target, f"{cell} on {dataset}, seed {shown}", X, y, finished[shown], meta["image_shape"])
        draw_traces(target, f"{cell} on {dataset}", traces, meta["k"])
        samples = (prepared / "samples.txt").read_text(encoding="utf-8").split("\n")[:-1] or range(len(X))
        write_table(target.files / "assignments.csv", pd.DataFrame({"sample": samples} | clusters))
    else:
        reasons = "".join(f"seed {number}: {record['reason']}\n" for number, record in records.items())
        write_text(target.files / "why-no-figures.txt", reasons)

    about = {"dataset": dataset, "cell": cell, "method": records[numbers[0]]["method"]}
    drawn = sorted(file.stem for file in target.images.glob("*.png"))
    seeds = compact({str(number): record for number, record in records.items()})
    write_json(reports / "runs" / dataset / f"{cell}.json", about | {"figures": drawn} | seeds)


@dataclass(frozen=True)
class Target:
    """Where a cell's figures go: images into a folder of their own, as DVC plots whatever is in one, PDFs elsewhere."""

    images: Path
    files: Path

    def save(self, figure: Figure, name: str) -> None:
        figures.save_png(figure, self.images / f"{name}.png")
        figures.save_pdf(figure, self.files / f"{name}.pdf")


def confusion(y: np.ndarray | None, labelings: dict[str, np.ndarray]) -> pd.DataFrame:
    """Count the samples of each class in each cluster, named by the class it is matched to; summed over the seeds."""
    counts: Counter[tuple[int, int]] = Counter()
    if y is not None:
        for labels in labelings.values():
            counts.update(zip(y.tolist(), match(y, labels).tolist(), strict=True))
    rows = [(actual, predicted, n) for (actual, predicted), n in sorted(counts.items())]
    return pd.DataFrame(rows, columns=["actual", "predicted", "samples"])


def scores(
    X: np.ndarray, y: np.ndarray | None, W: sp.csr_matrix, labelings: dict[int, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Return every metric of every seed."""
    found = {
        str(number): ({} if y is None else external(y, labels)) | internal(X, W, labels)
        for number, labels in labelings.items()
    }
    for number, value in zip(labelings, stability(list(labelings.values())), strict=False):
        found[str(number)]["stability"] = value
    return found


def draw(
    target: Target, title: str, X: np.ndarray, y: np.ndarray | None, folder: Path, image_shape: list[int] | None
) -> None:
    """Draw one seed: its confusion matrix where there are classes, and what else the files of its run allow."""
    labels = read_array(folder / "labels.npy")
    if y is not None:
        target.save(figures.confusion(y, labels, title), "confusion")
    if (folder / "embedding.npy").exists():
        draw_embedding(target, title, y, labels, folder)
    elif y is None:
        draw_map(target, f"{title}, samples as they are", y, labels, X)
    if image_shape and (folder / "decoded_centers.npy").exists():
        images = read_array(folder / "decoded_centers.npy")
        target.save(figures.centers(images, image_shape, labels if y is None else y, labels, title), "centers")
    if (folder / "singular_values.csv").exists():
        table = pd.read_csv(folder / "singular_values.csv")
        write_table(target.files / "singular_values.csv", table)
        target.save(figures.singular_values(table, title), "singular_values")
    if y is None:
        return
    if (folder / "candidates.csv").exists():
        table = pd.read_csv(folder / "candidates.csv")
        accuracies = [accuracy(y, candidate) for candidate in read_array(folder / "candidate_labels.npy")]
        target.save(figures.candidates(table, accuracies, title), "candidates")
    if (folder / "affinity.npz").exists():
        Z = abs(read_sparse(folder / "affinity.npz"))
        before = read_sparse(folder / "candidate_weights.npz")
        target.save(figures.affinity(before, Z + Z.T, y, title), "affinity")


def draw_map(target: Target, title: str, y: np.ndarray | None, labels: np.ndarray, points: np.ndarray) -> None:
    """Draw the map of N points by class and cluster, or by cluster alone; fewer than 4 have none."""
    if len(points) < 4:
        return
    seed = derive_seed(0, title)
    rows = figures.sample(len(points), seed)
    classes = None if y is None else y[rows]
    target.save(figures.tsne_map(figures.tsne(points, seed), classes, labels[rows], title), "tsne")


def draw_embedding(target: Target, title: str, y: np.ndarray | None, labels: np.ndarray, folder: Path) -> None:
    """Draw the map of the codes; where the run kept those from before clustering too, both maps, and both's cosines."""
    embedding = read_array(folder / "embedding.npy")
    if y is None or len(embedding) < 4 or not (folder / "embedding_before.npy").exists():
        draw_map(target, title, y, labels, embedding)
        return
    seed = derive_seed(0, title)
    rows = figures.sample(len(embedding), seed)
    places = figures.tsne(embedding, seed)
    before = read_array(folder / "embedding_before.npy")
    target.save(figures.tsne_before_after(figures.tsne(before, seed), places, y[rows], title), "tsne")
    rows = figures.sample_of_classes(y, seed)
    target.save(figures.cosine(before[rows], embedding[rows], y[rows], title), "cosine")


def draw_traces(target: Target, title: str, traces: dict[int, pd.DataFrame], n_clusters: int) -> None:
    """Draw of the traces of all seeds what they have the columns for."""
    by_seed = {f"seed {number}": trace for number, trace in traces.items()}
    columns = set[str]().union(*traces.values())
    recorded = set[str]().union(*(trace.dropna(axis="columns", how="all") for trace in traces.values()))
    if "loss" in recorded:
        target.save(figures.curves(traces, title), "curves")
    if columns >= figures.HALF_STEPS:
        target.save(figures.half_steps(by_seed, title), "half_steps")
    if recorded & figures.CONVERGENCE:
        target.save(figures.convergence(by_seed, title), "convergence")
    if "alive" in recorded:
        target.save(figures.alive(by_seed, n_clusters, title), "alive")


def write_table(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


if __name__ == "__main__":
    run_as_script(main)
