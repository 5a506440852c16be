"""Write the generated blocks of README.md: the methods there are, and the results of the grids it names.

Not a stage of the pipeline: `make readme` runs it. With the argument `check` it changes nothing and fails if a block is
stale.
"""

import inspect
from pathlib import Path

import pandas as pd

from deepclust import methods
from deepclust.errors import UserError, run_as_script
from deepclust.files import write_text
from deepclust.reporting.aggregate import compare, read_reported
from deepclust.reporting.readme import methods_block, replace_block, reported_block, results_block

PAGE = Path("README.md")
GRIDS = ["benchmark", "hybrid", "heldout"]  # whose results stand on it, each in the block of its name


def main(command: str = "write") -> None:
    old = PAGE.read_text(encoding="utf-8")
    new = replace_block(old, "methods", methods_block(map(describe, methods.names())))
    reported = read_reported("data/reported/reported_results.csv")
    for grid in GRIDS:
        folder = f"reports/{grid}"
        summary = pd.read_csv(f"{folder}/summary.csv", dtype={"reason": str}).fillna({"reason": ""})
        new = replace_block(new, grid, results_block(summary, folder))
        if f"<!-- generated: reported {grid} -->" in new:
            comparison = compare(summary, reported)
            new = replace_block(new, f"reported {grid}", reported_block(comparison, folder))
    if command == "check" and new != old:
        raise UserError(f"the generated blocks of {PAGE} are stale; run make readme")
    if new != old:
        write_text(PAGE, new)


def describe(name: str) -> tuple[str, str, tuple[str, ...]]:
    """Return a method's name, what its docstring says first, and what it reads beside X."""
    cls = methods.load(name)
    first = (inspect.getdoc(cls) or "").splitlines()[0]
    return name, f"{first} ({cls.paper})", cls.reads


if __name__ == "__main__":
    run_as_script(main, is_stage=False)
