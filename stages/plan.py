"""Validate params.yaml and write one small file per (data set, unit): its settings and the digest of the code it runs.

python stages/plan.py                  the stage: writes data/plan/, reports/code.json and reports/sweeps/index.json
python stages/plan.py check [GRID]     validate only
python stages/plan.py table [GRID]     validate, then renew cells.yaml and the copies that make a grid a DVC project

GRID is a folder of grids/, or the name of the default grid; without it, the grid in whose folder this runs.
"""

import os
from pathlib import Path

from deepclust import config, grids, layout, planning
from deepclust.errors import UserError
from deepclust.files import write_json, write_text
from deepclust.integrity import intact
from deepclust.script import run_as_script


def main(command: str = "write", grid: str = "") -> None:
    if command not in {"write", "check", "table"}:
        raise UserError(f"plan.py takes nothing, 'check' or 'table', and perhaps a grid; got {command!r}")
    if grid:
        os.chdir(grids.folder(grid))
    params = config.load()
    grids.require_own_name(Path.cwd(), params.grid)
    config.check(params)
    if command == "table":
        if not config.is_current(params):
            write_text(layout.CELLS, config.table(params))
        grids.complete(Path.cwd())
    elif command == "write":
        if not config.is_current(params):
            raise UserError(f"{layout.CELLS} is not that of {layout.PARAMS}: {grids.renewal(params.grid)} renews it")
        intact(*(layout.DIGESTS / f"{name}.json" for name in params.own))
        write(params)


def write(params: config.Config) -> None:
    code = {}
    for dataset in params.datasets:
        for path, content, files in planning.units(params, dataset):
            write_json(path, content)
            code[content["code"]] = files
    write_json(layout.REPORTS / "code.json", code)
    # the report depends on the sweeps' folder, which has to exist in a grid without sweeps as well
    sweeps = [{"name": name, **sweep.model_dump()} for name, sweep in params.sweeps.items()]
    write_json(layout.REPORTS / "sweeps/index.json", sweeps)


if __name__ == "__main__":
    run_as_script(main, is_stage=False)  # a moment's work, and wrong settings write nothing
