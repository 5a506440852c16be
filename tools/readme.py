"""Write the generated blocks of README.md and of the pages in docs.

A block's first line says what it holds: `methods`, the methods there are; `results GRID`, what that grid came to,
without the further read-outs of its cells, or `results GRID with read-outs`; `reported`, what the papers print for
their own methods beside ours; `reported PAPER`, all that one paper prints, with baselines from the first grid that has
them; `paired GRID OTHER`, two grids of the same cells, seed against seed.

Not a stage of the pipeline: `make readme` runs it. With the argument `check` it changes nothing and fails if a block is
stale.
"""

import inspect
import os
from functools import cache
from pathlib import Path

import pandas as pd

from deepclust import layout, methods
from deepclust.errors import UserError
from deepclust.files import write_text
from deepclust.reporting.aggregate import compare, read_reported
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.readme import (
    block_names,
    methods_block,
    paired_block,
    replace_block,
    reported_block,
    results_block,
)
from deepclust.script import run_as_script

# whose numbers stand beside the papers'
GRIDS = ["benchmark", "hybrid", "heldout", "large", "admm", "decs", "ulhe_dc", "ulhe_dc_long", "pc_x", "pc_x_mnist"]


def main(command: str = "write") -> None:
    for page in [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]:
        old = new = page.read_text(encoding="utf-8")
        for name in block_names(old):
            new = replace_block(new, name, block(name, page))
        if command == "check" and new != old:
            raise UserError(f"the generated blocks of {page} are stale; run make readme")
        if new != old:
            write_text(page, new)


def block(name: str, page: Path) -> str:
    """Return what the block of that name holds on a page."""
    reports = os.path.relpath("reports", page.parent)
    match name.split(" ", 2):
        case ["methods"]:
            return methods_block(map(describe, methods.names()))
        case ["results", grid, *rest] if rest in ([], ["with read-outs"]):
            summary = read_table(grid, "summary")
            kept = summary if rest else summary[~summary["cell"].str.contains("/")]
            return results_block(kept, f"{reports}/{grid}")
        case ["reported"]:
            rows = comparison()
            return reported_block(rows[rows["own"]], reports)
        case ["reported", paper] if paper in PAPERS:
            rows = comparison()
            first = rows.groupby(["paper", "table", "dataset", "cell"])["grid"].transform("first")
            return reported_block(rows[(rows["paper"] == paper) & (rows["own"] | (rows["grid"] == first))], reports)
        case ["paired", first, second]:
            return paired_block({grid: read_table(grid, "results") for grid in (first, second)})
    raise UserError(f"{page}: nothing writes a block named '{name}'; tools/readme.py says which there are")


@cache
def comparison() -> pd.DataFrame:
    """Return what the papers print beside what every grid came to, paper by paper; `own`: of the paper's methods."""
    reported = read_reported(layout.REPORTED)
    by_grid = [compare(read_table(grid, "summary"), reported).assign(grid=grid) for grid in GRIDS]
    rows = pd.concat(by_grid).query("status == 'ok'").sort_values(["paper", "table"], kind="stable")
    return rows.assign(own=[cell in PAPERS[paper].methods for paper, cell in rows[["paper", "cell"]].to_numpy()])


def read_table(grid: str, name: str) -> pd.DataFrame:
    """Return a table of a grid's report: `summary`, the means, or `results`, every seed."""
    path = f"reports/{grid}/{name}.csv"
    try:
        return pd.read_csv(path, dtype={"reason": str}).fillna({"reason": ""})
    except FileNotFoundError:
        raise UserError(f"{path} is missing; make repro GRID={grid} writes it") from None


def describe(name: str) -> tuple[str, str, tuple[str, ...]]:
    """Return a method's name, what its docstring says first, and what it reads beside X."""
    cls = methods.load(name)
    first = (inspect.getdoc(cls) or "").splitlines()[0]
    return name, f"{first} ({cls.paper})", cls.reads


if __name__ == "__main__":
    run_as_script(main, is_stage=False)
