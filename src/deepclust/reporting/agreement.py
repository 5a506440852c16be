"""Whether scores that were computed anew agree with earlier ones, by what the seeds differ among themselves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from statistics import fmean, stdev

from deepclust.reporting.ranking import SEEDS, told_apart
from deepclust.reporting.tables import spread

Scores = Mapping[str, Mapping[str, float]]  # seed -> metric -> value, as `scores/DS/CELL.json` has them for a row

BEYOND, NONE, FEW, WITHIN, ALIKE, SAME = (
    "beyond the seeds",
    "no finished seed",
    "too few seeds to tell",
    "within the seeds",
    "within 0.05 points",
    "the same",
)
VERDICTS = (BEYOND, NONE, FEW, WITHIN, ALIKE, SAME)  # the most urgent first
RULE = (
    "beyond the seeds: in ACC, NMI or ARI (without labels: silhouette or modularity) every seed of one is above every "
    f"seed of the other, of {SEEDS} seeds or more each"
)
_JUDGED = (("acc", "nmi", "ari"), ("silhouette", "modularity"))  # the latter where there are no labels
_ALIKE = 5e-4  # a fraction: half of the last digit that tables print


@dataclass(frozen=True)
class Agreement:
    """How one row's scores agree: one of `VERDICTS`, and the metric in which the means differ most, before and now.

    `before` and `now` are texts for people, mean ± std over n seeds in percent, with `metric` empty where nothing was
    compared.
    """

    verdict: str
    metric: str = ""
    before: str = ""
    now: str = ""


def agreement(before: Scores, now: Scores) -> Agreement:
    """Return how a row's scores agree with earlier ones of the same row.

    Scores are the same if every seed has every metric to the last digit, and within 0.05 points if every seed's ACC,
    NMI and ARI are (without labels: silhouette and modularity, times 100). Else the seeds decide, by `RULE`: they need
    not be the same ones, nor as many. A metric that a seed lacks, being undefined for it, is not compared.
    """
    if before == now:
        return Agreement(SAME)
    labelled = any("acc" in metrics for metrics in now.values())
    found = {
        name: [[metrics[name] for metrics in side.values() if name in metrics] for side in (before, now)]
        for name in _JUDGED[not labelled]
    }
    sides = {name: both for name, both in found.items() if all(both)}
    if not sides:
        return Agreement(NONE)
    gaps = {name: abs(fmean(old) - fmean(new)) for name, (old, new) in sides.items()}
    apart = [name for name, both in sides.items() if told_apart(both)[0, 1]]
    shown = max(apart or gaps, key=gaps.__getitem__)
    if before.keys() == now.keys() and all(_alike(before[seed], now[seed], sides) for seed in now):
        verdict, shown = ALIKE, max(gaps, key=gaps.__getitem__)
    elif apart:
        verdict = BEYOND
    else:
        verdict = FEW if min(map(len, sides[shown])) < SEEDS else WITHIN
    return Agreement(verdict, shown, *map(_text, sides[shown]))


def _alike(old: Mapping[str, float], new: Mapping[str, float], names: Iterable[str]) -> bool:
    """Return whether a seed's metrics of these names are, and those that it has differ by less than `_ALIKE`."""
    pairs = [(old.get(name, inf), new.get(name, inf)) for name in names]
    return all(a == b or abs(a - b) < _ALIKE for a, b in pairs)


def _text(values: list[float]) -> str:
    deviation = stdev(values) if len(values) > 1 else float("nan")
    return f"{spread(100 * fmean(values), 100 * deviation)} ({len(values)})"
