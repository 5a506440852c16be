"""Sweeps of a grid: their results, and their points beside the points that a paper prints."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from deepclust.errors import UserError
from deepclust.files import read_json
from deepclust.reporting.aggregate import summarise
from deepclust.reporting.papers import PAPERS

_OURS = ["reproduced", "std", "difference", "n", "failed", "status", "reason"]


def read_sweeps(root: Path | str) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Return each evaluated sweep of a grid's reports: its entry in the index, and the rows of its `results.csv`.

    Raises UserError for a table whose last rows are missing.
    """
    found = []
    for sweep in read_json(Path(root, "sweeps/index.json")):
        if (path := Path(root, "sweeps", sweep["name"], "results.csv")).exists():
            whole = path.read_bytes().endswith(b"\n")
            rows = pd.read_csv(path, dtype={"reason": str}).fillna({"reason": ""}) if whole else pd.DataFrame()
            if not whole or rows.groupby("point").size().nunique() > 1:
                raise UserError(f"{path} is cut short: its points have unlike numbers of rows; git can restore it")
            found.append((sweep, rows))
    return found


def place(comparison: pd.DataFrame, sweeps: Iterable[tuple[Mapping[str, Any], pd.DataFrame]]) -> pd.DataFrame:
    """Return the result of `aggregate.compare` with ours beside the points of the papers' sweeps.

    A paper's point has its settings in `setting`, as `lambda_unif=0.02 lambda_cmpt=0.1`. Ours is the point of the first
    sweep that varies these settings and no other, of this cell on this data set, with values that print alike.
    """
    placed = comparison.copy()
    wanted = {
        (row["dataset"], row["cell"], frozenset(row["setting"].split()), PAPERS[row["paper"]].metric(row["metric"])): i
        for i, row in zip(comparison.index, comparison.to_dict("records"), strict=True)
        if row["setting"]
    }
    for sweep, results in sweeps:
        ours = summarise(results.assign(dataset=sweep["dataset"], cell=results["point"], method=sweep["cell"]))
        for one in ours.to_dict("records"):
            where = (sweep["dataset"], sweep["cell"], frozenset(one["cell"].split(",")), one["metric"])
            if (at := wanted.pop(where, None)) is None:  # not printed, or an earlier sweep has it
                continue
            value = 100 * one["mean"]
            difference = value - placed.at[at, "reported"]
            counted = [one[name] for name in ("n", "failed", "status", "reason")]
            placed.loc[at, _OURS] = [value, 100 * one["std"], difference, *counted]
    return placed
