"""The blocks and pictures of docs/study.md: what `study` computes, in sentences that follow the numbers."""

from collections.abc import Mapping
from math import isnan

import numpy as np
import pandas as pd
from scipy import stats

from deepclust.reporting import charts, verdicts
from deepclust.reporting.markup import markdown_grid
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.study import (
    FEW,
    LEVEL,
    OWN,
    TRAINED,
    UNTRAINED,
    Contest,
    Interval,
    Pairs,
    Seen,
    medians,
    own_against,
    whose,
)
from deepclust.reporting.tables import HEADINGS, number

_TOP = 5  # cells of the table of pairs
_LONGER = 10  # times our length: where the two groups of lengths part
_STYLES = {OWN: 1, TRAINED: 0, UNTRAINED: 2}


def said(found: Interval, *, signed: bool = True, unit: str = "") -> str:
    """Return a text such as `+3.2 [-1.0, +7.4]`, without the brackets where there is no interval."""
    if isnan(found.low):
        return f"{number(found.value, signed=signed)}{unit}"
    low, high = (number(end, signed=signed) for end in (found.low, found.high))
    return f"{number(found.value, signed=signed)}{unit} [{low}, {high}]"


def wins_figure(found: Contest, families: Mapping[str, str]) -> str:
    """Return the picture (SVG) of how far each cell is behind the first."""
    styles = charts.styles(families)
    whole = {found.table.index[0]: Interval(0.0)} | dict(found.behind)
    rows = [
        (
            f"{number(row['rank'])} {cell}",
            styles[row["method"]],
            whole[cell].value,
            whole[cell].low,
            whole[cell].high,
            said(whole[cell], signed=False) if cell in found.behind else "first",
        )
        for cell, row in found.table.to_dict("index").items()
    ]
    title = f"Points of ACC behind {found.table.index[0]}, mean of {len(found.datasets)} data sets"
    return charts.intervals(
        {"mean rank, cell": rows}, title, "bootstrap, 95%; mark: family", "points of ACC behind the first"
    )


def wins_block(found: Contest, within: Mapping[tuple[str, str], Seen], picture: str) -> str:
    """Return the picture with its finding, what can be told on which unit, and what seeds tell on each data set."""
    first, behind = found.table.index[0], found.behind
    unclear = [f"`{cell}`" for cell, by in behind.items() if by.has_zero]
    nearest = min(behind, key=lambda cell: behind[cell].value)
    lead = number(behind[nearest].value)
    n, pairs, top = len(found.datasets), found.pairs, list(found.table.index[:_TOP])
    told = (
        f"The lead over {', '.join(unclear)} is not told from 0" if unclear else "No interval of its lead has 0 in it"
    )
    friedman = "finds" if found.friedman < LEVEL else "does not find"
    few = {0: "no two methods are", 1: "one pair of methods is"}
    pass_ = few.get(found.told_by_rank, f"{found.told_by_rank} pairs of methods are")
    bullets = [
        f"- **To other data sets, {pass_} told apart.** The unit is the data set, and there are {n}. Wilcoxon's signed "
        f"ranks, or signs, cannot go below p = {found.least_p:g}, whatever the results; with Holm's correction for "
        f"{pairs} pairs it takes {found.enough} data sets to tell one. Friedman's test {friedman} that some methods "
        f"differ (p = {found.friedman:.2g}); Nemenyi's critical difference is {number(found.critical)} mean ranks of "
        f"at most {len(behind)}, and {found.told_by_rank} of {pairs} pairs pass it.",
        f"- **A bootstrap over data sets and seeds describes, and does not decide.** {found.clear} of {pairs} pairs "
        f"have an interval without 0, but percentiles of {n} data sets are too narrow, in theory {found.width:.0%} of "
        "Student's width, and nothing corrects them for the number of pairs.",
        f"- **On these {n} data sets, for other seeds**, {found.told} of {pairs} pairs differ in mean ACC (Welch's "
        "test from the spread of seeds, data sets fixed, p after Holm).",
    ]
    shares = [
        [f"`{row}`", *(number(100 * found.ahead.loc[row, cell], decimals=0) if row != cell else "" for cell in top)]
        for row in top
    ]
    lines = [
        [
            f"{dataset} (`{grid}`)",
            str(one.cells),
            one.seeds,
            f"`{one.best}`",
            ", ".join(f"`{cell}`" for cell in one.level) if len(one.level) < 4 else f"{len(one.level)} cells",
            f"{one.told} of {one.pairs}",
            str(one.disjoint),
        ]
        for (grid, dataset), one in within.items()
    ]
    heads = ["data set", "cells", "seeds", "best", "not told from it", "pairs told", "disjoint"]
    return "\n\n".join(
        [
            f"![How far each method is behind the first]({picture})",
            f"**`{first}` has the best mean rank over {', '.join(found.datasets)}, and is {lead} points of mean "
            f"ACC ahead of `{nearest}`, the nearest. {told}.**",
            "\n".join(bullets),
            f"Draws of 100 in which the row's cell is ahead of the column's (the first {_TOP}):",
            markdown_grid(["ahead", *(f"`{cell}`" for cell in top)], shares, numeric=True),
            "On one data set, from its seeds alone:",
            markdown_grid(heads, lines),
        ]
    )


def gaps_figure(rows: pd.DataFrame) -> str:
    """Return the picture (SVG) of the gaps of `study.described`, by paper, own methods and baselines apart."""
    groups: dict[str, list[tuple[str, int, Mapping[str, float]]]] = {}
    short = {name: name.removesuffix(" baselines") for name in _STYLES}
    for paper in rows["paper"].unique():
        for name, mask in whose(rows).items():
            values = {
                f"{row['cell']} on {row['dataset']}: {number(row['reported'])} reported": float(row["gap"])
                for row in rows[mask & (rows["paper"] == paper).to_numpy()].to_dict("records")
            }
            if values:
                line = (short[name], _STYLES[name], values)
                groups.setdefault(PAPERS[paper].title, []).append(line)
    keys: list[tuple[int | str, str]] = [*((style, short[name]) for name, style in _STYLES.items()), ("mean", "median")]
    title = "Reported minus ours, points of ACC: a mark a number"
    return charts.strips(groups, title, keys, "points of ACC, reported minus ours")


def gaps_block(gaps: pd.DataFrame, rows: pd.DataFrame, picture: str, left_out: Mapping[str, int] | None = None) -> str:
    """Return the picture with its finding, and medians by paper, by family and by data set.

    `gaps` is the result of `study.differences`, `rows` that of `study.described`. `left_out` has the number of
    published numbers beside ours that are of methods which are not their papers' in full.
    """
    groups = whose(rows)
    found, _ = medians(rows, groups)
    middles = {name: f"{said(found[name])} for {name} (n = {mask.sum()})" for name, mask in groups.items()}
    planned, fairer = own_against(rows, ~groups[OWN]), own_against(rows, groups[TRAINED])
    agreed = {fairer.p < LEVEL, not fairer.median.has_zero}
    further = "further above" if fairer.median.value > 0 else "less far above"
    are = "are" if agreed == {True} else "seem to be"
    finding = f"Papers {are} {further} ours with their own methods than with trained baselines"
    if agreed == {False}:
        finding = "How far papers are above ours does not tell their own methods from trained baselines"
    once = (rows["n"] == 1).to_numpy()
    lines = []
    for key, heading in (("paper", "by paper"), ("family", "by family"), ("dataset", "by data set")):
        lines.append([f"**{heading}**", *[""] * (1 + len(verdicts.METRICS))])
        of = {metric: gaps[gaps["metric"] == metric] for metric in verdicts.METRICS}
        names = list(gaps[key].unique()) if key == "paper" else sorted(gaps[key].unique())
        by_metric = {
            metric: medians(part, {name: (part[key] == name).to_numpy() for name in names})[0]
            for metric, part in of.items()
        }
        for name in names:
            counts = {metric: (part[key] == name).sum() for metric, part in of.items()}
            own = of["acc"].loc[of["acc"][key] == name, "own"].sum()
            shown = {"paper": lambda name: PAPERS[name].title, "family": "`{}`".format}.get(key, str)(name)
            numbers = [
                said(one[name]) + (f" ({counts[metric]})" if counts[metric] and isnan(one[name].low) else "")
                for metric, one in by_metric.items()
            ]
            lines.append([shown, f"{counts['acc']}, {own}", *numbers])
    heads = ["median gap", "n, own", *(HEADINGS[metric] for metric in verdicts.METRICS)]
    return "\n\n".join(
        [
            f"![Reported minus ours, by paper]({picture})",
            f"**{finding}: the median gap is {said(found[OWN])} points of ACC for own methods (n = "
            f"{groups[OWN].sum()}), {middles[TRAINED]}, and {middles[UNTRAINED]}.**",
            f"Within a paper and a data set, the own method's gap is larger than that of the trained baselines in "
            f"{_pairs(fairer)}. Against all baselines, the one comparison that was planned, it is larger in "
            f"{_pairs(planned)}; but an untrained baseline has neither a network nor a length that could differ from "
            "the paper's. Pairs that share a data set are not independent, so that all of this is surer than it should "
            "be. "
            f"A single seed of ours is behind {(once & ~groups[OWN]).sum()} of the baselines' {(~groups[OWN]).sum()} "
            f"numbers and {(once & groups[OWN]).sum()} of the own methods'.",
            "A median without an interval has its count of numbers in brackets, because fewer than "
            f"{FEW} methods on data sets are behind it.",
            markdown_grid(heads, lines, numeric=True),
            *([_left_out(left_out)] if left_out else []),
        ]
    )


def _pairs(found: Pairs) -> str:
    return (
        f"{found.larger} of {found.n} pairs, by {said(found.median)} points in the median (signed ranks: "
        f"p = {found.p:.2g})"
    )


def _left_out(numbers: Mapping[str, int]) -> str:
    said = ", ".join(f"`{cell}` ({n})" for cell, n in numbers.items())
    return (
        f"Left out of all gaps are {sum(numbers.values())} numbers of methods that are reduced here, or told the "
        f"number of clusters, because ours are not of the same method: {said}."
    )


def _factors(rows: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Return masks of the rows by heading and name: each thing to compare, own methods and baselines apart."""
    own, network = rows["own"].to_numpy(bool), rows["network"].to_numpy()
    longer, trained = rows["longer"].to_numpy(float), network != "none"

    def split(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        sides = {"own": own, "baselines": ~own}
        return {f"{name}, {of}": part & of_whom for name, part in parts.items() for of, of_whom in sides.items()}

    chosen, augmented = (rows[name].to_numpy(bool) for name in ("chosen", "augmented"))
    kinds = {name: network == name for name in ("none", "fully connected", "convolutional")}
    return {
        "whose": whose(rows),
        "the paper kept the best by labels": split({"yes": chosen, "no word of it": ~chosen}),
        "labels in the released code, own methods": {
            name: (rows["code"] == name).to_numpy() for name in ("may choose", "choose nothing", "no code")
        },
        "network of the paper": split(kinds),
        "trained on augmented images": split({"yes": augmented & trained, "no": ~augmented & trained}),
        "training, theirs by ours, own methods": {
            f"up to {_LONGER} times": longer <= _LONGER,
            f"over {_LONGER} times": longer > _LONGER,
        },
    }


def factors_figure(rows: pd.DataFrame) -> str:
    """Return the picture (SVG) of median gaps by what they may go with; `rows` is the result of `study.described`."""
    groups = {}
    for heading, masks in _factors(rows).items():
        found, _ = medians(rows, masks)
        groups[heading] = [
            (
                name,
                _STYLES[UNTRAINED if name == UNTRAINED else TRAINED if name.endswith("baselines") else OWN],
                one.value,
                one.low,
                one.high,
                f"{number(one.value, signed=True)}, n {masks[name].sum()} ({rows['cell'][masks[name]].nunique()})",
            )
            for name, one in found.items()
            if masks[name].any()
        ]
    title = "Median of reported minus ours, and what it goes with"
    return charts.intervals(groups, title, "bootstrap, 95%; n (methods)", "points of ACC, reported minus ours")


def factors_block(rows: pd.DataFrame, picture: str) -> str:
    """Return the picture with its finding, and a sentence on each thing that the gaps may go with."""
    sides, kept, codes, networks, augmented, _ = _factors(rows).values()
    told: list[str] = []

    def between(name: str, one: np.ndarray, other: np.ndarray) -> str:
        """Return the difference of two medians with its interval, and what stands against reading much into it."""
        if not (one.any() and other.any()):
            return "nothing to compare"
        found, draws = medians(rows, {"one": one, "other": other})
        difference = Interval.of(found["one"].value - found["other"].value, draws[:, 0] - draws[:, 1])
        if not difference.has_zero:
            told.append(name)
        judged = (
            "too few for an interval" if isnan(difference.low) else "not told from 0" if difference.has_zero else ""
        )
        notes = [f"n = {one.sum()} and {other.sum()}", *([judged] if judged else [])]
        for column, what in (("paper", "paper"), ("cell", "method")):
            if rows[column][one].nunique() == 1:
                notes.append(f"the first are all of one {what}, from which they cannot be told")
                break
        return f"{said(difference)} ({'; '.join(notes)})"

    def pair(name: str, of: Mapping[str, np.ndarray], one: str, other: str) -> str:
        return between(name, of[one], of[other])

    by_paper = rows["paper"][rows["chosen"]].map(lambda paper: PAPERS[paper].title).value_counts()
    bullets = [
        f"- **The best kept by labels**, so says the paper of {rows['chosen'].sum()} of {len(rows)} numbers ("
        f"{', '.join(f'{n} in {name}' for name, n in by_paper.items())}), against no word of it: among baselines "
        f"{pair('the best kept, among baselines', kept, 'yes, baselines', 'no word of it, baselines')}, among own "
        f"methods {pair('the best kept, among own methods', kept, 'yes, own', 'no word of it, own')}.",
        "- **Labels in the released code**: own methods whose code may let labels choose, against the other own "
        f"methods {between('labels in the code', codes['may choose'], sides[OWN] & ~codes['may choose'])}.",
        "- **Network**: among baselines fully connected against none "
        f"{pair('a network, among baselines', networks, 'fully connected, baselines', 'none, baselines')}, "
        "convolutional against none "
        f"{pair('convolutional networks, among baselines', networks, 'convolutional, baselines', 'none, baselines')}, "
        "among own methods convolutional against fully connected "
        f"{pair('convolutional networks, among own methods', networks, 'convolutional, own', 'fully connected, own')}.",
        "- **Augmented images**, with against without: among own methods "
        f"{pair('augmentation, among own methods', augmented, 'yes, own', 'no, own')}, among baselines "
        f"{pair('augmentation, among baselines', augmented, 'yes, baselines', 'no, baselines')}.",
        f"- **Length of training**: {_length(rows)}",
    ]
    others = (
        f"of what is compared below, these are told from 0: {'; '.join(told)}"
        if told
        else "nothing below is told from 0"
    )
    apart = between("whose", sides[OWN], sides[TRAINED])
    return "\n\n".join(
        [
            f"![Median gaps, and what they go with]({picture})",
            f"**Median gaps of own methods and of trained baselines differ by {apart} points; {others}.**",
            "\n".join(bullets),
        ]
    )


def _length(rows: pd.DataFrame) -> str:
    """Return a sentence on the own methods whose length is known, theirs and ours."""
    known = rows[np.isfinite(rows["longer"])]
    if len(known) < FEW:
        return f"theirs and ours are both known of {len(known)} results, too few to tell."
    found = _rank_correlation(known["gap"].to_numpy(), known["longer"].to_numpy())
    value, low, high = (number(part, signed=True, decimals=2) for part in (found.value, found.low, found.high))
    return (
        f"theirs and ours are both known of {len(known)} own results of {known['cell'].nunique()} methods, theirs "
        f"{number(known['longer'].min())} to {number(known['longer'].max())} times ours; Spearman's correlation of "
        f"this with the gap is {value} [{low}, {high}]{', not told from 0' if found.has_zero else ''}."
    )


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> Interval:
    """Return Spearman's correlation with its bootstrap interval over pairs."""
    drawn = np.random.default_rng(0).integers(len(x), size=(1000, len(x)))
    ranks = [stats.rankdata(values[drawn], axis=1) for values in (x, y)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    with np.errstate(invalid="ignore"):
        products = (centred[0] * centred[1]).sum(axis=1)
        draws = products / np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    return Interval.of(float(stats.spearmanr(x, y).statistic), draws)
