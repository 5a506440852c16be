"""Questions to all committed results at once: who wins, how far ours are from the papers', and what that goes with.

Intervals are percentiles of a bootstrap with fixed draws, so that the same results give the same page. Accuracies and
differences are in percent and points.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2, nan
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from deepclust.errors import UserError
from deepclust.reporting import ranking, verdicts
from deepclust.reporting.papers import PAPERS

DRAWS = 4000
LEVEL = 0.05
OWN, TRAINED, UNTRAINED = "own", "trained baselines", "untrained baselines"
FEW = 5  # the fewest clusters of numbers that have an interval: with four a percentile is one of the four

Seeds = Sequence[Sequence[Sequence[float]]]  # data set -> cell -> values of its seeds


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its interval at `LEVEL`; the ends are NaN where there are too few to tell."""

    value: float
    low: float = nan
    high: float = nan

    @classmethod
    def of(cls, value: float, draws: np.ndarray) -> "Interval":
        known = draws[np.isfinite(draws)]
        if not known.size:
            return cls(value)
        low, high = np.percentile(known, [50 * LEVEL, 100 - 50 * LEVEL])
        return cls(value, float(low), float(high))

    @property
    def has_zero(self) -> bool:
        """Whether 0 cannot be told from the number: it is in the interval, or there is none."""
        return not (self.low > 0 or self.high < 0)


# ------------------------------------------------------------------------------------------------------------ who wins


@dataclass(frozen=True)
class Contest:
    """The cells that finished on every data set, against each other.

    Attributes
    ----------
    table
        The result of `ranking.across` with the column `method`.
    behind
        The points of mean ACC that each cell but the first is behind the first.
    ahead
        The share of draws in which a row's cell is ahead of a column's; a tie is half a draw.
    pairs, clear, told, told_by_rank
        The number of pairs; of those whose interval is without 0; of those told apart on the mean over these data sets
        from the seeds alone, by Welch's test, p after Holm below `LEVEL`; of those whose mean ranks differ by more than
        `critical`, Nemenyi's critical difference.
    friedman
        The p of Friedman's test.
    """

    datasets: tuple[str, ...]
    table: pd.DataFrame
    behind: Mapping[str, Interval]
    ahead: pd.DataFrame
    pairs: int
    clear: int
    told: int
    told_by_rank: int
    critical: float
    friedman: float

    @property
    def least_p(self) -> float:
        """The least p of a test of signs, or of Wilcoxon's signed ranks, on as many data sets."""
        return float(2 / 2 ** len(self.datasets))

    @property
    def enough(self) -> int:
        """The data sets from which on such a test can tell one pair of as many apart, after Holm."""
        return ceil(log2(2 * self.pairs / LEVEL))

    @property
    def width(self) -> float:
        """The width of a percentile interval of a mean of so many data sets, by that of Student's t."""
        n = len(self.datasets)
        return float(stats.norm.isf(LEVEL / 2) * ((n - 1) / n) ** 0.5 / stats.t.isf(LEVEL / 2, n - 1))


def contest(by_dataset: Mapping[str, pd.DataFrame]) -> Contest:
    """Return the comparison of the cells that finished on every data set, from the result of `ranking.ranked` for each.

    Raises
    ------
    UserError
        If fewer than three cells finished on every data set.
    """
    table = ranking.across(list(by_dataset.values()))
    if len(table) < 3:
        raise UserError(f"fewer than three cells finished on each of {', '.join(by_dataset)}: nothing to compare")
    seeds = [list(found.loc[table.index, "values"]) for found in by_dataset.values()]
    means = 100 * np.array([[np.mean(of_cell) for of_cell in of_dataset] for of_dataset in seeds])
    draws = 100 * resampled(seeds)
    first, second = np.triu_indices(len(table), 1)
    apart = [
        Interval.of(means[:, a].mean() - means[:, b].mean(), draws[:, a] - draws[:, b])
        for a, b in zip(first, second, strict=True)
    ]
    critical = critical_difference(*means.shape)
    rank = table["rank"].to_numpy()
    between = draws[:, :, None] - draws[:, None]
    methods = next(iter(by_dataset.values()))["method"]
    return Contest(
        datasets=tuple(by_dataset),
        table=table.assign(method=methods),
        behind=dict(zip(table.index[1:], apart, strict=False)),  # the first pairs are the first cell's
        ahead=pd.DataFrame(((between > 0) + (between == 0) / 2).mean(axis=0), table.index, table.index),
        pairs=len(apart),
        clear=sum(not one.has_zero for one in apart),
        told=int((holm(welch(seeds)[first, second]) < LEVEL).sum()),
        told_by_rank=int((np.abs(rank[first] - rank[second]) > critical).sum()),
        critical=critical,
        friedman=float(stats.friedmanchisquare(*means.T).pvalue),
    )


@dataclass(frozen=True)
class Seen:
    """The cells on one data set: how many, with how many seeds, and which of them seeds alone tell apart."""

    best: str
    level: tuple[str, ...]  # not told apart from the best
    cells: int
    seeds: str
    pairs: int
    told: int  # pairs, by Welch's test after Holm
    disjoint: int  # pairs, by `ranking.told_apart`


def seen(table: pd.DataFrame) -> Seen:
    """Return what the seeds of one data set tell, from the result of `ranking.ranked`."""
    values = list(table["values"])
    first, second = np.triu_indices(len(table), 1)
    told = holm(welch([values])[first, second]) < LEVEL
    counts = sorted({int(table["n"].min()), int(table["n"].max())})
    return Seen(
        best=str(table.index[0]),
        level=tuple(table.index[1:][~told[: len(table) - 1]]),
        cells=len(table),
        seeds=" to ".join(map(str, counts)),
        pairs=len(first),
        told=int(told.sum()),
        disjoint=int(ranking.told_apart(values)[first, second].sum()),
    )


def resampled(seeds: Seeds) -> np.ndarray:
    """Return a hierarchical bootstrap of the mean over data sets, (`DRAWS`, M).

    A draw has as many data sets as there are, with replacement and the same for all cells; each of them has as many
    seeds as the cell has there, with replacement, and apart from the other cells'.
    """
    rng = np.random.default_rng(0)
    total = np.zeros((DRAWS, len(seeds[0])))
    for _ in seeds:
        chosen = rng.integers(len(seeds), size=DRAWS)
        for dataset, cells in enumerate(seeds):
            rows = np.flatnonzero(chosen == dataset)
            for cell, values in enumerate(cells):
                drawn = rng.integers(len(values), size=(len(rows), len(values)))
                total[rows, cell] += np.asarray(values)[drawn].mean(axis=1)
    return total / len(seeds)


def welch(seeds: Seeds) -> np.ndarray:
    """Return the two-sided p of Welch's t-test between the cells' means over the data sets, from seeds alone: (M, M).

    The data sets are fixed: the variance of a cell's mean is the sum of those over its data sets, with Satterthwaite's
    degrees of freedom. Cells without any variance differ with p = 0, or are equal with p = 1. A cell of one seed has a
    variance that nobody knows, and p = 1.
    """

    def each(of: Any) -> np.ndarray:
        return np.array([[of(values) for values in cells] for cells in seeds], float)

    n = each(len)
    error = each(lambda values: np.var(values, ddof=1) if len(values) > 1 else nan) / n
    mean, variance = each(np.mean).sum(axis=0), error.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = (error**2 / (n - 1)).sum(axis=0)
        both = variance[:, None] + variance
        difference = np.abs(mean[:, None] - mean)
        p = 2 * stats.t.sf(difference / np.sqrt(both), both**2 / (loss[:, None] + loss))
    p = np.where(both == 0, np.where(difference > 1e-12, 0.0, 1.0), p)
    return np.nan_to_num(p, nan=1.0)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number by Holm (1979)."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def critical_difference(n_datasets: int, n_cells: int) -> float:
    """Return Nemenyi's critical difference of mean ranks at `LEVEL` (Demsar 2006, Section 3.2.2)."""
    q = stats.studentized_range.isf(LEVEL, n_cells, np.inf) / 2**0.5
    return float(q * (n_cells * (n_cells + 1) / (6 * n_datasets)) ** 0.5)


# -------------------------------------------------------------------------------------------- reported minus reproduced


def differences(
    judged: pd.DataFrame,
    rows: pd.DataFrame,
    methods: Mapping[tuple[str, str], str],
    families: Mapping[str, str],
    current: Mapping[str, Container[tuple[str, str]]] | None = None,
) -> pd.DataFrame:
    """Return each published number that has ours beside it, once: paper, dataset, cell, metric, gap, own, family.

    `gap` is reported minus ours, in points. Where a paper prints a method twice, the first table counts. Ours are, for
    the paper's own methods, those of the verdicts, and for a baseline those `in_one_grid`. A paper's ablations are left
    out.

    Parameters
    ----------
    judged
        The result of `verdicts.judge`.
    rows
        The results of `aggregate.compare` below each other, each with its `grid` and whether the cell `borrows` another
        network than its method's own, in the order of preference; no sweeps.
    methods, families
        The method of a cell by grid and cell, and the family of a method.
    current
        The data sets and cells of each grid whose results are of the code, settings and data as they are; None: all.
    """
    found: list[dict[str, Any]] = []
    judged = judged[judged["verdict"] != verdicts.NOT_RUN]
    for row in judged.to_dict("records"):
        printed = next(iter(row["reported"].values()))
        found += [
            {
                **{key: row[key] for key in ("paper", "dataset", "grid", "n")},
                "cell": row["cell"],
                "metric": metric,
                "gap": value - row["ours"][metric],
                "reported": value,
                "own": True,
                "family": families[row["method"]],
            }
            for metric, value in printed.items()
        ]
    rows = rows[rows["metric"].isin(verdicts.METRICS) & rows["difference"].notna()]
    rows = rows.assign(chosen=in_one_grid(rows, judged, current))
    for (paper, _, cell), of_grids in rows.groupby(["paper", "dataset", "cell"], sort=False):
        part = of_grids[of_grids["chosen"]]
        table, grid = part[["table", "grid"]].iloc[0]
        method = methods[grid, str(cell)]
        if method in PAPERS[str(paper)].methods:
            continue
        found += [
            {
                **{key: row[key] for key in ("paper", "dataset", "grid", "n", "cell", "metric", "reported")},
                "gap": -row["difference"],
                "own": False,
                "family": families[method],
            }
            for row in part[part["table"] == table].to_dict("records")
        ]
    table = pd.DataFrame(found)
    order = [list(PAPERS).index(paper) for paper in table["paper"]]
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def in_one_grid(
    rows: pd.DataFrame, judged: pd.DataFrame, current: Mapping[str, Container[tuple[str, str]]] | None = None
) -> np.ndarray:
    """Return which rows have the grid that stands for their method on a data set of a paper, (R,) bool.

    The grid is that of the verdict on this paper and data set, if it has the method and the result is `current`. Else
    grids come first that have the method on its own network, then those with `ranking.SEEDS` seeds, then those of a
    current result, then the verdict's, then the first of the others. No score chooses. The arguments are as in
    `differences`.
    """
    preferred = {(row["paper"], row["dataset"]): row["grid"] for row in judged.to_dict("records") if row["grid"]}
    chosen = {}
    for (paper, dataset, cell), part in rows.groupby(["paper", "dataset", "cell"], sort=False):
        seeds = part.groupby("grid", sort=False)["n"].max()
        borrowing = set(part.loc[part["borrows"], "grid"])
        place = str(dataset), str(cell).partition("/")[0]
        order = []
        for grid, n in seeds.items():
            is_other = grid != preferred.get((paper, dataset))
            is_older = current is not None and place not in current[str(grid)]
            order.append((is_other or is_older, grid in borrowing, n < ranking.SEEDS, is_older, is_other))
        chosen[paper, dataset, cell] = seeds.index[order.index(min(order))]
    places = zip(rows["paper"], rows["dataset"], rows["cell"], strict=True)
    return np.array([chosen[place] == grid for place, grid in zip(places, rows["grid"], strict=True)], dtype=bool)


def described(
    gaps: pd.DataFrame, facts: Mapping[str, Any], ours: Mapping[tuple[str, str, str], float], sizes: Mapping[str, int]
) -> pd.DataFrame:
    """Return the accuracies of `differences` with what study.yaml knows: network, augmented, code, chosen, longer.

    `code` is what an own method's released code lets labels do, empty for baselines. `chosen` says that the paper kept
    the best result by labels.
    `longer` is how many times ours the length of a paper's own method is, in passes over the data, pretraining and
    clustering together; NaN where one of the two is not known. `ours` has our passes by grid, data set and cell,
    `sizes` the samples of a data set.

    Raises
    ------
    UserError
        If a method is under no network.
    """
    kinds = {cell: kind for kind, cells in facts["networks"].items() for cell in cells}
    if unknown := sorted(set(gaps["cell"]) - set(kinds)):
        raise UserError(
            f"reporting/study.yaml does not say which network {', '.join(unknown)} has; add it under networks"
        )
    rows = gaps[gaps["metric"] == "acc"]
    by_paper, codes = (
        facts["chosen_by_labels"],
        {cell: of for of, cells in facts["released_code"].items() for cell in cells},
    )
    pairs = list(zip(rows["paper"], rows["cell"], rows["dataset"], strict=True))
    return rows.assign(
        network=[facts["networks_on"].get(cell, {}).get(dataset, kinds[cell]) for _, cell, dataset in pairs],
        augmented=rows["cell"].isin(facts["augmented"]),
        code=rows["cell"].map(codes).where(rows["own"], "").fillna(""),
        longer=[
            sum(passes(of, sizes[dataset]) for of in facts["lengths"][cell].values())
            / ours.get((grid, dataset, cell), nan)
            if own and cell in facts["lengths"] and dataset in sizes
            else nan
            for own, grid, (_, cell, dataset) in zip(rows["own"], rows["grid"], pairs, strict=True)
        ],
        chosen=[paper in by_paper and cell in by_paper[paper].get("methods", [cell]) for paper, cell, _ in pairs],
    )


def passes(length: int | str, n_samples: int, batch_size: int = 256) -> float:
    """Return a length, epochs or `N iterations`, in passes over the data."""
    return int(length.split()[0]) * batch_size / n_samples if isinstance(length, str) else float(length)


def medians(rows: pd.DataFrame, groups: Mapping[str, np.ndarray]) -> tuple[dict[str, Interval], np.ndarray]:
    """Return the median gap of each group of rows with its interval, and the draws behind it, (`DRAWS`, groups).

    A method on a data set is drawn with all its numbers, in whatever papers, since they share our result and are often
    copied from each other. `groups` has masks. A group of fewer than `FEW` methods on a data set has no interval.
    """
    value, groups = rows["gap"].to_numpy(float), dict(groups)
    cluster = rows.groupby(["cell", "dataset"], sort=False).ngroup().to_numpy()
    n_clusters = int(cluster.max()) + 1
    weight = np.random.default_rng(0).multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), DRAWS)[:, cluster]
    draws = np.full((DRAWS, len(groups)), nan)
    found = {}
    for place, (name, inside) in enumerate(groups.items()):
        if len(np.unique(cluster[inside])) >= FEW:
            draws[:, place] = weighted_medians(value[inside], weight[:, inside])
        middle = float(np.median(value[inside])) if inside.any() else nan
        found[name] = Interval.of(middle, draws[:, place])
    return found, draws


def weighted_medians(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the median of N values, each as often as `counts` (B, N) says, (B,); NaN where all counts are 0."""
    order = np.argsort(values, kind="stable")
    ordered, reached = values[order], counts[:, order].cumsum(axis=1)
    total = reached[:, -1:]
    low, high = ((reached >= rank).argmax(axis=1) for rank in ((total + 1) // 2, total // 2 + 1))
    return np.where(total[:, 0] > 0, (ordered[low] + ordered[high]) / 2, nan)


def whose(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return masks of the rows of `described`: own methods, baselines that are trained, and baselines that are not."""
    own, trained = rows["own"].to_numpy(bool), (rows["network"] != "none").to_numpy()
    return {OWN: own, TRAINED: ~own & trained, UNTRAINED: ~own & ~trained}


@dataclass(frozen=True)
class Pairs:
    """How much larger the own methods' gap is within a paper and a data set: the median, and p by signed ranks."""

    larger: int
    n: int
    median: Interval
    p: float


def own_against(rows: pd.DataFrame, others: np.ndarray) -> Pairs:
    """Return the median gap of own methods minus that of `others`, a mask of the rows of `described`.

    A pair is a paper and a data set that have both. The interval of the median is a bootstrap over pairs; fewer than
    `FEW` have none.
    """
    place = ["paper", "dataset"]
    own, other = (rows[mask].groupby(place)["gap"].median() for mask in (rows["own"].to_numpy(bool), others))
    between = (own - other).dropna().to_numpy()
    drawn = np.random.default_rng(0).integers(len(between), size=(DRAWS, len(between)))
    draws = np.median(between[drawn], axis=1) if len(between) >= FEW else np.empty(0)
    return Pairs(
        larger=int((between > 0).sum()),
        n=len(between),
        median=Interval.of(float(np.median(between)), draws),
        p=float(stats.wilcoxon(between).pvalue),
    )
