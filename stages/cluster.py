"""Fit one cell of the grid on one data set with every seed: labels, embedding, trace, model and run record.

python stages/cluster.py DATASET CELL           into data/runs/DATASET/CELL
python stages/cluster.py DATASET SWEEP sweep    every point of a sweep, into data/sweeps/DATASET/SWEEP/POINT
"""

import sys
from pathlib import Path
from typing import Any

from deepclust import execution, instructions, layout, methods
from deepclust.errors import UserError
from deepclust.files import read_json, read_samples, sha256, write_array, write_sparse, write_text
from deepclust.integrity import intact
from deepclust.methods._saving import versions
from deepclust.runs import Seed, discard, run_seeds
from deepclust.script import run_as_script
from deepclust.seeding import derive_seed

import numpy as np
import pandas as pd
import scipy.sparse as sp


def main(dataset: str, name: str, kind: str = "cluster") -> None:
    if kind not in {"cluster", "sweep"}:
        raise UserError(f"cluster.py takes a data set, a name and perhaps 'sweep', got {kind!r}")
    intact(layout.plan(dataset, kind, name))
    plan = read_json(layout.plan(dataset, kind, name))
    work = layout.work(kind, dataset, name)
    if kind == "cluster":
        fit(plan, layout.run(dataset, name), work, keep_model=True)
        return
    points = plan.pop("points")
    for point, settings in points.items():
        output = layout.sweep(dataset, name) / point
        fit(plan | {"settings": settings}, output, work / point, keep_model=False)  # dozens of models nobody reads
    for folder in work.iterdir():
        if folder.name not in points:
            discard(folder)


def fit(plan: dict[str, Any], output: Path, work: Path, *, keep_model: bool) -> None:
    """Fit a cell with every seed of its plan; finished seeds are kept in `work`."""
    dataset, cell, compute = plan["dataset"], plan["cell"], plan["compute"]
    instructions.agree(compute["instructions"])
    graph = layout.graph(dataset) if plan["graph"] else None
    networks = layout.network(dataset, plan["network"]) if plan["network"] else None
    samples, meta = layout.prepared(dataset) / "X.npy", layout.prepared(dataset) / "meta.json"
    intact(samples, meta, *filter(None, (graph, networks)))
    cls = methods.load(plan["method"])
    X = read_samples(samples)
    n_clusters = read_json(meta)["k"]
    n_in_parallel = execution.n_seeds_in_parallel(cls, X, compute["device"], len(plan["seeds"]))
    progress = n_in_parallel == 1 and sys.stderr.isatty()

    digests = {"X": sha256(samples)}
    if graph:
        digests["graph"] = sha256(graph / "weights.npz")

    def inputs(seed: int) -> dict[str, str]:
        if networks is None:
            return digests
        weights = networks / f"seed-{seed}" / "weights.safetensors"
        return digests | {"network": sha256(weights) if weights.exists() else "failed"}

    def body(seed: Seed) -> dict[str, Any]:
        given = execution.inputs(graph, networks / f"seed-{seed.number}" if networks else None)
        state = derive_seed(seed.number, dataset, cell)
        method = cls(n_clusters, random_state=state, device=compute["device"], **plan["settings"])
        with execution.surroundings(cls, compute["threads"], compute["precision"], seed.checkpoints, progress):
            method.fit(X, **given)
        if keep_model:
            method.save(seed.results)
        return write(method, seed.results)

    with execution.surroundings(cls, compute["threads"], compute["precision"]):  # around all: seeds may run in threads
        run_seeds(plan, output=output, work=work, inputs=inputs, body=body, n_in_parallel=n_in_parallel)


def write(method: Any, folder: Path) -> dict[str, Any]:
    """Write a fitted method's results, except its model; return the method's part of the seed's record."""
    write_array(folder / "labels.npy", method.labels_)
    if hasattr(method, "embedding_"):
        write_array(folder / "embedding.npy", method.embedding_)
    about: dict[str, Any] = {}
    if hasattr(method, "trace_"):
        about["n_epochs"] = sum(row["loss"] is not None for row in method.trace_)
        write_text(folder / "trace.csv", pd.DataFrame(method.trace_).to_csv(index=False, lineterminator="\n"))
    for name, labels in getattr(method, "readouts_", {}).items():
        write_array(folder / "readouts" / f"{name}.npy", labels)
    for name, value in getattr(method, "extras_", {}).items():
        if isinstance(value, pd.DataFrame):
            write_text(folder / f"{name}.csv", value.to_csv(index=False, lineterminator="\n"))
        elif isinstance(value, sp.csr_matrix):
            write_sparse(folder / f"{name}.npz", value)
        else:
            write_array(folder / f"{name}.npy", value)
    return about | {
        "n_clusters": method.n_clusters,
        "n_clusters_found": len(np.unique(method.labels_)),
        "n_iter": method.n_iter_,
        "converged": method.converged_,
        "device": getattr(method, "device_", "cpu"),
        "versions": versions(*method.libraries),
    }


if __name__ == "__main__":
    run_as_script(main)
