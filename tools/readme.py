"""Generate from the sources: blocks of README.md and of the pages in docs, and the methods' stub.

A block's first line names its content:

- `methods`: the methods there are.
- `datasets`: the data sets there are, and the papers whose tables name them.
- `figure`: the picture of the papers' own numbers beside ours, docs/figures/reported.svg.
- `best GRID`: the best method of each family on each of a grid's data sets.
- `results GRID`: the results of a grid, without the further read-outs of its cells; `results GRID with read-outs`.
- `reported`: the papers' numbers for their own methods beside ours.
- `reported PAPER`: all numbers of one paper, with baselines from the first grid that has them.
- `paired GRID OTHER`: two grids of the same cells, seed against seed.
- `verdicts`, `impossible`, `labels`: what src/deepclust/reporting/verdicts.yaml and the numbers say of the papers.
- `coverage`: the published numbers with and without ours, and why.

The picture is written too, and the stub `src/deepclust/methods/__init__.pyi`. The stub tells editors and mypy which
file each class comes from, because `from deepclust.methods import IDEC` imports that file only when asked.

This is no stage of the pipeline: `make readme` runs it. The argument `check` changes nothing, and fails if a block, the
picture or the stub is stale.
"""

import ast
import inspect
import logging
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from deepclust import datasets, grids, layout, methods
from deepclust.errors import UserError
from deepclust.files import read_yaml, write_text
from deepclust.reporting.aggregate import compare, read_reported
from deepclust.reporting.coverage import coverage, read_absent
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.readme import (
    best_block,
    block_names,
    coverage_block,
    datasets_block,
    figure_block,
    impossible_block,
    labels_block,
    methods_block,
    paired_block,
    replace_block,
    reported_block,
    reported_figure,
    results_block,
    verdicts_block,
)
from deepclust.reporting.verdicts import impossible, judge, read_judgements
from deepclust.script import run_as_script

# grids whose numbers stand beside the papers'
GRIDS = ["benchmark", "training_free", "hybrid", "heldout", "large", "admm", "admm_rbm"]
GRIDS += ["decs", "ulhe_dc", "ulhe_dc_long", "pc_x", "pc_x_mnist"]


_log = logging.getLogger("deepclust.readme")

STUB = Path("src/deepclust/methods/__init__.pyi")
PICTURE, VERDICTS = Path("docs/figures/reported.svg"), Path("docs/verdicts.md")


def main(command: str = "write") -> None:
    pages = [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
    files = {page: renewed(page) for page in pages} | {PICTURE: reported_figure(judged(), families()), STUB: stub()}
    for path, content in files.items():
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        if command == "check":
            raise UserError(f"{path} is stale; run make readme")
        write_text(path, content)


def renewed(page: Path) -> str:
    """Return a page with its generated blocks as they have to be."""
    text = page.read_text(encoding="utf-8")
    for name in block_names(text):
        text = replace_block(text, name, block(name, page))
    return text


def stub() -> str:
    """Return the types of `deepclust.methods`: its functions, and every method's class, imported from its file."""
    source = ast.parse(STUB.with_suffix(".py").read_text(encoding="utf-8"))
    functions = [node for node in source.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    for node in functions:
        node.body = [ast.Expr(ast.Constant(...))]
        if isinstance(node.returns, ast.Constant):  # a stub need not quote types
            node.returns = ast.Name(str(node.returns.value))
    classes = {methods.module(name): methods.describe(name).__name__ for name in methods.names()}
    imports = {**classes, "deepclust.methods.base": "Clusterer"}
    lines = [f"from {module} import {name} as {name}" for module, name in sorted(imports.items())]
    heading = "# Written by tools/readme.py (make readme)."
    bodies = [ast.unparse(node).replace(":\n    ...", ": ...") for node in functions]
    return "\n".join([heading, "from pathlib import Path", "", *lines, "", *bodies, ""])


def block(name: str, page: Path) -> str:
    """Return the content of the block of that name on a page."""
    reports = {
        grid: os.path.relpath(grids.folder(grid) / layout.REPORTS, page.absolute().parent) for grid in grids.names()
    }
    match name.split(" ", 2):
        case ["methods"]:
            return methods_block(map(describe, methods.names()))
        case ["datasets"]:
            return datasets_block(map(describe_dataset, datasets.names()))
        case ["best", grid]:
            numbers = compare(read_table(grid, "summary"), read_reported(layout.REPORTED))
            return best_block(read_table(grid, "results"), numbers, families(), reports[grid])
        case ["results", grid, *rest] if rest in ([], ["with read-outs"]):
            summary = read_table(grid, "summary")
            kept = summary if rest else summary[~summary["cell"].str.contains("/")]
            return results_block(kept, reports[grid])
        case ["reported"]:
            rows = comparison()
            return reported_block(rows[rows["own"]], reports)
        case ["reported", paper] if paper in PAPERS:
            rows = comparison()
            first = rows.groupby(["paper", "table", "dataset", "cell"])["grid"].transform("first")
            return reported_block(rows[(rows["paper"] == paper) & (rows["own"] | (rows["grid"] == first))], reports)
        case ["paired", first, second]:
            return paired_block({grid: read_table(grid, "results") for grid in (first, second)})
        case ["verdicts"]:
            folder = os.path.relpath(page.absolute().parent, layout.PROJECT)
            return verdicts_block(judged(), reports, folder)
        case ["figure"]:
            links = (os.path.relpath(path.absolute(), page.absolute().parent) for path in (PICTURE, VERDICTS))
            return figure_block(judged(), *links)
        case ["impossible"]:
            sizes = read_yaml(layout.VERDICTS)["class_sizes"]
            return impossible_block(impossible(read_reported(layout.REPORTED), sizes), sizes)
        case ["labels"]:
            return labels_block(read_yaml(layout.VERDICTS)["labels"])
        case ["coverage"]:
            commands = grids.commands()
            built = {*methods.names(), *(cell for _, cell in commands)}
            absent, stale = read_absent(layout.ABSENT).without(built, datasets.names())
            for line in stale:
                _log.warning("%s", line)
            return coverage_block(coverage(read_reported(layout.REPORTED), all_rows(), absent, commands))
    raise UserError(f"{page}: nothing writes a block named '{name}'; tools/readme.py says which there are")


@cache
def judged() -> pd.DataFrame:
    """Return the verdicts on the papers' own numbers."""
    reported = read_reported(layout.REPORTED)
    judgements = read_judgements(layout.VERDICTS, reported)
    return judge(reported, judgements, {grid: read_table(grid, "summary") for grid in GRIDS})


def families() -> dict[str, str]:
    """Return the family of every method."""
    return {name: methods.family(name) for name in methods.names()}


@cache
def comparison() -> pd.DataFrame:
    """Return the papers' numbers beside those of every grid, by paper; `own` marks a paper's own methods."""
    rows = all_rows().query("status == 'ok'").sort_values(["paper", "table"], kind="stable")
    return rows.assign(own=[cell in PAPERS[paper].methods for paper, cell in rows[["paper", "cell"]].to_numpy()])


@cache
def all_rows() -> pd.DataFrame:
    """Return the papers' numbers beside those of every grid, whatever became of ours."""
    reported = read_reported(layout.REPORTED)
    return pd.concat([compare(read_table(grid, "summary"), reported).assign(grid=grid) for grid in GRIDS])


def read_table(grid: str, name: str) -> pd.DataFrame:
    """Return a table of a grid's report: `summary`, the means, or `results`, every seed."""
    path = grids.folder(grid) / layout.REPORTS / f"{name}.csv"
    try:
        return pd.read_csv(path, dtype={"reason": str}).fillna({"reason": ""})
    except FileNotFoundError:
        raise UserError(f"{path} is missing; make repro GRID={grid} writes it") from None


def describe_dataset(name: str) -> tuple[str, str, int, Sequence[int] | None, list[str]]:
    """Return a data set's name, its docstring's first line, K, the shape of its images, and papers that name it."""
    declared = datasets.spec(name)
    module = sys.modules[f"{datasets.__name__}.{name}"]
    reported = read_reported(layout.REPORTED)
    papers = reported.loc[reported["dataset"] == name, "paper"].unique()
    first = (inspect.getdoc(module) or "").splitlines()[0]
    return name, first, declared.n_clusters, declared.image_shape, [PAPERS[paper].title for paper in papers]


def describe(name: str) -> tuple[str, str, str, list[str]]:
    """Return a method's family and name, the first line of its docstring, and its inputs beside X."""
    cls = methods.describe(name)
    first = (inspect.getdoc(cls) or "").splitlines()[0]
    reads = ["graph"] * cls.reads_graph + [cls.default_network] * bool(cls.default_network)
    return methods.family(name), name, f"{first} ({cls.paper})", reads


if __name__ == "__main__":
    run_as_script(main, is_stage=False)
