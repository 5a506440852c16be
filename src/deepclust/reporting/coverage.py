"""Which published numbers have ours beside them, and why the others have none."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from deepclust.files import read_yaml

OURS = "with ours"
METHOD, DATA, METRIC = "method not built", "data not at hand", "metric of its own"
DID_NOT_FINISH, SWEEP, NOT_RUN = "did not finish", "sweep not run", "not run"
KINDS = (OURS, METHOD, DATA, METRIC, DID_NOT_FINISH, SWEEP, NOT_RUN)
_ONE = ["paper", "table", "dataset", "method_id", "metric"]  # what numbers share that are points of one sweep


@dataclass(frozen=True)
class Reason:
    """Why there is none of ours: a word for tables, and a sentence."""

    word: str
    reason: str


@dataclass(frozen=True)
class Absent:
    """The reasons of what is not built, not at hand or too long, by the names of `reported.csv`.

    `sweeps` is by method, `cells` by data set and method: DATASET/METHOD.
    """

    methods: Mapping[str, Reason] = field(default_factory=dict)
    datasets: Mapping[str, Reason] = field(default_factory=dict)
    metrics: Mapping[str, Reason] = field(default_factory=dict)
    sweeps: Mapping[str, Reason] = field(default_factory=dict)
    cells: Mapping[str, Reason] = field(default_factory=dict)

    def without(self, methods: Collection[str], datasets: Collection[str]) -> tuple["Absent", list[str]]:
        """Return the reasons but for methods and data sets that there are, and a line for each stale reason."""
        stale = [f"the method {name}" for name in self.methods if name in methods]
        stale += [f"the data set {name}" for name in self.datasets if name in datasets]
        left = replace(
            self,
            methods={name: reason for name, reason in self.methods.items() if name not in methods},
            datasets={name: reason for name, reason in self.datasets.items() if name not in datasets},
        )
        return left, [f"{what} is there now: remove its reason from reporting/absent.yaml" for what in stale]


def read_absent(path: Path | str) -> Absent:
    """Return the reasons in a file."""
    content = read_yaml(path)
    return Absent(**{kind: {name: Reason(**entry) for name, entry in of.items()} for kind, of in content.items()})


def coverage(
    reported: pd.DataFrame,
    comparison: pd.DataFrame,
    absent: Absent,
    commands: Mapping[tuple[str, str], str] | None = None,
) -> pd.DataFrame:
    """Return `reported`, one row per published number, with the columns kind, subject and reason.

    Parameters
    ----------
    comparison
        The result of `aggregate.compare` or `swept.place`, of one grid or of several one below the other.
    absent
        Why there is none of ours. A method without a reason counts as built.
    commands
        The command that runs a cell, by data set and cell: the result of `grids.commands`.

    Returns
    -------
    `kind` is one of `KINDS`: the first that holds, since a method that is not built has no numbers on any data.
    `subject` is the name of the method, data set or metric that is absent, else data set and cell. `reason` is the
    sentence of `absent`, what the run said, or the command; empty with ours beside the number.
    """
    of_ours = comparison.rename(columns={"cell": "method_id"})
    key = [*_ONE, "setting"]
    finished = set(of_ours.loc[of_ours["difference"].notna(), key].itertuples(index=False, name=None))
    broken = of_ours[of_ours["status"].isin(["failed", "skipped"])].set_index(key)["reason"].to_dict()
    swept = reported.duplicated(_ONE, keep=False)

    def explain(one: tuple[str, ...]) -> tuple[str, str, str]:
        _, _, dataset, cell, metric, setting = one
        where = f"{dataset}/{cell}"
        if one in finished:
            return OURS, where, ""
        for kind, name, reasons in (
            (METHOD, cell, absent.methods),
            (DATA, dataset, absent.datasets),
            (METRIC, metric, absent.metrics),
        ):
            if name in reasons:
                return kind, name, reasons[name].reason
        if one in broken:
            return DID_NOT_FINISH, where, broken[one]
        if setting:
            return (
                SWEEP,
                where,
                absent.sweeps[cell].reason if cell in absent.sweeps else "a sweep in a grid of your own",
            )
        if where in absent.cells:
            return NOT_RUN, where, absent.cells[where].reason
        return NOT_RUN, where, _command(dataset, cell, commands or {})

    numbers = reported[_ONE].assign(setting=reported["note"].where(swept, ""))
    explained = [explain(one) for one in numbers.itertuples(index=False, name=None)]
    columns = pd.DataFrame(explained, columns=["kind", "subject", "reason"], index=reported.index)
    return reported.join(columns)


def _command(dataset: str, cell: str, commands: Mapping[tuple[str, str], str]) -> str:
    """Return what runs a cell on a data set: a grid that has both, or one with the cell, once it has the data set."""
    if (dataset, cell) in commands:
        return commands[dataset, cell]
    found = next((command for (_, name), command in commands.items() if name == cell), "")
    return f"{found}, with {dataset} among its data sets" if found else "an entry in a grid of your own"


def counts(covered: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of each kind by paper, in the papers' order; the columns are the `KINDS` that occur."""
    table = pd.crosstab(covered["paper"], covered["kind"])
    return table.reindex(index=covered["paper"].unique(), columns=[kind for kind in KINDS if kind in table])


def lines(covered: pd.DataFrame) -> list[str]:
    """Return the numbers of each kind as text, one line for all papers and one for each."""
    table = counts(covered)
    said = [f"{table[OURS].sum() if OURS in table else 0} of {len(covered)} published numbers have ours beside them"]
    for paper, row in table.iterrows():
        said.append(f"    {paper}: " + ", ".join(f"{n} {kind}" for kind, n in row.items() if n))
    return said
