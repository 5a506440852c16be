"""Fit one cell of the grid on one data set with every seed: labels, embedding, trace, model and run record.

python stages/cluster.py DATASET CELL           into data/runs/DATASET/CELL
python stages/cluster.py DATASET SWEEP sweep    every point of a sweep, into data/sweeps/DATASET/SWEEP/POINT
"""

import sys
from pathlib import Path
from typing import Any

from deepclust import execution, instructions, layout, methods, results
from deepclust.errors import UserError
from deepclust.files import read_json, read_samples, sha256
from deepclust.integrity import intact
from deepclust.runs import Seed, discard, run_seeds
from deepclust.script import run_as_script
from deepclust.seeding import derive_seed


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
    X.flags.writeable = False  # all seeds read it
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
        return results.write(method, seed.results)

    with execution.surroundings(cls, compute["threads"], compute["precision"]):  # around all: seeds may run in threads
        run_seeds(plan, output=output, work=work, inputs=inputs, body=body, n_in_parallel=n_in_parallel)


if __name__ == "__main__":
    run_as_script(main)
