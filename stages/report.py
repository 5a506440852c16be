"""Collect the grid's metrics into results.csv, tables beside the published numbers, figures and pages.

The stage also says how many of the published numbers have the grid's beside them, and why others have none. In the
pipeline every cell is evaluated before. `deepclust report GRID` runs the stage at any time: cells that wait for their
evaluation are named on the pages and are in no table.
"""

import logging
from collections.abc import Iterable
from typing import Any

from deepclust import layout, methods
from deepclust.errors import UserError
from deepclust.files import read_yaml, write_text
from deepclust.integrity import intact
from deepclust.reporting import aggregate, coverage, figures, html, readme, shares, swept, tables, verdicts
from deepclust.reporting.finished import Grid
from deepclust.script import run_as_script

import pandas as pd

_log = logging.getLogger("deepclust.report")


def main() -> None:
    root, grid = layout.REPORTS, read_yaml(layout.CELLS)
    intact(*(file for name in ("scores", "runs", "traces", "sweeps") for file in (root / name).rglob("*.*")))
    cells, waiting = evaluated([(cell["dataset"], cell["cell"]) for cell in grid["cells"].values()])
    results = pd.concat([aggregate.read_results(root, [name], of) for name, of in cells.items()], ignore_index=True)
    datasets, names = list(cells), list(dict.fromkeys(cell["cell"] for cell in grid["cells"].values()))
    summary = aggregate.summarise(results)
    reported = aggregate.read_reported(layout.REPORTED)
    sweeps = swept.read_sweeps(root)
    comparison = swept.place(aggregate.compare(summary, reported), sweeps)
    comparison = pd.concat([comparison, shares.compare(root, cells, reported)], ignore_index=True)
    absent, _ = coverage.read_absent(layout.ABSENT).without(names, grid["data_sets"])
    covered = coverage.coverage(reported, comparison, absent)
    for line in coverage.lines(covered):
        _log.info("%s", line)
    aggregate.write_csv(root / "results.csv", results)
    aggregate.write_csv(root / "summary.csv", summary, digits=10)  # pages round it once more

    reduced = tables.read_reduced()
    by_dataset = {name: tables.dataset_table(name, summary, comparison, reduced) for name in datasets}
    doubted = verdicts.impossible(reported, read_yaml(layout.VERDICTS)["class_sizes"])
    with_released = tables.with_released(comparison, summary, reported)
    by_paper = tables.paper_tables(with_released, absent, sweeps, reduced, doubted)
    for stem, parts in ({name: [table] for name, table in by_dataset.items()} | by_paper).items():
        tables.write(parts, root / "tables" / stem)
    captions = {dataset: draw(dataset, summary, reported) for dataset in datasets}
    drawn = {
        dataset: {cell: aggregate.read_run(root / "runs" / dataset / f"{cell}.json")["figures"] for cell in of}
        for dataset, of in cells.items()
    }
    ranges, sweep_captions = of_sweeps(sweeps)
    block = readme.sweeps_block(ranges, sweep_captions) if ranges else ""
    page = readme.index(grid["name"], summary, by_dataset, by_paper, captions, drawn, block, results, waiting)
    write_text(root / "README.md", page)
    # the page draws accuracies itself, with every seed
    shown = {name: {k: v for k, v in of.items() if k != f"figures/accuracy_{name}"} for name, of in captions.items()}
    families = {name: methods.family(name) for name in methods.names()}
    page = html.page(
        grid["name"],
        root,
        results,
        summary,
        by_dataset,
        by_paper,
        shown,
        ranges,
        sweep_captions,
        families=families,
        covered=covered,
        waiting=waiting,
    )
    write_text(root / "index.html", page)


def evaluated(asked: Iterable[tuple[str, str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the cells that have scores by their data set, and the others as lines for people, `DATASET: CELL, CELL`.

    Raises
    ------
    UserError
        If no cell has scores.
    """
    scores = layout.REPORTS / "scores"
    found: dict[str, list[str]] = {}
    waiting: dict[str, list[str]] = {}
    for dataset, cell in asked:
        there = (scores / dataset / f"{cell}.json").exists()
        (found if there else waiting).setdefault(dataset, []).append(cell)
    if not found:
        raise UserError(f"{scores} has no scores of this grid's cells; run the grid first")
    return found, [f"{dataset}: {', '.join(cells)}" for dataset, cells in waiting.items()]


def draw(dataset: str, summary: pd.DataFrame, reported: pd.DataFrame) -> dict[str, str]:
    """Draw the figures of a data set and of each method on it; return the figures' captions by their stems."""
    captions: dict[str, str] = {}
    for method in (None, *summary["method"].unique()):
        run = Grid(dataset, layout.REPORTS / "traces" / dataset, summary, reported, method)
        drawn = figures.draw("grid", run, layout.REPORTS / "figures", layout.REPORTS / "files/figures")
        captions |= {
            f"figures/{stem}": figure.CAPTION.format(dataset=dataset, method=method) for stem, figure in drawn.items()
        }
    return captions


def of_sweeps(
    sweeps: list[tuple[dict[str, Any], pd.DataFrame]],
) -> tuple[tables.Table | None, dict[str, str]]:
    """Return the table of the evaluated sweeps (None without any), and the captions of their figures by stem."""
    if not sweeps:
        return None, {}
    results = {sweep["name"]: found for sweep, found in sweeps}
    stems = {
        f"sweeps/{name}/{stem}": f"`{name}`: {figure.CAPTION}"
        for name in results
        for stem, figure in figures.of("sweep")
    }
    shown = {stem: text for stem, text in stems.items() if (layout.REPORTS / f"{stem}.png").exists()}
    return readme.sweeps_table([sweep for sweep, _ in sweeps], results), shown


if __name__ == "__main__":
    run_as_script(main)
