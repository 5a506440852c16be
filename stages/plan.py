"""Validate params.yaml and write one small file per (data set, unit): its settings and the code it runs.

python stages/plan.py                 write data/plan/ and reports/GRID/sweeps/index.json
python stages/plan.py check           validate only
python stages/plan.py grid NAME       write grids/NAME.yaml's values into params.yaml first, then validate
"""

from pathlib import Path
from typing import Any

from deepclust import config
from deepclust.closure import code_of
from deepclust.errors import UserError
from deepclust.files import read_json, write_json
from deepclust.script import run_as_script

STAGES = Path(__file__).parent
PLAN = Path("data/plan")


def main(command: str = "write", grid: str = "") -> None:
    if command == "grid":
        config.apply(Path("grids") / f"{grid}.yaml")
    elif command not in {"write", "check"}:
        raise UserError(f"plan.py takes nothing, 'check' or 'grid NAME', got {command!r}")
    params = config.load()
    config.check(params)
    if command == "write":
        for dataset in params.datasets:
            write(params, dataset)
        # the report reads it, and depends on its folder, which has to exist in a grid without sweeps as well
        sweeps = [{"name": name, **sweep.model_dump()} for name, sweep in params.sweeps.items()]
        write_json(Path("reports") / params.grid / "sweeps" / "index.json", sweeps)


def write(params: config.Config, dataset: str) -> None:
    graph, networks, cells = config.resolve(params, dataset)
    compute = params.compute.model_dump()
    seeds = {"seeds": params.seeds_of(dataset)}

    def put(unit: str, stage: str, settings: dict[str, Any], *modules: str) -> None:
        code = code_of([STAGES / f"{stage}.py"], modules)
        write_json(PLAN / dataset / f"{unit}.json", {"dataset": dataset, **settings, "code": code})

    if own := params.own.get(dataset):
        settings = own.model_dump(exclude={"path"})
        put("fetch", "fetch", {"own": {"path": own.path, "files": read_json(f"data/digests/{dataset}.json")}})
        put("prepare", "prepare", {"own": {"file": Path(own.path).name, "settings": settings}})
    else:
        put("fetch", "fetch", {}, f"deepclust.datasets.{dataset}")
        put("prepare", "prepare", {}, f"deepclust.datasets.{dataset}")
    put("graph", "graph", {"settings": graph.model_dump(), "compute": compute})
    put("evaluate", "evaluate", {})
    for name, network in networks.items():
        put(f"pretrain/{name}", "pretrain", {"network": name, "settings": network, "compute": compute, **seeds})
    for name, cell in cells.items():
        settings = {"cell": name, **cell.model_dump(), "compute": compute, **seeds}
        put(f"cluster/{name}", "cluster", settings, f"deepclust.methods.{cell.method}")
    for name, sweep in params.sweeps.items():
        if sweep.dataset == dataset:
            points = config.points(params, name)
            cell = cells[sweep.cell]
            asked = {"cell": sweep.cell, "seeds": sweep.seeds}
            fits = {**asked, **cell.model_dump(exclude={"settings"}), "compute": compute}
            fits["points"] = {point: varied.settings for point, varied in points.items()}
            put(f"sweep/{name}", "cluster", fits, f"deepclust.methods.{cell.method}")
            put(f"evaluate_sweep/{name}", "evaluate_sweep", {**asked, "points": list(points)})


if __name__ == "__main__":
    run_as_script(main, is_stage=False)  # a moment's work, and wrong settings write nothing
