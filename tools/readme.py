"""Generate from the sources: blocks of README.md and of the pages in docs, and the methods' stub.

A block's first line names its content:

- `methods`: the methods there are.
- `datasets`: the data sets there are, and the papers whose tables name them.
- `grids`: the grids there are, by the first sentence of each params.yaml, and how many of their results are current.
- `figure`: the picture of the papers' own numbers beside ours, docs/figures/reported.svg.
- `best GRID`: the best method of each family on each of a grid's data sets.
- `results GRID`: the results of a grid, without the further read-outs of its cells; `results GRID with read-outs`.
- `reported`: the papers' numbers for their own methods beside ours.
- `reported PAPER`: all numbers of one paper, with each baseline from one grid.
- `paired GRID OTHER`: two grids of the same cells, seed against seed; `paired GRID: CELL OTHER`: two cells of a grid.
- `verdicts`, `impossible`, `labels`: what src/deepclust/reporting/verdicts.yaml and the numbers say of the papers.
- `wins`, `gaps`, `goes with`: who wins, reported minus ours, and what that goes with, each with its picture.
- `coverage`: the published numbers with and without ours, and why.

The pictures in docs/figures are written too, and the stub `src/deepclust/methods/__init__.pyi`. The stub tells editors
and mypy which file each class comes from, because `from deepclust.methods import IDEC` imports that file only when
asked.

This is no stage of the pipeline: `make readme` runs it. The argument `check` changes nothing, and fails if a block, a
picture or the stub is stale.
"""

import ast
import contextlib
import inspect
import itertools
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from deepclust import config, datasets, grids, layout, methods, provenance  # first: before NumPy loads
import pandas as pd

from deepclust.errors import UserError
from deepclust.files import read_yaml, write_text
from deepclust.reporting import shares, study
from deepclust.reporting.aggregate import compare, read_reported, read_run
from deepclust.reporting.coverage import coverage, read_absent
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.ranking import ranked
from deepclust.reporting.readme import (
    best_block,
    block_names,
    coverage_block,
    datasets_block,
    figure_block,
    grids_block,
    impossible_block,
    labels_block,
    methods_block,
    of_cell,
    paired_block,
    replace_block,
    reported_block,
    reported_figure,
    results_block,
    swept_sentence,
    verdicts_block,
)
from deepclust.reporting.study_page import (
    factors_block,
    factors_figure,
    gaps_block,
    gaps_figure,
    wins_block,
    wins_figure,
)
from deepclust.reporting.swept import place, read_sweeps
from deepclust.reporting.tables import RELEASED, read_reduced, with_released
from deepclust.reporting.verdicts import impossible, judge, read_judgements
from deepclust.script import run_as_script

# grids whose numbers stand beside the papers'
GRIDS = ["benchmark", "training_free", "training_free_70k", "hybrid", "heldout", "large", "admm", "admm_rbm"]
GRIDS += [
    "admm_mnist",
    "benchmark_70k",
    "once_10k",
    "once_70k",
    "once_70k_float32",
    "decs",
    "ulhe_dc",
    "ulhe_dc_long",
    "ulhe_dc_mnist",
    "pc_x",
    "pc_x_centroids",
    "pc_x_mnist",
]


_log = logging.getLogger("deepclust.readme")

STUB = Path("src/deepclust/methods/__init__.pyi")
VERDICTS = Path("docs/verdicts.md")
PICTURE, WINS, GAPS, GOES_WITH = (
    Path(f"docs/figures/{name}.svg") for name in ("reported", "wins", "gaps", "goes_with")
)
CONTEST, SEEN = "benchmark", ("benchmark", "large")  # grids of many methods: the ranks are of the first


def main(command: str = "write") -> None:
    if command not in {"write", "check"}:
        raise UserError(f"readme.py takes nothing or 'check', got {command!r}")
    pages = [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
    files = {page: renewed(page) for page in pages} | pictures() | {STUB: stub()}
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


@cache
def pictures() -> dict[Path, str]:
    """Return every picture of the pages."""
    return {
        PICTURE: reported_figure(judged(), families(), by_grid()),
        WINS: wins_figure(contest(), families()),
        GAPS: gaps_figure(described()),
        GOES_WITH: factors_figure(described()),
    }


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
        case ["grids"]:
            return grids_block(describe_grid(grid, reports[grid]) for grid in grids.names())
        case ["best", grid]:
            numbers = compare(read_table(grid, "summary"), read_reported(layout.REPORTED))
            results = read_table(grid, "results")
            return best_block(results, numbers, families(), reports[grid], read_reduced(), current(grid))
        case ["results", grid, *rest] if rest in ([], ["with read-outs"]):
            summary = read_table(grid, "summary")
            kept = summary if rest else summary[~summary["cell"].str.contains("/")]
            return results_block(kept, reports[grid], read_reduced(), current(grid))
        case ["reported"]:
            rows = comparison()
            return reported_block(rows[rows["own"]], reports, current=by_grid())
        case ["reported", paper] if paper in PAPERS:
            rows = comparison(released=True).query("paper == @paper")
            shown = rows[rows["own"] | study.in_one_grid(rows, judged(), by_grid())]
            return reported_block(shown, reports, read_reduced(), by_grid())
        case ["paired", grid, pair] if grid.endswith(":"):
            grid, sides = grid.removesuffix(":"), pair.split()
            found = read_table(grid, "results")
            return paired_block(
                {cell: of_cell(found, cell) for cell in sides},
                lambda dataset, _: all((dataset, cell) in current(grid) for cell in sides),
            )
        case ["paired", *pair]:
            return paired_block(
                {grid: read_table(grid, "results") for grid in pair},
                lambda dataset, cell: all((dataset, cell) in current(grid) for grid in pair),
            )
        case ["verdicts"]:
            folder = os.path.relpath(page.absolute().parent, layout.PROJECT)
            return verdicts_block(judged(), reports, folder, by_grid())
        case ["figure"]:
            return figure_block(judged(), pictures()[PICTURE], link(PICTURE, page), link(VERDICTS, page))
        case ["wins"]:
            return wins_block(
                contest(),
                {(grid, name): study.seen(table) for grid in SEEN for name, table in ranks(grid).items()},
                link(WINS, page),
            )
        case ["gaps"]:
            cells = every_gap()["cell"]
            return gaps_block(gaps(), described(), link(GAPS, page), Counter(cells[cells.isin([*read_reduced()])]))
        case ["goes", "with"]:
            return factors_block(described(), link(GOES_WITH, page))
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
            covered = coverage(read_reported(layout.REPORTED), all_rows(), absent, commands)
            swept = swept_sentence(all_rows(), sweeps(), {grid: current_sweeps(grid) for grid in GRIDS})
            return coverage_block(covered, swept)
    raise UserError(f"{page}: nothing writes a block named '{name}'; tools/readme.py says which there are")


def link(path: Path, page: Path) -> str:
    """Return the link from a page to a file."""
    return os.path.relpath(path.absolute(), page.absolute().parent)


@cache
def current(grid: str) -> frozenset[tuple[str, str]]:
    """Return the data sets and cells of a grid whose committed results are of the code, settings and data as they are.

    Any other result on a page has a dagger.
    """
    with contextlib.chdir(grids.folder(grid)):
        return frozenset((one.dataset, one.cell) for one in provenance.judge() if not one.reason)


def current_sweeps(grid: str) -> frozenset[str]:
    """Return the sweeps of a grid whose committed results are of the code, settings and data as they are."""
    with contextlib.chdir(grids.folder(grid)):
        return frozenset(one.cell for one in provenance.judge_sweeps() if not one.reason)


def by_grid() -> dict[str, frozenset[tuple[str, str]]]:
    """Return the current cells of every grid whose numbers stand beside the papers'."""
    return {grid: current(grid) for grid in GRIDS}


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
def comparison(*, released: bool = False) -> pd.DataFrame:
    """Return the papers' numbers beside those of every grid, no sweeps; `own`: of a paper's own methods.

    The order is by paper, table and data set, there own methods first. `released` adds methods as their authors'
    programs have them.
    """
    rows = all_rows(released=released).query("status == 'ok' and setting == ''")
    rows = rows.assign(other=[cell not in PAPERS[paper].methods for paper, cell in rows[["paper", "cell"]].to_numpy()])
    rows = rows.sort_values(["paper", "table", "dataset", "other"], kind="stable")
    return rows.assign(own=~rows["other"])


def all_rows(*, released: bool = False) -> pd.DataFrame:
    """Return the papers' numbers beside those of every grid, whatever became of ours; `released` as in `comparison`."""
    rows = every_row()
    return rows if released else rows[~rows["cell"].str.endswith(RELEASED)]


@cache
def every_row() -> pd.DataFrame:
    """Return the rows of `all_rows`, the released ones as well."""
    reported = read_reported(layout.REPORTED)
    rows = []
    for grid in GRIDS:
        summary, reports = read_table(grid, "summary"), grids.folder(grid) / layout.REPORTS
        placed = place(compare(summary, reported), sweeps()[grid])
        cells = {str(name): {*of["cell"]} for name, of in summary.groupby("dataset")}
        named = shares.compare(reports, cells, reported)
        both = pd.concat([with_released(placed, summary, reported), named])
        places = zip(both["dataset"], both["cell"], strict=True)
        rows.append(both.assign(grid=grid, borrows=[place in borrowing(grid) for place in places]))
    return pd.concat(rows)


@cache
def borrowing(grid: str) -> frozenset[tuple[str, str]]:
    """Return the data sets and cells of a grid whose network is not the one that their method reads by default."""
    params = config.load(grids.folder(grid) / layout.PARAMS)
    found = []
    for dataset in params.datasets:
        resolved = config.resolve(params, dataset)
        found += [
            (dataset, name)
            for name, cell in resolved.cells.items()
            if cell.network and resolved.networks[cell.network].uses != methods.describe(cell.method).default_network
        ]
    return frozenset(found)


@cache
def sweeps() -> dict[str, list[tuple[dict[str, Any], pd.DataFrame]]]:
    """Return the evaluated sweeps of every grid."""
    return {grid: read_sweeps(grids.folder(grid) / layout.REPORTS) for grid in GRIDS}


def ranks(grid: str) -> dict[str, pd.DataFrame]:
    """Return a grid's cells, best first, by data set; no data set without labels."""
    results = read_table(grid, "results")
    tables = {name: ranked(results, name) for name in results["dataset"].unique()}
    return {name: table for name, table in tables.items() if len(table)}


@cache
def contest() -> study.Contest:
    """Return the comparison of the cells of the grid of many methods."""
    return study.contest(ranks(CONTEST))


def gaps() -> pd.DataFrame:
    """Return the papers' numbers minus ours, but for methods that are not their papers' in full."""
    return every_gap()[~every_gap()["cell"].isin([*read_reduced()])].reset_index(drop=True)


@cache
def every_gap() -> pd.DataFrame:
    """Return the papers' numbers minus ours."""
    cells = {
        (grid, cell): method
        for grid in GRIDS
        for cell, method in read_table(grid, "summary")[["cell", "method"]].drop_duplicates().to_numpy()
    }
    return study.differences(judged(), all_rows().query("setting == ''"), cells, families(), by_grid())


@cache
def described() -> pd.DataFrame:
    """Return the papers' accuracies minus ours, with what study.yaml says of each."""
    facts = read_yaml(layout.STUDY)
    sizes = {name: sum(of) for name, of in read_yaml(layout.VERDICTS)["class_sizes"].items()}
    own = gaps().query("own and metric == 'acc'")[["grid", "dataset", "cell"]].itertuples(index=False, name=None)
    ours = {
        (grid, name, cell): trained(grid, name, cell, sizes[name], facts["pretrained"])
        for grid, name, cell in own
        if cell in facts["lengths"]
    }
    for grid in facts["pretrained"]:
        if all(has_run_again(*place) for place in ours if place[0] == grid):
            _log.warning("grid %s has run again: remove its entry under pretrained in reporting/study.yaml", grid)
    return study.described(gaps(), facts, ours, sizes)


def trained(grid: str, dataset: str, cell: str, n_samples: int, older: Mapping[str, Mapping[str, float]]) -> float:
    """Return the passes over the data behind a committed result: pretraining and, the mean over seeds, clustering.

    The length of a pretraining is in no record, and taken from params.yaml, or from `older` for a result that dvc.lock
    does not have.
    """
    folder = grids.folder(grid)
    records = [
        one
        for one in read_run(folder / layout.REPORTS / "runs" / dataset / f"{cell}.json")["seeds"].values()
        if one["status"] == "ok"
    ]
    name, batch = records[0]["network"], records[0]["settings"]["batch_size"]
    if has_run_again(grid, dataset, cell):
        network = config.resolve(config.load(folder / layout.PARAMS), dataset).networks[name].settings
        pretrained = study.passes(network["epochs"], n_samples, network["batch_size"])
    else:
        pretrained = older.get(grid, {}).get(name, float("nan"))
    return float(pretrained + sum(one["n_iter"] for one in records) / len(records) * batch / n_samples)


def has_run_again(grid: str, dataset: str, cell: str) -> bool:
    """Return whether dvc.lock has the cell: it is of the settings in params.yaml then, and of older ones if not."""
    return f"cluster@{dataset}-{cell}" in locked(grid)


@cache
def locked(grid: str) -> frozenset[str]:
    """Return the names of the stages in a grid's dvc.lock, none for a grid without one."""
    path = grids.folder(grid) / "dvc.lock"
    return frozenset(read_yaml(path)["stages"]) if path.exists() else frozenset()


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


def describe_grid(grid: str, reports: str) -> tuple[str, str, list[str], int, int, Mapping[str, int], str]:
    """Return a grid's name, its reports' page if any, data sets, numbers of cells, of current ones and of those trained
    in each precision, and its aim.
    """
    folder = grids.folder(grid)
    lines = (folder / layout.PARAMS).read_text(encoding="utf-8").splitlines()
    said = " ".join(line.removeprefix("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines))
    params = config.load(folder / layout.PARAMS)
    page = f"{reports}/README.md" if (folder / layout.REPORTS / "README.md").exists() else ""
    n_cells = len(params.datasets) * len(params.methods)
    runs = [
        folder / layout.REPORTS / "runs" / dataset / f"{cell}.json"
        for dataset in params.datasets
        for cell in params.methods
    ]
    records = [read_run(path)["seeds"] for path in runs if path.exists()]
    first = [next(iter(seeds.values())) for seeds in records]
    precisions = Counter(record["compute"]["precision"] for record in first if record.get("network"))
    aim = re.split(r"(?<=\.) (?=[A-Z])", said)[0]
    return grid, page, params.datasets, n_cells, len(current(grid)), dict(precisions.most_common()), aim


def describe(name: str) -> tuple[str, str, str, list[str]]:
    """Return a method's family and name, the first line of its docstring, and its inputs beside X."""
    cls = methods.describe(name)
    first = (inspect.getdoc(cls) or "").splitlines()[0]
    reads = ["graph"] * cls.reads_graph + [cls.default_network] * bool(cls.default_network)
    return methods.family(name), name, f"{first} ({cls.paper})", reads


if __name__ == "__main__":
    run_as_script(main, is_stage=False)
