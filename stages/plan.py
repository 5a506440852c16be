"""Validate params.yaml and write one small file per (data set, unit): its settings and the code it runs.

python stages/plan.py                 write data/plan/
python stages/plan.py check           validate only
python stages/plan.py grid NAME       write grids/NAME.yaml's values into params.yaml first, then validate
"""

from pathlib import Path
from typing import Any

from deepclust import config
from deepclust.closure import code_of
from deepclust.errors import UserError, run_as_script
from deepclust.files import write_json

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


def write(params: config.Config, dataset: str) -> None:
    graph, networks, cells = config.resolve(params, dataset)
    compute = params.compute.model_dump()
    seeds = {"seeds": params.seeds}

    def put(unit: str, stage: str, settings: dict[str, Any], *modules: str) -> None:
        code = code_of([STAGES / f"{stage}.py"], modules)
        write_json(PLAN / dataset / f"{unit}.json", {"dataset": dataset, **settings, "code": code})

    put("fetch", "fetch", {}, f"deepclust.datasets.{dataset}")
    put("prepare", "prepare", {}, f"deepclust.datasets.{dataset}")
    put("graph", "graph", {"settings": graph.model_dump(), "compute": compute})
    put("evaluate", "evaluate", {})
    for name, network in networks.items():
        put(f"pretrain/{name}", "pretrain", {"network": name, "settings": network, "compute": compute, **seeds})
    for name, cell in cells.items():
        settings = {"cell": name, **cell.model_dump(), "compute": compute, **seeds}
        put(f"cluster/{name}", "cluster", settings, f"deepclust.methods.{cell.method}")


if __name__ == "__main__":
    run_as_script(main)
