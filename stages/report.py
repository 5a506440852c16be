"""Collect the grid's metrics into results.csv, tables beside the published numbers, figures and pages of them all."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from deepclust import layout
from deepclust.files import read_json, read_yaml, write_text
from deepclust.reporting import aggregate, figures, html, readme, tables
from deepclust.script import run_as_script

import pandas as pd

SWEEP_FIGURES = {
    "acc": "ACC",
    "nmi": "NMI",
    "half_steps": "objective after every half-step",
    "scale_and_rank": "scale and effective rank of the code",
    "gaps": "duality gap of the Z-step against the iterations allowed",
}


def main() -> None:
    table = read_yaml(layout.CELLS)
    grid, datasets = table["name"], table["data_sets"]
    cells = list(dict.fromkeys(entry["cell"] for entry in table["cells"].values()))
    root = layout.REPORTS
    results = aggregate.read_results(root, datasets, cells)
    summary = aggregate.summarise(results)
    reported = aggregate.read_reported(layout.REPORTED)
    comparison = aggregate.compare(summary, reported)
    for name, frame in (("results", results), ("summary", summary)):
        write_text(root / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n", float_format="%.6g"))

    by_dataset = {name: tables.dataset_table(name, summary, comparison) for name in datasets}
    by_paper = tables.paper_tables(comparison)
    for stem, parts in ({name: [table] for name, table in by_dataset.items()} | by_paper).items():
        tables.write(parts, root / "tables" / stem)
    captions = draw(root, summary, reported)
    drawn = {
        dataset: {cell: aggregate.read_run(root / "runs" / dataset / f"{cell}.json")["figures"] for cell in cells}
        for dataset in datasets
    }
    swept, sweep_captions = of_sweeps(root, read_json(root / "sweeps/index.json"))
    block = readme.sweeps_block(swept, sweep_captions) if swept else ""
    write_text(root / "README.md", readme.index(grid, summary, by_dataset, by_paper, captions, drawn, block))
    page = html.page(grid, root, results, summary, by_dataset, by_paper, captions, swept, sweep_captions)
    write_text(root / "index.html", page)


def of_sweeps(root: Path, sweeps: list[dict[str, Any]]) -> tuple[tables.Table | None, dict[str, str]]:
    """Return the table of the sweeps, None where there are none, and the captions of their figures by stem."""
    if not sweeps:
        return None, {}
    names = [sweep["name"] for sweep in sweeps]
    results = {name: pd.read_csv(root / "sweeps" / name / "results.csv") for name in names}
    return readme.sweeps_table(sweeps, results), present(root, "sweeps", names, SWEEP_FIGURES)


def present(root: Path, folder: str, names: list[str], figures: dict[str, str]) -> dict[str, str]:
    """Return the captions of the figures that exist under `folder/NAME`, by their stems."""
    stems = {f"{folder}/{name}/{figure}": f"`{name}`: {text}" for name in names for figure, text in figures.items()}
    return {stem: caption for stem, caption in stems.items() if (root / f"{stem}.png").exists()}


def draw(root: Path, summary: pd.DataFrame, reported: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Draw each data set's accuracies and alternating methods; return the figures' captions by their stems."""
    captions: dict[str, dict[str, str]] = defaultdict(dict)
    for dataset in summary["dataset"].unique():
        if not aggregate.is_unlabelled(summary, dataset):
            stem = f"figures/accuracy_{dataset}"
            figures.save(figures.accuracy_bars(summary, reported, dataset), root / stem)
            captions[dataset][stem] = f"Accuracy on {dataset}, ours and as reported"
        for method, traces in half_step_traces(root / "traces" / dataset, summary).items():
            stem = f"figures/half_steps_{method}_{dataset}"
            figures.save(figures.half_steps(traces, f"variants of {method} on {dataset}"), root / stem)
            captions[dataset][stem] = f"Variants of `{method}` on {dataset}: objective after every half-step"
    return captions


def half_step_traces(folder: Path, summary: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """Return by method and cell the traces of methods that alternate, where more than one cell uses the method."""
    found: dict[str, dict[str, pd.DataFrame]] = defaultdict(dict)
    for cell, method in summary[["cell", "method"]].drop_duplicates().itertuples(index=False):
        path = folder / f"{cell}.csv"
        if path.exists() and set(trace := pd.read_csv(path)) >= figures.HALF_STEPS:
            found[method][cell] = trace
    return {method: traces for method, traces in found.items() if len(traces) > 1}


if __name__ == "__main__":
    run_as_script(main)
