"""Judgements on the papers' numbers: each own number reached or not, and triples of figures that cannot be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepclust.errors import UserError
from deepclust.files import read_yaml
from deepclust.reporting.papers import PAPERS

METRICS = ("acc", "nmi", "ari")  # those that a verdict is about
REACHED, NEAR = 1.0, 5.0  # points below the reported number
NOT_RUN = "not run"
LEAST_ACCURACY = 70.0  # percent; below, the bound for clusters of any size was not held to a numerical minimum
NEARLY_BALANCED = 1.005  # K times the sum of squared class shares: 1 for equal classes, 1.0029 for MNIST

# Points of ARI that `least_ari` may be too high for a nearly balanced data set. The first part is for unequal classes:
# a numerical minimum over tables with the class sizes of MNIST, or of its test split, is less than 0.26 below the bound
# where clusters have the sizes of the classes, less than 1.1 where they may have any. The second is for figures printed
# to one decimal: 0.05 for the ARI, and 0.05 of ACC at a slope of at most 3.1, up to 20 classes.
TOLERANCE = {True: 0.26 + 0.21, False: 1.1 + 0.21}  # by `equal_clusters`

Own = tuple[str, str, str]  # paper, method, data set


@dataclass(frozen=True)
class Judgement:
    """The verdict on one of a paper's own numbers, and its reason.

    Attributes
    ----------
    cause
        One sentence: why ours and the paper's agree or differ, or why there is none of ours.
    evidence
        Files of the project, with or without a #heading, that show the cause.
    ours
        The committed result: a grid, or `GRID/CELL` where the cell's name is not the method's. Empty: not run.
    """

    cause: str
    evidence: tuple[str, ...]
    ours: str = ""

    def place(self, method: str) -> tuple[str, str]:
        """Return the grid and the cell of our result."""
        grid, _, cell = self.ours.partition("/")
        return grid, cell or method


def own_numbers(reported: pd.DataFrame) -> pd.DataFrame:
    """Return the published numbers that a verdict is about: the papers' own methods, without sweeps."""
    own = [method in PAPERS[paper].methods for paper, method in reported[["paper", "method_id"]].to_numpy()]
    rows = reported[pd.Series(own, reported.index) & reported["metric"].isin(METRICS)]
    return rows[~rows.duplicated(["paper", "table", "dataset", "method_id", "metric"], keep=False)]


def read_judgements(path: Path | str, reported: pd.DataFrame) -> dict[Own, Judgement]:
    """Return the judgement on every own cell (paper, method, data set), in the order of PAPERS and `reported`.

    Raises
    ------
    UserError
        If a cell of `own_numbers(reported)` has no entry, or an entry names no such cell.
    """
    entries = {
        (paper, method, dataset): Judgement(**{**entry, "evidence": tuple(entry["evidence"])})
        for paper, by_method in read_yaml(path)["verdicts"].items()
        for method, by_dataset in by_method.items()
        for dataset, entry in by_dataset.items()
    }
    numbers = own_numbers(reported)
    cells = list(numbers[["paper", "method_id", "dataset"]].drop_duplicates().itertuples(index=False, name=None))
    for name, wrong in {"has no entry for": set(cells) - set(entries), "has stale": set(entries) - set(cells)}.items():
        if wrong:
            listed = ", ".join("/".join(cell) for cell in sorted(wrong))
            raise UserError(f"{path} {name} {listed}; its entries are the papers' own cells in reported.csv")
    return {cell: entries[cell] for cell in sorted(cells, key=lambda cell: list(PAPERS).index(cell[0]))}


def verdict(differences: Sequence[float]) -> str:
    """Return the verdict from ours minus reported, in points, of every metric that the paper reports.

    The metric in which ours is worst decides: `exceeded` if it is more than one point above the paper's, `reached` if
    at most one below, `near` if at most five below, else `not reached`.
    """
    worst = min(differences)
    if worst > REACHED:
        return "exceeded"
    return "reached" if worst >= -REACHED else "near" if worst >= -NEAR else "not reached"


def judge(
    reported: pd.DataFrame, judgements: Mapping[Own, Judgement], summaries: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return one row per own cell: paper, method, dataset, reported, ours, std, n, grid, verdict, cause, evidence.

    `reported` holds the numbers by metric for each of the paper's tables, `ours` and `std` ours by metric; all in
    percent, our NMI by the paper's normaliser. A cell is judged by the first table that prints it.

    Raises
    ------
    UserError
        If a judgement names a grid or a cell without a finished seed, or none although a grid of `summaries` has one.
    """
    numbers = own_numbers(reported)
    rows = []
    for (paper, method, dataset), found in judgements.items():
        printed = numbers[
            (numbers["paper"] == paper) & (numbers["method_id"] == method) & (numbers["dataset"] == dataset)
        ]
        tables = {
            str(table): dict(zip(part["metric"], part["value"], strict=True))
            for table, part in printed.groupby("table", sort=False)
        }
        ours, std, n = dict[str, float](), dict[str, float](), 0
        grid, cell = found.place(method)
        if found.ours:
            finished = _finished(summaries.get(grid), dataset, cell)
            if finished is None:
                raise UserError(
                    f"verdicts.yaml names {found.ours} for {paper}/{method}/{dataset}, which has no finished seed"
                )
            rows_of = finished.loc[[PAPERS[paper].metric(metric) for metric in METRICS]]
            ours = dict(zip(METRICS, 100 * rows_of["mean"], strict=True))
            std = dict(zip(METRICS, 100 * rows_of["std"], strict=True))
            n = int(rows_of["n"].iloc[0])
        elif there := [name for name, summary in summaries.items() if _finished(summary, dataset, method) is not None]:
            raise UserError(
                f"verdicts.yaml names no result of {paper}/{method}/{dataset}, but {', '.join(there)} has one: name it "
                "under `ours`, and write its cause"
            )
        first = next(iter(tables.values()))
        rows.append(
            {
                "paper": paper,
                "method": method,
                "dataset": dataset,
                "reported": tables,
                "ours": ours,
                "std": std,
                "n": n,
                "grid": grid,
                "cell": cell,
                "verdict": verdict([ours[m] - first[m] for m in first]) if found.ours else NOT_RUN,
                "cause": found.cause,
                "evidence": found.evidence,
            }
        )
    return pd.DataFrame(rows)


def least_ari(accuracy: float, n_clusters: int, *, equal_clusters: bool = True) -> float:
    r"""Return the least adjusted Rand index that K classes of equal size allow at an accuracy `a`; all in [0, 1].

    With the shares n_ij of samples in class i and cluster j, S the sum of n_ij squared, P and Q the sums of the
    squared shares of classes and clusters,

        ARI = (S - P Q) / ((P + Q) / 2 - P Q),     P = 1/K,

    for many samples (for N samples the index is lower by about (1 - ARI) K / N).

    - Clusters of equal size: Q = 1/K, and S is least where a/K is in every diagonal place and the errors are spread
      evenly over the others, so that ARI >= (a² + (1-a)²/(K-1) - 1/K) / (1 - 1/K). Errors at fewer places raise it.
    - Clusters of any size (`equal_clusters=False`): the index is least where one cluster takes the errors of all other
      classes, (1-a)/(K-1) of each. Found by numerical minimisation for a >= 0.7, and tested by it.

    Valid for balanced classes only; `impossible` says what it allows for classes that are nearly so.
    """
    a, k = accuracy, n_clusters
    if equal_clusters:
        return (a**2 + (1 - a) ** 2 / (k - 1) - 1 / k) / (1 - 1 / k)
    error = (1 - a) / (k - 1)  # of each class but one
    own = (1 / k - error) ** 2 * (k - 1)
    s, p, q = 1 / k**2 + own + error**2 * (k - 1), 1 / k, (1 / k + 1 - a) ** 2 + own
    return (s - p * q) / ((p + q) / 2 - p * q)


def is_nearly_balanced(class_sizes: Sequence[int]) -> bool:
    """Return whether K times the sum of the squared shares of the classes is at most `NEARLY_BALANCED`."""
    shares = np.array(class_sizes) / sum(class_sizes)
    return bool(len(shares) * (shares**2).sum() <= NEARLY_BALANCED)


def impossible(reported: pd.DataFrame, class_sizes: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """Return the published rows whose ARI is below what their ACC allows, on nearly balanced data.

    Columns: paper, table, dataset, method, acc, ari, `least` and `least_any`, the bounds of `least_ari` in percent for
    clusters of equal and of any size, and `sizes`: `any` if no cluster sizes help, `equal` if only equal ones are
    excluded. A row is below a bound if it is so by more than what the bound is too high for so few samples, and
    `TOLERANCE`, which covers MNIST's classes and rounding. `class_sizes` has the number of samples of each class, by
    data set; data sets that are not in it are not judged, nor rows of an ACC below `LEAST_ACCURACY`.
    """
    balanced = {name: sizes for name, sizes in class_sizes.items() if is_nearly_balanced(sizes)}
    rows = reported[reported["metric"].isin(["acc", "ari"]) & reported["dataset"].isin(list(balanced))]
    keys = ["paper", "table", "dataset", "method"]
    pairs = rows.pivot_table(index=keys, columns="metric", values="value", sort=False).dropna().reset_index()
    found: list[dict[Any, Any]] = []
    for row in pairs[pairs["acc"] >= LEAST_ACCURACY].to_dict("records"):
        sizes = balanced[row["dataset"]]
        k = len(sizes)
        least = {equal: 100 * least_ari(row["acc"] / 100, k, equal_clusters=equal) for equal in (True, False)}
        few = {equal: (100 - bound) * k / sum(sizes) for equal, bound in least.items()}
        below = {equal: row["ari"] < least[equal] - few[equal] - TOLERANCE[equal] for equal in least}
        if any(below.values()):
            excluded = "any" if below[False] else "equal"
            found.append({**row, "least": least[True], "least_any": least[False], "sizes": excluded})
    return pd.DataFrame(found, columns=[*keys, "acc", "ari", "least", "least_any", "sizes"])


def _finished(summary: pd.DataFrame | None, dataset: str, cell: str) -> pd.DataFrame | None:
    """Return the rows of a finished cell by metric, or None."""
    if summary is None:
        return None
    rows = summary[(summary["dataset"] == dataset) & (summary["cell"] == cell) & (summary["status"] == "ok")]
    return rows.set_index("metric") if len(rows) else None
