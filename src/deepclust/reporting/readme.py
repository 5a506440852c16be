"""Pages in Markdown: generated blocks of the README and the papers' pages, and the index of a grid's results."""

import itertools
import os
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from deepclust.errors import UserError
from deepclust.reporting import charts, coverage, ranking, shares, verdicts
from deepclust.reporting.markup import markdown_grid as _grid
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.tables import (
    HEADINGS,
    RELEASED,
    Entry,
    Evaluated,
    Table,
    markdown_text,
    number,
    numbered,
    paper_stem,
    spread,
    sweeps_beside,
)

Cells = Container[tuple[str, str]]  # data sets and cells

_START, _END = "<!-- generated: {} -->", "<!-- /generated -->"
_OLDER = "†"  # beside a result
_SAID = f"{_OLDER}: of older code, settings or data; `make verify` says why."


def block_names(text: str) -> list[str]:
    """Return the names of a page's generated blocks, in their order."""
    return re.findall(_START.format("(.+?)"), text)


def replace_block(text: str, name: str, body: str) -> str:
    """Return `text` with everything between `<!-- generated: NAME -->` and the next end marker replaced by `body`.

    Replacing a block by what it holds changes nothing, so a stale page is one that differs from its regeneration.

    Raises
    ------
    UserError
        If the block does not occur exactly once, or is not closed before the next one begins.
    """
    start = _START.format(name)
    if text.count(start) != 1:
        raise UserError(f"the page must hold {start!r} exactly once, followed by {_END!r}; found {text.count(start)}")
    before, rest = text.split(start)
    inside, end, after = rest.partition(_END)
    if not end or block_names(inside):
        raise UserError(f"block {name!r} is not closed; put {_END!r} where it ends")
    return f"{before}{start}\n{body.strip()}\n{_END}{after}"


def results_block(
    summary: pd.DataFrame,
    reports: str,
    reduced: Mapping[str, coverage.Reason] | None = None,
    current: Cells | None = None,
) -> str:
    """Return a grid's results: rows = cells, columns = data sets, each ACC / NMI / ARI in percent.

    A cell without a finished seed shows its status, a cell with failed seeds how many finished. The best ACC of a data
    set is bold. The heading of a data set links to its table under `reports`. A method in `reduced` has its word beside
    it, a result that is not in `current` a dagger.
    """
    metrics = ["acc", "nmi", "ari"]
    datasets, cells = summary["dataset"].unique(), list(summary["cell"].unique())
    places = {cell: place for place, cell in enumerate(cells)}
    cells.sort(key=lambda cell: places[cell.split("/")[0]])  # a read-out first met on a later data set follows its cell
    records = {(r["dataset"], r["cell"], r["metric"]): r for r in summary.to_dict("records")}
    best = summary.query("metric == 'acc'").groupby("dataset")["mean"].max()

    def show(dataset: str, cell: str) -> str:
        if (dataset, cell, "acc") not in records:
            return number(float("nan"))
        scores = [records[dataset, cell, metric] for metric in metrics]
        if scores[0]["status"] != "ok":
            return str(scores[0]["status"])
        texts = [spread(100 * score["mean"], 100 * score["std"]) for score in scores]
        texts[0] = f"**{texts[0]}**" if scores[0]["mean"] == best[dataset] else texts[0]
        text = " / ".join(texts)
        return text + _survivors(scores[0]["n"], scores[0]["failed"]) + _older(current, dataset, cell)

    heads = ["method", *(f"[{dataset}]({reports}/tables/{dataset}.md)" for dataset in datasets)]
    own = summary[~summary["cell"].str.contains("/")]  # a read-out of a reduced method may be whole
    marks = _Marks(dict(zip(own["cell"], own["method"], strict=True)), reduced)
    rows = [[marks.named(cell), *(show(dataset, cell) for dataset in datasets)] for cell in cells]
    finished = summary.loc[summary["status"] == "ok", "n"]
    seeds = (
        "no seed finished"
        if finished.empty
        else "n = " + "-".join(str(n) for n in sorted({*finished.agg(["min", "max"])}))
    )
    some = "In brackets: how many of the seeds finished, where some failed. " if (summary["failed"] > 0).any() else ""
    caption = (
        f"{' / '.join(HEADINGS[metric] for metric in metrics)} in percent: mean ± std over seeds ({seeds}), final "
        "epoch; bold: the best ACC. Labels train nothing and choose no run or epoch. NMI is normalised by the mean of "
        f"the entropies. {some}Every seed, failed runs with their reasons and what the papers report: "
        f"[{reports.lstrip('./')}]({reports}/README.md).{marks.said}"
    )
    body = _grid(heads, rows, numeric=True)
    return f"{body}\n\n{_explained(caption, body)}"


def best_block(
    results: pd.DataFrame,
    comparison: pd.DataFrame,
    families: Mapping[str, str],
    reports: str,
    reduced: Mapping[str, coverage.Reason] | None = None,
    current: Cells | None = None,
) -> str:
    """Return a grid's best cell of each family on each data set: its ACC, and what papers report for it.

    `results` has the rows of the grid's `results.csv`, `comparison` is the result of `aggregate.compare`. A method
    that is not in `families` has no row. The best of all on a data set is bold. A cell with failed seeds shows how many
    finished, a method in `reduced` has its word beside it, and a result that is not in `current` has a dagger.
    """
    of_methods = (comparison["metric"] == "acc") & (comparison["setting"] == "")  # no points of a paper's sweep
    accuracies = comparison[of_methods].groupby(["dataset", "cell"])["reported"]
    published = {place: dict.fromkeys([number(of.min()), number(of.max())]) for place, of in accuracies}
    datasets = list(results["dataset"].unique())
    by_dataset = {name: ranking.ranked(results, name) for name in datasets}
    failed = results[(results["metric"] == "acc") & (results["status"] == "failed")].groupby(["dataset", "cell"]).size()
    rows, shown = [], dict[tuple[str, str], str]()
    for family in sorted(set(families.values())):
        entries = []
        for dataset, table in by_dataset.items():
            own = table[[families.get(method) == family for method in table["method"]]]
            if own.empty:
                entries.append(number(nan))
                continue
            cell, best = str(own.index[0]), own.iloc[0]
            text = spread(100 * best["mean"], 100 * best["std"])
            text = f"**{text}**" if cell == table.index[0] else text
            text += _survivors(best["n"], failed.get((dataset, cell), 0))
            if (dataset, cell) in published:
                text += f" ({' to '.join(published[dataset, cell])})"
            shown[dataset, cell] = best["method"]
            name = _Marks({cell: best["method"]}, reduced).named(cell)
            entries.append(f"{text} {name}{_older(current, dataset, cell)}")
        if any(entry != number(nan) for entry in entries):
            rows.append([f"`{family}`", *entries])
    heads = ["family", *(f"[{dataset}]({reports}/tables/{dataset}.md)" for dataset in datasets)]
    caption = (
        "ACC in percent of a family's best method, mean ± std over seeds of the final epoch; in brackets what papers "
        "report for that method; bold: best on the data set. The table chooses by labels, which no method sees."
    )
    some = " Some seeds failed: (2 of 3) says how many finished." if failed.index.isin(list(shown)).any() else ""
    marks = _Marks({cell: method for (_, cell), method in shown.items()}, reduced)
    body = _grid(heads, rows)
    return f"{body}\n\n{_explained(f'{caption}{some}{marks.said}', body)}"


def reported_block(
    comparison: pd.DataFrame,
    reports: Mapping[str, str],
    reduced: Mapping[str, coverage.Reason] | None = None,
    current: Mapping[str, Cells] | None = None,
) -> str:
    """Return published numbers beside ours: a row for each paper's table, data set, method and grid.

    `comparison` is the result of `aggregate.compare` for one or more grids, each named in the column `grid`. `reports`
    has the folder of each grid's reports. Methods without a finished seed and sweeps have no row. With baselines among
    the rows the caption says which grid they are from: that of `study.in_one_grid`. A method in `reduced` has its word
    beside it. `current` has the cells of each grid; a result that is not among them has a dagger beside its grid.
    """
    metrics = ["acc", "nmi", "ari"]
    ours = comparison[comparison["status"] == "ok"]
    ours = ours.assign(order=ours.groupby(["paper", "table", "dataset", "cell"], sort=False).ngroup())
    rows, marks = [], _Marks({cell: cell for cell in ours["cell"]}, reduced)
    for (_, paper, table, dataset, cell, grid), group in ours.groupby(
        ["order", "paper", "table", "dataset", "cell", "grid"]
    ):
        by_metric = {record["metric"]: record for record in group.to_dict("records")}
        scores = [
            f"{number(record['reported'])} → {spread(record['reproduced'], record['std'])}" if record else number(nan)
            for record in map(by_metric.get, metrics)
        ]
        name, stem = f"{PAPERS[str(paper)].title}, {numbered(str(table))}", paper_stem(str(paper), str(table))
        link = f"[{name}]({reports[str(grid)]}/tables/{stem}.md)"
        place = f"`{grid}`{_older(current[str(grid)] if current else None, str(dataset), str(cell))}"
        rows.append([link, str(dataset), marks.named(str(cell)), place, *scores, str(group["n"].max())])
    heads = ["paper", "data set", "method", "grid", *(HEADINGS[metric] for metric in metrics), "seeds"]
    caption = (
        "Percent, *reported* → *ours* (mean ± std over seeds, final epoch); NMI with each paper's normaliser. The "
        "linked tables have the rows that were not run, the differences, and how each paper chose what it reports."
    )
    if any(cell not in PAPERS[paper].methods for paper, cell in ours[["paper", "cell"]].to_numpy()):
        caption += (
            " The paper's own methods are from every grid that has them. Any other method is from one grid: that "
            "of the verdict on this data set, if its result is of the code as it is; else the first that has the "
            "method on its own network, with three seeds, of the code as it is, in this order; no score chooses."
        )
    if ours["cell"].str.endswith(RELEASED).any():
        caption += f" A name that ends in `{RELEASED}` is the method as its authors' program has it."
    body = _grid(heads, rows, numeric=True)
    return f"{body}\n\n{_explained(f'{caption}{marks.said}', body)}"


def paired_block(
    results: Mapping[str, pd.DataFrame], is_current: Callable[[str, str], bool] = lambda dataset, cell: True
) -> str:
    """Return two sides' results seed against seed: the mean of each, and mean ± std of the seeds' differences.

    `results` has rows of `results.csv` by the side's name, a grid or one of two cells; differences are the second side
    minus the first, and the last column says in how many seeds the second has the higher ACC. A seed that finished on
    one side alone enters nothing. A row has a dagger unless its data set and cell, without a read-out's name, are
    current on both sides.
    """
    metrics = ["acc", "nmi"]
    keys = ["dataset", "cell", "metric", "seed"]
    first, second = results
    finished = [rows[rows["status"] == "ok"].set_index(keys)["value"] for rows in results.values()]
    pairs = 100 * pd.concat(finished, axis=1, keys=results, join="inner")
    pairs["difference"] = pairs[second] - pairs[first]
    heads = [f"{HEADINGS[m]} {what}" for m in metrics for what in (f"`{first}`", f"`{second}`", "difference")]
    lines = []
    for (dataset, cell), group in pairs.groupby(["dataset", "cell"], sort=False):
        scores: list[str] = []
        for metric in metrics:
            rows = group[group.index.get_level_values("metric") == metric]
            difference = spread(rows["difference"].mean(), rows["difference"].std(), signed=True)
            scores += [number(rows[first].mean()), number(rows[second].mean()), difference]
        ahead = (group.xs("acc", level="metric")["difference"] > 0).sum()
        older = "" if is_current(str(dataset), str(cell).partition("/")[0]) else f" {_OLDER}"
        lines.append([str(dataset), f"`{cell}`{older}", *scores, f"{ahead} of {group.index.unique('seed').size}"])
    body = _grid(["data set", "method", *heads, "ACC higher"], lines, numeric=True)
    caption = (
        f"Percent; a difference is `{second}` minus `{first}`, mean ± std over the seeds that finished on both sides."
    )
    return f"{body}\n\n{_explained(caption, body)}"


def of_cell(results: pd.DataFrame, cell: str) -> pd.DataFrame:
    """Return the rows of a cell and its read-outs, of a grid's `results.csv`, each by its part of the name.

    The cell's own labels are `labels`, those of the read-out `CELL/kmeans` are `kmeans`: two cells have the same names.
    """
    base, _, readout = results["cell"].str.partition("/").to_numpy().T
    names = pd.Series(np.where(readout, readout, "labels"), results.index)
    found: pd.DataFrame = results.assign(cell=names)[base == cell]
    return found


def verdicts_block(
    judged: pd.DataFrame, reports: Mapping[str, str], folder: str, current: Mapping[str, Cells] | None = None
) -> str:
    """Return the verdicts on the papers' own numbers: a count, then for each paper a table and the causes.

    `judged` is the result of `verdicts.judge`. `reports` has the folder of each grid's reports relative to the page,
    `folder` is the page's within the project. `current` has the cells of each grid; a result that is not among them has
    a dagger beside its grid.
    """
    found = judged["verdict"].value_counts()
    order = ["exceeded", "reached", "near", "not reached", verdicts.NOT_RUN]
    said = ", ".join(f"{found[name]} {name}" for name in order if name in found)
    blocks = []
    heads = ["data set", "method", "reported", "ours", "seeds", "grid", "verdict"]
    for paper, rows in judged.groupby("paper", sort=False):
        lines, causes = [], []
        for row in rows.to_dict("records"):
            place = f"`{row['method']}` on {row['dataset']}"
            tables = [_triple(values, {}) for values in row["reported"].values()]
            others = [
                f"{numbered(table)}: {text}"
                for table, text in zip(row["reported"], tables, strict=True)
                if not _repeats(text, tables[0])
            ]
            ours, grid = number(nan), number(nan)
            if row["grid"]:
                ours, grid = _triple(row["ours"], row["std"]), f"[`{row['grid']}`]({reports[row['grid']]}/README.md)"
                grid += f" `{row['cell']}`" if row["cell"] != row["method"] else ""
                grid += _older(current[row["grid"]] if current else None, row["dataset"], row["cell"])
            line = [f"`{row['method']}`", "; ".join([tables[0], *others]), ours, str(row["n"] or number(nan)), grid]
            lines.append([row["dataset"], *line, row["verdict"]])
            links = ", ".join(f"[{path}]({os.path.relpath(path, folder)})" for path in row["evidence"])
            causes.append(f"- {place}, **{row['verdict']}**: {row['cause']} ({links})")
        blocks += [f"### {PAPERS[str(paper)].title}", _grid(heads, lines), "\n".join(causes)]
    count = f"{len(judged)} results of the papers' own methods: {said}."
    return "\n\n".join([_explained(count, *blocks), *blocks])


def figure_block(judged: pd.DataFrame, drawn: str, picture: str, page: str) -> str:
    """Return the picture `drawn` by `reported_figure` with its count; it and the page of verdicts by their links."""
    found = judged[judged["verdict"] != verdicts.NOT_RUN]["verdict"].value_counts()
    said = ", ".join(
        f"{found[name]} {name}" for name in ("exceeded", "reached", "near", "not reached") if name in found
    )
    count = f"{found.sum()} results of the papers' own methods were run again: {said} ([the rule, and why]({page}))."
    return f"![What five papers report for their own methods, beside ours]({picture})\n\n{_explained(count, drawn)}"


def reported_figure(
    judged: pd.DataFrame, families: Mapping[str, str], current: Mapping[str, Cells] | None = None
) -> str:
    """Return a picture (SVG) of the papers' own accuracies beside ours, by paper; arguments as in `verdicts_block`."""
    styles = charts.styles(families)
    groups: dict[str, list[tuple[str, int, float, float, float]]] = {}
    for row in judged[judged["verdict"] != verdicts.NOT_RUN].to_dict("records"):
        printed = next(iter(row["reported"].values()))
        if "acc" in printed:
            values = printed["acc"], row["ours"]["acc"], row["std"]["acc"]
            older = _older(current[row["grid"]] if current else None, row["dataset"], row["cell"])
            line = (f"{row['method']} on {row['dataset']}{older}", styles[row["method"]], *values)
            groups.setdefault(PAPERS[row["paper"]].title, []).append(line)
    title = "The papers' own methods: reported ACC, and ours (mean ± std over seeds)"
    return charts.dumbbells(groups, title, ("reported", "ours"))


def impossible_block(found: pd.DataFrame, class_sizes: Mapping[str, Sequence[int]]) -> str:
    """Return the result of `verdicts.impossible` as a table, and the data sets it is about."""
    allowed = {"any": "of no sizes", "equal": "of unequal sizes alone"}
    rows = [
        [
            f"{PAPERS[row['paper']].title}, {numbered(row['table'])}",
            row["dataset"],
            markdown_text(row["method"]),
            *(number(row[name], decimals=2) for name in ("acc", "ari", "least", "least_any")),
            allowed[row["sizes"]],
        ]
        for row in found.to_dict("records")
    ]
    heads = [
        "paper",
        "data set",
        "method",
        "ACC",
        "ARI",
        "least ARI, equal clusters",
        "any clusters",
        "possible for clusters",
    ]
    names = [name for name, sizes in class_sizes.items() if verdicts.is_nearly_balanced(sizes)]
    others = [name for name in class_sizes if name not in names]
    judged = (
        f"Judged: {', '.join(names)}, whose classes are nearly equal. Not judged: {', '.join(others)}, data sets of "
        f"which no class sizes are known here, and rows with an ACC below {verdicts.LEAST_ACCURACY:g}."
    )
    return f"{_grid(heads, rows)}\n\n{judged}"


def labels_block(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return where labels enter released codes, from the section `labels` of verdicts.yaml."""
    rows = []
    for entry in entries:
        codes = [code for code in entry["code"].split(", ") if code != "none"]
        links = [f"[{code.split('@')[0]}](https://github.com/{code.replace('@', '/tree/')})" for code in codes]
        names = ", ".join(f"`{name}`" for name in entry["methods"])
        rows.append([names, ", ".join(links) or "no public code", markdown_text(entry["where"])])
    return _grid(["methods", "code read", "how labels enter"], rows)


def coverage_block(covered: pd.DataFrame, swept: str = "") -> str:
    """Return the result of `coverage.coverage`: numbers of each kind by paper, `swept_sentence`, then each reason."""
    table = coverage.counts(covered)
    table["numbers"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    table = table[["numbers", *table.columns.drop("numbers")]]
    titles = {name: paper.title for name, paper in PAPERS.items()}
    rows = [[titles.get(name, name), *map(str, table.loc[name])] for name in table.index]
    blocks = [_grid(["paper", *table.columns], rows, numeric=True), *([swept] if swept else [])]
    without = covered[covered["kind"] != coverage.OURS]
    lines = []
    for kind in coverage.KINDS:
        for reason, part in sorted(
            without[without["kind"] == kind].groupby("reason", sort=False), key=lambda item: (-len(item[1]), item[0])
        ):
            subjects = ", ".join(f"`{name}`" for name in sorted(part["subject"].unique()))
            said = re.sub("^make repro( GRID=[a-z0-9_]+)?", r"`\g<0>`", markdown_text(str(reason)))
            lines.append([kind, subjects, str(len(part)), said])
    blocks.append(_grid(["why none", "of what", "numbers", "reason, or what runs it"], lines))
    return "\n\n".join(blocks)


def swept_sentence(
    comparison: pd.DataFrame, sweeps: Mapping[str, Sequence[Evaluated]], current: Mapping[str, Container[str]]
) -> str:
    """Return how many numbers with ours are points of the papers' sweeps, and what ours are; empty for none.

    `comparison` has the results of `swept.place` for grids named in the column `grid`, `sweeps` the grids' own, and
    `current` the names of those that are of the code, settings and data as they are.
    """
    of_sweeps = (comparison["setting"] != "") & (comparison["metric"] != shares.METRIC)
    rows = comparison[of_sweeps & comparison["difference"].notna()]
    points = rows[["paper", "table", "dataset", "cell", "metric", "setting"]].drop_duplicates()
    if points.empty:
        return ""
    ours = [
        f"`{grid}`: {text}{'' if text.partition(' (')[0] in current[grid] else ' †'}"
        for grid, of_grid in sweeps.items()
        for text in sweeps_beside(rows[rows["grid"] == grid], of_grid)
    ]
    return (
        f"{len(points)} of the numbers with ours are points of the papers' sweeps. Ours are points of these sweeps, "
        f"whose trainings may be shorter than those of the grid's cells: {'; '.join(ours)}."
    )


def methods_block(methods: Iterable[tuple[str, str, str, Sequence[str]]]) -> str:
    """Return the table of methods, by family, from (family, name, first line of the docstring, inputs beside X)."""
    rows = [
        [f"`{family}`", f"`{name}`", markdown_text(line).replace(r"\`", "`"), ", ".join(f"`{read}`" for read in reads)]
        for family, name, line, reads in sorted(methods)
    ]
    return _grid(["family", "name", "method", "reads"], rows)


def datasets_block(
    datasets: Iterable[tuple[str, str, int, Sequence[int] | None, Sequence[str]]],
) -> str:
    """Return the table of data sets, from (name, first line of the docstring, K, the images' shape, papers)."""
    rows = [
        [
            f"`{name}`",
            markdown_text(line),
            str(n_clusters),
            " x ".join(map(str, shape)) if shape else "",
            ", ".join(papers),
        ]
        for name, line, n_clusters, shape, papers in sorted(datasets)
    ]
    return _grid(["name", "data set", "classes", "images", "in the tables of"], rows)


def grids_block(grids: Iterable[tuple[str, str, Sequence[str], int, int, Mapping[str, int], str]]) -> str:
    """Return the table of grids, from (name, its reports' page, data sets, cells, current cells, precisions, aim).

    A grid whose page is empty has no reports yet. `precisions` has how many cells with results were trained in each.
    """
    rows = []
    for name, page, datasets, n_cells, n_current, precisions, shows in grids:
        trained = [f"{precision} ({n})" for precision, n in precisions.items()]
        shown = [f"[`{name}`]({page})" if page else f"`{name}`", ", ".join(datasets)]
        shown += [f"{n_current} of {n_cells}" if page else "none"]
        rows.append([*shown, next(iter(precisions)) if len(trained) == 1 else ", ".join(trained), markdown_text(shows)])
    return _grid(["grid", "data sets", "current cells", "trained in", "shows"], rows)


WAITING = "These cells are not evaluated yet and are in no table:"


def index(
    grid: str,
    summary: pd.DataFrame,
    tables: Mapping[str, Table],
    papers: Mapping[str, Sequence[Table]],
    figures: Mapping[str, Mapping[str, str]],
    drawn: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    sweeps: str = "",
    results: pd.DataFrame | None = None,
    waiting: Sequence[str] = (),
) -> str:
    """Return the page `reports/README.md`: each data set's table and figures, and the unfinished cells.

    Parameters
    ----------
    tables
        The table of each data set, which lies at `tables/DATASET.md`, `.csv` and `.tex`.
    papers
        For each file stem under `tables/` the parts of a paper's table.
    figures
        For each data set, captions by the figure's stem relative to the page; `STEM.png` and `files/STEM.pdf` exist.
    drawn
        The names of each cell's own figures by data set and cell, `cells/DATASET/CELL/NAME.png`. The page names these
        figures instead of showing them, because they are in DVC's cache and not in git.
    sweeps
        The result of `sweeps_block`; empty for a grid without sweeps.
    results
        The rows of `results.csv`, for the best cell of each data set that has labels.
    waiting
        A line for each data set that has cells without scores yet: `DATASET: CELL, CELL`.
    """
    ranks = {} if results is None else {name: ranking.ranked(results, name) for name in tables}
    best = [
        f"- {name}: **{table.index[0]}**, ACC {spread(100 * table['mean'].iloc[0], 100 * table['std'].iloc[0])}. "
        f"{ranking.said_of(table)}".rstrip()
        for name, table in ranks.items()
        if len(table)
    ]
    blocks = [
        f"# Results of the grid `{grid}`",
        f"Written by the report stage: change the settings, not this page. `make repro GRID={grid}` regenerates it, "
        "running only what changed. Each number links to the record of its runs.",
        "Data sets: "
        + ", ".join(f"[{name}](#{table.title.lower().replace(' ', '-')})" for name, table in tables.items())
        + ".",
        *([WAITING, "\n".join(f"- {line}" for line in waiting)] if waiting else []),
        *(["## Which is best", "\n".join(best), ranking.RULE] if best else []),
        "## What did not finish",
        _unfinished(summary),
    ]
    for dataset, table in tables.items():
        blocks += [table.markdown("runs").strip(), _formats(f"tables/{dataset}")]
        blocks += _shown(figures.get(dataset, {}))
        if drawn and any(drawn[dataset].values()):
            blocks += [_drawn(dataset, drawn[dataset])]
    if sweeps:
        blocks += ["## Sweeps", sweeps]
    if papers:
        blocks += ["## Beside the papers' tables"]
        blocks += [
            "\n".join(
                f"- {'; '.join(t.title for t in parts)}: {_formats(f'tables/{stem}')}" for stem, parts in papers.items()
            )
        ]
    return "\n\n".join(blocks) + "\n"


def sweeps_table(sweeps: Sequence[Mapping[str, Any]], results: Mapping[str, pd.DataFrame]) -> Table:
    """Return a table of a grid's sweeps, with the range of their points' means.

    Parameters
    ----------
    sweeps
        In the order of the table: `name`, `cell`, `dataset` and `base`, the settings all points share.
    results
        For each sweep the rows of its `results.csv`.
    """
    metrics = ["acc", "nmi", "ari"]
    heads = ["sweep", "cell", "data set", "varied", "points", "seeds", "failed", *(HEADINGS[m] for m in metrics)]
    rows = []
    for sweep in sweeps:
        found = results[sweep["name"]]
        runs = found.drop_duplicates(["point", "seed"])
        counts = runs["point"].nunique(), runs["seed"].nunique(), (runs["status"] == "failed").sum()
        means = 100 * found.groupby(["metric", "point"])["value"].mean()
        rows.append(
            [
                sweep["name"],
                sweep["cell"],
                sweep["dataset"],
                _varied(runs["point"], sweep["base"]),
                *map(str, counts),
                *(_range(means[metric]) for metric in metrics),
            ]
        )
    caption = (
        f"{', '.join(HEADINGS[m] for m in metrics)}: lowest and highest of all points, percent, each the mean over its "
        "finished seeds. Every combination of the values ran; none is chosen."
    )
    entries = [[Entry(text) for text in row] for row in rows]
    return Table("Sweeps", caption, heads, entries, pd.DataFrame(rows, columns=heads))


def sweeps_block(table: Table, figures: Mapping[str, str]) -> str:
    """Return the table of `sweeps_table`, then figures; `figures` has captions by stem relative to the page."""
    rows = [
        [f"[`{name}`](sweeps/{name}/results.csv)", f"`{cell}`", *map(markdown_text, texts)]
        for name, cell, *texts in ([entry.text for entry in row] for row in table.rows)
    ]
    return "\n\n".join([_grid(table.columns, rows), table.caption, *_shown(figures)])


def _range(values: pd.Series) -> str:
    low, high = number(values.min()), number(values.max())
    return low if low == high else f"{low} to {high}"


def _varied(points: Iterable[str], base: Mapping[str, Any]) -> str:
    values: dict[str, dict[str, None]] = {}
    for point in points:
        for part in point.split(","):
            setting, value = part.split("=")
            values.setdefault(setting, {})[value] = None
    varied = "; ".join(f"{setting}: {', '.join(found)}" for setting, found in values.items())
    fixed = ", ".join(f"{setting} = {value}" for setting, value in base.items())
    return f"{varied} (with {fixed})" if fixed else varied


class _Marks:
    """The names of cells for a table, those of reduced methods with their word, and the sentences on these."""

    def __init__(self, methods: Mapping[str, str], reduced: Mapping[str, coverage.Reason] | None) -> None:
        self.found = {cell: reduced[method] for cell, method in methods.items() if reduced and method in reduced}

    def named(self, cell: str) -> str:
        return f"`{cell}` ({self.found[cell].word})" if cell in self.found else f"`{cell}`"

    @property
    def said(self) -> str:
        return "".join(f" {reason}" for reason in dict.fromkeys(one.reason for one in self.found.values()))


def _older(current: Cells | None, dataset: str, cell: str) -> str:
    """Return a dagger for a result that is not in `current`; a read-out is as current as its cell."""
    return "" if current is None or (dataset, cell.partition("/")[0]) in current else f" {_OLDER}"


def _explained(caption: str, *tables: str) -> str:
    """Return the caption of some tables, which says what a dagger is where one of them has it."""
    return f"{caption} {_SAID}" if any(_OLDER in table for table in tables) else caption


def _survivors(finished: int, failed: int) -> str:
    """Return ` (4 of 5)` where seeds failed, so that a mean is over the others alone."""
    return f" ({finished} of {finished + failed})" if failed else ""


def _triple(values: Mapping[str, float], std: Mapping[str, float]) -> str:
    return " / ".join(spread(values.get(metric, nan), std.get(metric, nan)) for metric in verdicts.METRICS)


def _repeats(text: str, first: str) -> bool:
    """Return whether every number of a triple is in the first one too."""
    pairs = zip(text.split(" / "), first.split(" / "), strict=True)
    return all(number(nan) == one or one == other for one, other in pairs)


def _shown(figures: Mapping[str, str]) -> list[str]:
    blocks = ((f"![{text}]({stem}.png)", f"{text} ([PDF](files/{stem}.pdf))") for stem, text in figures.items())
    return list(itertools.chain(*blocks))


def _drawn(dataset: str, cells: Mapping[str, Sequence[str]]) -> str:
    places = {cell: f"cells/{dataset}/{cell}" for cell in cells}
    lines = [
        f"- `{cell}`: {', '.join(f'[{name}]({places[cell]}/{name}.png)' for name in names)}"
        for cell, names in cells.items()
        if names
    ]
    head = f"Each cell's own figures, with their PDFs and the clusters of all samples in `files/{dataset}/CELL/`"
    return "\n".join([f"{head} (`dvc pull` or `make repro` brings them):", "", *lines])


def unfinished(summary: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return one row of the summary, the first, for each cell with a failed or skipped seed."""
    own = summary[~summary["cell"].str.contains("/")]  # a read-out has the status of its cell
    rows = own[(own["failed"] > 0) | (own["status"] != "ok")].drop_duplicates(["dataset", "cell"])
    return rows.to_dict("records")


def _unfinished(summary: pd.DataFrame) -> str:
    rows = unfinished(summary)
    if not rows:
        return "Every seed of every cell finished."
    return "\n".join(
        f"- [`{row['dataset']}/{row['cell']}`](runs/{row['dataset']}/{row['cell']}.json): "
        f"{row['n']} finished, {row['failed']} failed, status {row['status']}. {markdown_text(row['reason'])}"
        for row in rows
    )


def _formats(stem: str) -> str:
    return ", ".join(
        f"[{name}]({stem}.{suffix})" for name, suffix in (("Markdown", "md"), ("CSV", "csv"), ("LaTeX", "tex"))
    )
