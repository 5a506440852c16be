"""Result tables, one per data set and one per table of a paper, as Markdown, LaTeX (booktabs) and tidy CSV."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepclust import files
from deepclust.errors import UserError
from deepclust.metrics import EXTERNAL, INTERNAL
from deepclust.reporting.aggregate import NOT_RUN, compare, is_unlabelled, write_csv
from deepclust.reporting.coverage import Absent, Reason
from deepclust.reporting.markup import markdown_grid
from deepclust.reporting.papers import PAPERS

HEADINGS = {"acc": "ACC", "nmi": "NMI", "nmi_max": "NMI (max)", "ari": "ARI", "purity": "Purity"}
OURS = (
    "final epoch, mean ± std (ddof 1) over n finished seeds, percent; labels train nothing and choose no run or epoch"
)

Evaluated = tuple[Mapping[str, Any], pd.DataFrame]  # a sweep in the index, and the rows of its results.csv

RELEASED = "_released"  # ends the name of a cell that is a method as its authors' program has it
_REDUCED = Path(__file__).with_name("reduced.yaml")
_DASH, _MINUS, _UNDER = "\N{EM DASH}", "\N{MINUS SIGN}", "\N{DOWNWARDS ARROW WITH TIP RIGHTWARDS} "
INTERNAL_HEADINGS = {
    "silhouette": "Silhouette",
    "davies_bouldin": "Davies-Bouldin (less is better)",
    "modularity": "Modularity",
    "stability": "Stability",
}
CRITERIA_HEADINGS = {  # of a choice of K, for which Calinski-Harabasz was made
    "silhouette": INTERNAL_HEADINGS["silhouette"],
    "calinski_harabasz": "Calinski-Harabasz",
    "davies_bouldin": INTERNAL_HEADINGS["davies_bouldin"],
    "modularity": INTERNAL_HEADINGS["modularity"],
    "stability": INTERNAL_HEADINGS["stability"],
}
UNDEFINED = "A seed for which a metric is not defined, as for a single cluster, counts in n and not in that mean."
_UNLABELLED = (
    "This data set has no labels. ACC, NMI, ARI and purity need them and are absent, as are confusion matrices. "
    "Silhouette (of at most 5,000 samples) and Davies-Bouldin look at the samples as the methods were given them, "
    "modularity at their nearest-neighbour graph; stability is the mean ARI of one seed's clusters with the others'. "
    "They measure shape: a high one does not make clusters true. Final epoch, mean ± std (ddof 1) over n finished "
    f"seeds. {UNDEFINED} {_DASH}: not defined for any."
)
_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    _DASH: "---",
    _MINUS: "$-$",
    _UNDER[0]: r"\quad",
}


@dataclass(frozen=True)
class Entry:
    """One entry of a table: a text, the run record that it links to (`DS/CELL.json`), a footnote."""

    text: str = ""
    link: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table ready to print. `groups` are (heading, width) pairs over `columns`, or empty; `data` is the tidy form."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    data: pd.DataFrame
    groups: Sequence[tuple[str, int]] = field(default=())

    @property
    def footnotes(self) -> list[str]:
        """The distinct footnotes in order of appearance; a footnote's number is its position, from 1."""
        return list(dict.fromkeys(entry.note for entry in itertools.chain(*self.rows) if entry.note))

    def markdown(self, runs: str = "../runs") -> str:
        """Return title, caption, table and footnotes as GitHub Markdown; links to run records start with `runs`."""
        notes = self.footnotes

        def show(entry: Entry) -> str:
            text = markdown_text(entry.text)
            text = f"[{text}]({runs}/{entry.link})" if entry.link else text
            return f"{text}<sup>{notes.index(entry.note) + 1}</sup>" if entry.note else text

        over = [heading for heading, width in self.groups for _ in range(width)] or [""] * len(self.columns)
        heads = [f"{group} {column}".strip() for group, column in zip(over, self.columns, strict=True)]
        body = markdown_grid(heads, ([show(entry) for entry in row] for row in self.rows), numeric=True)
        below = "\n".join(f"<sup>{i}</sup> {markdown_text(note)}<br>" for i, note in enumerate(notes, 1))
        parts = [f"## {markdown_text(self.title)}", markdown_text(self.caption), body, below]
        return "\n\n".join(filter(None, parts)) + "\n"

    def latex(self) -> str:
        r"""Return a `table` float; the document needs `\usepackage{booktabs}` and nothing else."""
        notes = self.footnotes

        def show(entry: Entry) -> str:
            mark = rf"\textsuperscript{{{notes.index(entry.note) + 1}}}" if entry.note else ""
            return _latex(entry.text) + mark

        head, start = [], 1
        if self.groups:
            head.append(" & ".join(rf"\multicolumn{{{width}}}{{c}}{{{_latex(name)}}}" for name, width in self.groups))
            head[0] += r" \\"
            for name, width in self.groups:
                if name:
                    head.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
                start += width
        head.append(" & ".join(map(_latex, self.columns)) + r" \\")
        wide = len(self.columns) > 8
        lines = [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{_latex(f'{self.title}. {self.caption}')}}}",
            r"\scriptsize\setlength{\tabcolsep}{2.5pt}" if wide else r"\footnotesize\setlength{\tabcolsep}{4pt}",
            # a table wider than the text, such as a paper's beside ours, is centred on the text
            rf"\makebox[\linewidth][c]{{\begin{{tabular}}{{@{{}}l{'r' * (len(self.columns) - 1)}@{{}}}}",
            r"\toprule",
            *head,
            r"\midrule",
            *(" & ".join(map(show, row)) + r" \\" for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}}",
            *(rf"\par\smallskip\raggedright\textsuperscript{{{i}}} {_latex(n)}" for i, n in enumerate(notes, 1)),
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"


def write(tables: Sequence[Table], stem: Path | str) -> None:
    """Write `stem`.md, `stem`.tex and `stem`.csv, the tables one after the other."""
    files.write_text(f"{stem}.md", "\n".join(table.markdown() for table in tables))
    files.write_text(f"{stem}.tex", "\n".join(table.latex() for table in tables))
    write_csv(f"{stem}.csv", pd.concat([table.data for table in tables]))


def read_reduced() -> dict[str, Reason]:
    """Return the methods that are not their papers' in full, each with the word for pages and the sentence on it."""
    return {method: Reason(**entry) for method, entry in files.read_yaml(_REDUCED).items()}


def dataset_table(
    dataset: str, summary: pd.DataFrame, comparison: pd.DataFrame, reduced: Mapping[str, Reason] | None = None
) -> Table:
    """Return every cell's row on one data set and, under it, a line for each paper's table that has this method.

    A paper's line stands in the columns that its metrics are comparable with: the value as reported and, in brackets,
    ours minus reported. A paper's sweep has no lines: its points are in the paper's own table. Unlabelled data have the
    columns of the internal metrics instead, and no papers. `comparison` is the result of `compare` for this summary, or
    of `swept.place`. A cell of a method in `reduced` has a footnote. Raises UserError for an unknown data set.
    """
    ours = summary[summary["dataset"] == dataset]
    if ours.empty:
        raise UserError(f"dataset must be one of {', '.join(summary['dataset'].unique())}, got {dataset!r}")
    if is_unlabelled(summary, dataset):
        return _unlabelled_table(dataset, ours, reduced)
    compared = (comparison["status"] != NOT_RUN) & (comparison["setting"] == "")  # no points of a paper's sweep
    published = comparison[compared & (comparison["dataset"] == dataset)]
    rows = []
    for cell, group in ours.groupby("cell", sort=False):
        by_metric = {record["metric"]: record for record in group.to_dict("records")}
        scores = [_score(by_metric[metric], "mean", 100) for metric in EXTERNAL]
        rows.append([_name(dataset, group, reduced), *scores, *_counts(by_metric["acc"])])
        for (paper, table), lines in published[published["cell"] == cell].groupby(["paper", "table"], sort=False):
            known = PAPERS[str(paper)]
            values = {known.metric(record["metric"]): _published(record) for record in lines.to_dict("records")}
            label = Entry(f"{_UNDER}{known.title}, {numbered(str(table))}")
            rows.append([label, *(values.get(metric, Entry()) for metric in EXTERNAL), Entry(), Entry()])
    papers = "; ".join(f"{PAPERS[p].title}: {PAPERS[p].protocol}" for p in published["paper"].unique())
    caption = f"Ours: {OURS}."
    if papers:
        caption += (
            f" Lines under a method: the value a paper reports and, in brackets, ours minus reported in points. The "
            f"papers' protocols differ from ours and from each other. {papers}."
        )
    columns = ["method", *(HEADINGS[metric] for metric in EXTERNAL), "n", "failed"]
    return Table(f"Results on {dataset}", caption, columns, rows, _tidy(ours[ours["metric"].isin(EXTERNAL)], published))


def paper_tables(
    comparison: pd.DataFrame,
    absent: Absent | None = None,
    sweeps: Sequence[Evaluated] = (),
    reduced: Mapping[str, Reason] | None = None,
    impossible: pd.DataFrame | None = None,
) -> dict[str, list[Table]]:
    """Return, by file stem, each table of a paper: one part per data set that was run, in the paper's own order.

    Every method the paper lists has its row. Where there is none of ours, the word of `absent` for the method, or for
    its sweep, stands in its place, with the reason as a footnote; `not run` if there is no such word. The caption names
    those of the grid's `sweeps`, the result of `read_sweeps`, that stand beside points of the paper's. Ours have a
    footnote for a method in `reduced`, and a method one if its printed numbers are in the result of
    `verdicts.impossible`.
    """
    tables, doubts = {}, _doubts(impossible)
    for (paper, table), rows in comparison.groupby(["paper", "table"], sort=False):
        tables[paper_stem(str(paper), str(table))] = [
            _paper_part(str(paper), str(table), str(dataset), part, absent or Absent(), sweeps, reduced, doubts)
            for dataset, part in rows.groupby("dataset", sort=False)
        ]
    return tables


def with_released(comparison: pd.DataFrame, summary: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Return a result of `compare` with the finished cells `NAME_released` as well, after the rows of NAME.

    Such a cell is the method as its authors' program has it, where that differs from the paper. Its rows have the same
    published numbers, their `method` ends in `, as released`, and `cell` is the cell's own name.
    """
    ours = summary[summary["cell"].str.endswith(RELEASED)]
    if ours.empty:
        return comparison
    others = compare(ours.assign(cell=ours["cell"].str.removesuffix(RELEASED)), reported)
    others = others[others["status"] == "ok"]
    others = others.assign(method=others["method"] + ", as released", cell=others["cell"] + RELEASED)
    both = pd.concat([comparison, others], ignore_index=True)
    same = [both[key] for key in ("paper", "table", "dataset")]
    after = both["cell"].str.endswith(RELEASED).to_numpy()
    place = both.groupby([*same, both["cell"].str.removesuffix(RELEASED)], sort=False).ngroup().to_numpy()
    return both.iloc[np.lexsort([after, place])].reset_index(drop=True)


def sweeps_beside(comparison: pd.DataFrame, sweeps: Sequence[Evaluated]) -> list[str]:
    """Return name, seeds and shared settings of each sweep with points in a result of `swept.place`, as text."""
    rows = comparison[(comparison["setting"] != "") & (comparison["status"] != NOT_RUN)]
    points = {(row["dataset"], row["cell"], frozenset(row["setting"].split())) for row in rows.to_dict("records")}
    found = []
    for sweep, results in sweeps:
        own = {(sweep["dataset"], sweep["cell"], frozenset(point.split(","))) for point in results["point"]}
        if own & points:
            points -= own  # the first sweep that has a point stands beside it
            n_seeds = results["seed"].nunique()
            base = ", ".join(f"{name} = {value}" for name, value in sweep["base"].items())
            seeds = f"{n_seeds} seed{'s' if n_seeds > 1 else ''} a point"
            found.append(f"{sweep['name']} ({', '.join(filter(None, [seeds, base]))})")
    return found


def paper_stem(paper: str, table: str) -> str:
    """Return the file stem, under `tables/`, of a paper's table."""
    return f"{paper}_{numbered(table)}".lower().replace(" ", "_").replace(".", "_")


def number(value: float, *, signed: bool = False, decimals: int = 1) -> str:
    """Return a value as text, by default with one decimal as for percent; an em dash for NaN, no negative zero."""
    if math.isnan(value):
        return _DASH
    text = f"{round(value, decimals) + 0.0:{'+' if signed else ''}.{decimals}f}"
    return text.removeprefix("+") if float(text) == 0 else text.replace("-", _MINUS)


def spread(value: float, std: float, *, signed: bool = False, decimals: int = 1) -> str:
    """Return a text such as `66.8 ± 0.4`, without the second part if `std` is NaN (one seed, or none reported)."""
    shown = number(value, signed=signed, decimals=decimals)
    return shown if math.isnan(std) else f"{shown} ± {number(std, decimals=decimals)}"


def markdown_text(text: str) -> str:
    """Return a text on one line that Markdown shows as it is, in a table as well."""
    return re.sub(r"([\\|*`<\[\]])", r"\\\1", " ".join(text.split()))


def _unlabelled_table(dataset: str, ours: pd.DataFrame, reduced: Mapping[str, Reason] | None) -> Table:
    rows = []
    for _, group in ours.groupby("cell", sort=False):
        by_metric = {record["metric"]: record for record in group.to_dict("records")}
        scores = [_score(by_metric[metric], "mean", 1, decimals=3) for metric in INTERNAL]
        rows.append([_name(dataset, group, reduced), *scores, *_counts(by_metric["acc"])])
    data = ours[ours["metric"].isin(INTERNAL)].rename(columns={"mean": "value"})
    columns = ["method", *INTERNAL_HEADINGS.values(), "n", "failed"]
    return Table(f"Results on {dataset}", _UNLABELLED, columns, rows, data.drop(columns="method"))


def _paper_part(
    paper: str,
    table: str,
    dataset: str,
    comparison: pd.DataFrame,
    absent: Absent,
    sweeps: Sequence[Evaluated],
    reduced: Mapping[str, Reason] | None,
    doubts: Mapping[tuple[str, ...], str],
) -> Table:
    there = set(comparison["metric"])
    metrics = [metric for metric in EXTERNAL if metric in there] or sorted(there)  # a table of one metric of its own
    rows = []
    for (method, setting), lines in comparison.groupby(["method", "setting"], sort=False):
        by_metric = {record["metric"]: record for record in lines.to_dict("records")}
        doubt = doubts.get((paper, table, dataset, str(method)), "")
        row = [Entry(f"{method} ({setting})" if setting else str(method), note=doubt)]
        for metric in metrics:
            record = by_metric.get(metric)
            if record is None:
                row += [Entry(_DASH)] * 3
            else:
                reported = Entry(spread(record["reported"], record["reported_std"]), note=record["note"])
                difference = Entry(number(record["difference"], signed=True))
                ours = _missing(record, absent) if record["status"] == NOT_RUN else _score(record, "reproduced", 1)
                if record["status"] == "ok":
                    ours = replace(ours, note=_reduction(record["cell"], reduced))
                row += [reported, ours, difference]
        rows.append(row + _counts(next(iter(by_metric.values()))))
    known = PAPERS[paper]
    caption = (
        f"Reported: {known.protocol}. Ours: {OURS}, NMI by the same normaliser as the paper. "
        f"Difference: ours minus reported, in points. A word in place of ours says why there is none. {_DASH}: not "
        "in the paper, or nothing to compare."
    )
    if comparison["cell"].str.endswith(RELEASED).any():
        caption += " As released: as the authors' program has the method, where it differs from the paper."
    if beside := sweeps_beside(comparison, sweeps):
        caption += f" Ours at the points of the paper's sweep are from sweeps of this grid: {', '.join(beside)}."
    columns = ["method", *["reported", "ours", "diff."] * len(metrics), "n", "failed"]
    groups = [("", 1), *((HEADINGS.get(metric, metric.capitalize()), 3) for metric in metrics), ("", 2)]
    title = f"{known.title}, {numbered(table)}, on {dataset}"
    return Table(title, caption, columns, rows, comparison, groups)


def _score(record: Mapping[Any, Any], value: str, scale: float, decimals: int = 1) -> Entry:
    """Return our score in a row of a summary or a comparison that ran, or the row's status instead."""
    link = "" if record.get("setting") else _link(record["dataset"], record["cell"])  # a point has no run record
    if record["status"] != "ok":
        return Entry(record["status"], link, _because(record))
    if math.isnan(record[value]):
        return Entry(_DASH)  # the cell ran, but the metric is not defined
    return Entry(spread(scale * record[value], scale * record["std"], decimals=decimals), link)


def _name(dataset: str, group: pd.DataFrame, reduced: Mapping[str, Reason] | None) -> Entry:
    """Return the first entry of a cell's row, with a footnote where its method is not its paper's in full."""
    cell = str(group["cell"].iloc[0])
    note = _reduction(group["method"].iloc[0], reduced) if "/" not in cell else ""  # a read-out may be whole
    return Entry(cell, _link(dataset, cell), note)


def _reduction(method: str, reduced: Mapping[str, Reason] | None) -> str:
    """Return the footnote of a method that is not its paper's in full, or nothing."""
    return f"{reduced[method].word}: {reduced[method].reason}" if reduced and method in reduced else ""


def _doubts(impossible: pd.DataFrame | None) -> dict[tuple[str, ...], str]:
    """Return the footnote of each published row in a result of `verdicts.impossible`, by paper, table, data, method."""
    found = dict[tuple[str, ...], str]()
    for row in [] if impossible is None else impossible.to_dict("records"):
        if row["sizes"] == "any":
            said = f"of at least {number(row['least_any'])}: the reported numbers cannot all be true"
        else:
            said = (
                f"of at least {number(row['least'])} to clusters of equal size: the reported numbers need unequal ones"
            )
        at = row["paper"], row["table"], row["dataset"], row["method"]
        found[at] = f"An ACC of {number(row['acc'])} leaves an ARI {said} (docs/verdicts.md)."
    return found


def _missing(record: Mapping[Any, Any], absent: Absent) -> Entry:
    """Return the word for a number that was not run, and why as its note."""
    cell = record["cell"]
    why = absent.methods.get(cell) or (
        absent.sweeps.get(cell) if record["setting"] else absent.cells.get(f"{record['dataset']}/{cell}")
    )
    return Entry(why.word, note=why.reason) if why else Entry(NOT_RUN)


def _counts(record: Mapping[Any, Any]) -> list[Entry]:
    if record["status"] == NOT_RUN:
        return [Entry(_DASH), Entry(_DASH)]
    failed = Entry(str(record["failed"]), note=_because(record) if record["failed"] else "")
    empty_clusters = record["n"] and record["reason"] and not record["failed"]
    return [Entry(str(record["n"]), note=_because(record) if empty_clusters else ""), failed]


def _published(record: Mapping[Any, Any]) -> Entry:
    text = spread(record["reported"], record["reported_std"])
    if not math.isnan(record["difference"]):
        text += f" ({number(record['difference'], signed=True)})"
    return Entry(text, note=record["note"])


def _tidy(ours: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell, metric and source ('ours' or 'PAPER: Table I'), in percent and points."""
    scaled = ours.rename(columns={"mean": "value"}).assign(source="ours")
    scaled[["value", "std", "median", "min", "max"]] *= 100
    sources = [
        f"{paper}: {numbered(table)}" for paper, table in zip(published["paper"], published["table"], strict=True)
    ]
    metrics = [PAPERS[p].metric(m) for p, m in zip(published["paper"], published["metric"], strict=True)]
    theirs = published[["dataset", "cell", "difference", "note"]].assign(
        source=sources, metric=metrics, value=published["reported"], std=published["reported_std"]
    )
    columns = ["dataset", "cell", "metric", "source", "value", "std", "difference", "median", "min", "max"]
    columns += ["n", "failed", "status", "reason", "note"]
    both = scaled.reindex(columns=columns).astype({"n": "Int64", "failed": "Int64", "note": object})
    return pd.concat([both, theirs.reindex(columns=columns).astype(both.dtypes)])


def _because(record: Mapping[Any, Any]) -> str:
    cell = record["cell"].split("/")[0]  # one footnote for a cell and its read-outs, which share its status
    return f"{cell} on {record['dataset']}: {record['reason'] or 'no reason recorded'}"


def _link(dataset: str, cell: str) -> str:
    return f"{dataset}/{cell.split('/')[0]}.json"  # a read-out shares the run record of its cell


def numbered(table: str) -> str:
    """Return the name of a paper's table: `Table 1`, or its place in the text."""
    return f"Table {table}" if table.isdigit() else table


def _latex(text: str) -> str:
    # pdflatex stops at characters that its fonts lack, and a reason may hold any character
    safe = "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
    return safe.encode("ascii", "replace").decode()
