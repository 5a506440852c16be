"""Collect the grid's metrics into results.csv, tables beside the published numbers, figures and a page of them all."""

from collections import defaultdict
from pathlib import Path

import pandas as pd

from deepclust.errors import run_as_script
from deepclust.files import read_yaml, write_text
from deepclust.reporting import aggregate, figures, readme, tables

CELL_FIGURES = {"tsne": "t-SNE of the embedding", "confusion": "confusion matrix", "curves": "training curves"}


def main() -> None:
    params = read_yaml("params.yaml")
    cells = [cell for group in params["methods"].values() for cell in group]
    root = Path("reports") / params["grid"]
    results = aggregate.read_results(root, params["datasets"], cells)
    summary = aggregate.summarise(results)
    reported = aggregate.read_reported("data/reported/reported_results.csv")
    comparison = aggregate.compare(summary, reported)
    for name, frame in (("results", results), ("summary", summary)):
        write_text(root / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n", float_format="%.6g"))

    by_dataset = {name: tables.dataset_table(name, summary, comparison) for name in params["datasets"]}
    by_paper = tables.paper_tables(comparison)
    for stem, parts in ({name: [table] for name, table in by_dataset.items()} | by_paper).items():
        tables.write(parts, root / "tables" / stem)
    captions = draw(root, summary, reported, cells)
    write_text(root / "README.md", readme.index(params["grid"], summary, by_dataset, by_paper, captions))


def draw(root: Path, summary: pd.DataFrame, reported: pd.DataFrame, cells: list[str]) -> dict[str, dict[str, str]]:
    """Draw each data set's accuracies; return the captions of these figures and of the cells' own, by their stems."""
    captions: dict[str, dict[str, str]] = defaultdict(dict)
    for dataset in summary["dataset"].unique():
        stem = f"figures/accuracy_{dataset}"
        figures.save(figures.accuracy_bars(summary, reported, dataset), root / stem)
        captions[dataset][stem] = f"Accuracy on {dataset}, ours and as reported"
        for cell in cells:
            for figure, caption in CELL_FIGURES.items():
                if (root / f"cells/{dataset}/{cell}/{figure}.png").exists():
                    captions[dataset][f"cells/{dataset}/{cell}/{figure}"] = f"`{cell}`: {caption}"
    return captions


if __name__ == "__main__":
    run_as_script(main)
