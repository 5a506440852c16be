"""Which cells of a grid are best, and how sure that is: ranks by mean ACC, and which differences seeds tell."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

SEEDS = 3  # the fewest that tell anything: of two, one is above the other in one case of two
RULE = (
    "Cells are ranked by their mean ACC over finished seeds. Two are told apart where every seed of one is better than "
    f"every seed of the other, and each has {SEEDS} seeds or more. Without any difference that happens by chance to "
    "one pair in 10 with three seeds each, to one in 126 with five. If the seeds of one cell all end alike, it happens "
    "more often: to one pair in 4 with three seeds, to one in 16 with five. Nothing is corrected for the number of "
    "pairs. Read-outs, other labels of the same fit, have no rank."
)


def told_apart(values: Sequence[Sequence[float]]) -> np.ndarray:
    """Return whether each two of M cells are told apart by the values of their seeds: (M, M) bool.

    Two cells are where the ranges of their values are disjoint and each has at least `SEEDS` values.
    """
    low, high = (np.array([bound(of_cell) for of_cell in values]) for bound in (min, max))
    enough = np.array([len(of_cell) >= SEEDS for of_cell in values])
    above = low[:, None] > high
    apart: np.ndarray = (above | above.T) & enough & enough[:, None]
    return apart


def ranked(results: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the cells with a finished seed on a data set, best first; none where it has no labels.

    `results` is the result of `aggregate.read_results`. The index is the cell. Columns: method, mean, std (ddof 1), n,
    values (the list of the seeds' ACC, fractions), and `level`: not told apart from the best.
    """
    rows = results[(results["dataset"] == dataset) & (results["metric"] == "acc") & results["value"].notna()]
    rows = rows[~rows["cell"].str.contains("/")]
    table = rows.groupby("cell", sort=False).agg(
        method=("method", "first"),
        mean=("value", "mean"),
        std=("value", "std"),
        n=("value", "size"),
        values=("value", list),
    )
    table = table.sort_values("mean", ascending=False, kind="stable")
    return table.assign(level=~told_apart(list(table["values"]))[0] if len(table) else [])


def said_of(table: pd.DataFrame) -> str:
    """Return the sentence on what is told apart from the best of `ranked`; empty where there is no other cell."""
    level = list(table.index[1:][table["level"].iloc[1:].to_numpy(bool)])
    if len(table) < 2:
        return ""
    if table["n"].iloc[0] < SEEDS:
        return f"With fewer than {SEEDS} seeds nothing is told apart from it."
    if len(level) == len(table) - 1:
        return "No other is told apart from it."
    return f"Not told apart from it: {', '.join(level)}." if level else "Every other is told apart from it."


def across(by_dataset: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the cells that finished on every data set, by their mean rank.

    `by_dataset` holds the result of `ranked` for each. The index is the cell. Columns: `rank`, the mean over data sets
    of the rank among these cells; `won`, `level` and `lost`, comparisons with each other cell on each data set: told
    apart and better, not told apart, told apart and worse.
    """
    shared = [cell for cell in by_dataset[0].index if all(cell in table.index for table in by_dataset)]
    found = pd.DataFrame(0.0, index=pd.Index(shared, name="cell"), columns=["rank", "won", "level", "lost"])
    for table in by_dataset if shared else []:
        part = table.loc[shared]
        mean, apart = part["mean"].to_numpy(), told_apart(list(part["values"]))
        found["rank"] += part["mean"].rank(ascending=False)
        found["won"] += (apart & (mean[:, None] > mean)).sum(axis=1)
        found["lost"] += (apart & (mean[:, None] < mean)).sum(axis=1)
        found["level"] += (~apart).sum(axis=1) - 1  # itself
    found["rank"] /= len(by_dataset)  # once, so that equal sums stay equal
    counts = found.astype({"won": int, "level": int, "lost": int})
    return counts.sort_values(["rank", "won"], ascending=[True, False], kind="stable")
