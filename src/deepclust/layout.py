"""Places of the files of a grid: one name for each, relative to the grid's folder, in which every stage runs.

The default grid's folder is the project's root; the folder of another grid is `grids/NAME`.
"""

from pathlib import Path

PARAMS = Path("params.yaml")
CELLS = Path("cells.yaml")  # the table of cells and of their inputs: written by `plan`
DIGESTS = Path("data/digests")  # digests of the user's own files
REPORTS = Path("reports")
PROJECT = Path(__file__).parents[2]  # the root, from wherever a stage runs
DOWNLOADS = PROJECT / "work/downloads"  # shared by all grids
STAGES = PROJECT / "stages"
GRIDS = PROJECT / "grids"
REPORTED = Path(__file__).with_name("reporting") / "reported.csv"  # all numbers that the papers print
VERDICTS = REPORTED.with_name("verdicts.yaml")  # what is said about the papers' own numbers
STUDY = REPORTED.with_name("study.yaml")  # facts about published numbers, beside their differences from ours
ABSENT = REPORTED.with_name("absent.yaml")  # why a published number has none of ours beside it


def plan(dataset: str, stage: str, name: str = "") -> Path:
    """Return the file of a unit's plan: the settings, and the digest of the code that the stage runs."""
    return Path("data/plan", dataset, stage, f"{name}.json") if name else Path("data/plan", dataset, f"{stage}.json")


def raw(dataset: str) -> Path:
    """Return the folder of the published files, or of the user's own."""
    return Path("data/raw", dataset)


def prepared(dataset: str) -> Path:
    """Return the folder of X.npy, y.npy, edges.npz, samples.txt and meta.json."""
    return Path("data/prepared", dataset)


def graph(dataset: str) -> Path:
    """Return the folder of the nearest-neighbour graph."""
    return Path("data/graph", dataset)


def network(dataset: str, name: str) -> Path:
    """Return the folder of a pretrained network, which has a folder `seed-S` for each seed."""
    return Path("data/pretrained", dataset, name)


def run(dataset: str, cell: str) -> Path:
    """Return the folder of a cell's results, which has a folder `seed-S` for each seed."""
    return Path("data/runs", dataset, cell)


def sweep(dataset: str, name: str) -> Path:
    """Return the folder of a sweep's results, which has a folder for each point."""
    return Path("data/sweeps", dataset, name)


def work(stage: str, dataset: str, name: str) -> Path:
    """Return the folder of a unit's finished seeds and checkpoints, which outlive a killed run."""
    return Path("work", stage, dataset, name)
