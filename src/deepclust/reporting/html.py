"""The page `reports/index.html`: a grid's tables, figures and records in one file that loads nothing else."""

import hashlib
import itertools
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepclust.reporting import charts, overview
from deepclust.reporting.aggregate import read_run
from deepclust.reporting.markup import Html, cell_id, header_cell, scrolling, status, tag
from deepclust.reporting.overview import own_cells
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.readme import WAITING, unfinished
from deepclust.reporting.tables import HEADINGS, INTERNAL_HEADINGS, RELEASED, Entry, Table, number

_HERE = Path(__file__).parent
_CLASSES = (
    "Figures number the classes from 0 in the order of their labels, and name a cluster by the class that matches it. "
    "The matching is one-to-one and maximises ACC. Labels served the scores and figures alone."
)
_TOLD = {"cell", "dataset", "method", "seed", "status", "reason"}  # keys of a record that the page shows elsewhere
_EXPLAINED = {
    "code": "code, by its SHA-256",
    "inputs": "inputs, by their SHA-256 (X: the data set)",
    "device": "device used",
}


def page(
    grid: str,
    root: Path | str,
    results: pd.DataFrame,
    summary: pd.DataFrame,
    tables: Mapping[str, Table],
    papers: Mapping[str, Sequence[Table]],
    figures: Mapping[str, Mapping[str, str]],
    sweeps: Table | None = None,
    sweep_figures: Mapping[str, str] | None = None,
    *,
    families: Mapping[str, str] | None = None,
    covered: pd.DataFrame | None = None,
    waiting: Sequence[str] = (),
) -> str:
    """Return the page: which cell is best and how sure that is, then every result, data set, paper and sweep.

    Scripts, styles and figures are in the page, and its content security policy forbids the browser to fetch anything.
    Links lead to files beside the page. Links to a cell's figures and to PDFs need the files of DVC's cache (`dvc
    pull`).

    Parameters
    ----------
    grid
        The name of the grid.
    root
        The folder of its reports. The page reads `runs/DS/CELL.json` of each cell, and the figures named below.
    results, summary
        The results of `read_results` and `summarise`.
    tables
        The table of each data set, which lies at `tables/DATASET.md`, `.csv` and `.tex`.
    papers
        For each file stem under `tables/` the parts of a paper's table.
    figures, sweep_figures
        Captions by the figure's stem relative to the page, `figures` for each data set. `STEM.png` exists, and its PDF
        is `files/STEM.pdf`.
    sweeps
        The result of `sweeps_table`; None for a grid without sweeps.
    families
        The family of every method there is, by which marks have their colours and shapes.
    covered
        The result of `coverage.coverage` for this grid.
    waiting
        A line for each data set that has cells without scores yet: `DATASET: CELL, CELL`.
    """
    root = Path(root)
    by_paper: dict[str, dict[str, Sequence[Table]]] = {}
    for stem, parts in papers.items():
        by_paper.setdefault(parts[0].data["paper"].iloc[0], {})[stem] = parts
    best = overview.best(results, summary, list(tables), papers, families or {})
    if waiting:
        best = [tag("p", WAITING, class_="soft"), tag("ul", *(tag("li", line) for line in waiting)), *best]
    sections = {
        "best": ("Which is best, and how sure", best),
        "reported": ("Ours beside the papers' numbers", overview.reported(summary, papers, families or {}, covered)),
        "summary": ("What ran", [_summary(summary, tables, papers)]),
        "unfinished": ("What did not finish", [_unfinished(summary)]),
        "results": ("Results", _results(summary, tables)),
        "datasets": ("Data sets", [_dataset(root, name, results, figures.get(name, {})) for name in tables]),
        "papers": ("Beside the papers' tables", [_paper(*item) for item in by_paper.items()]),
        "sweeps": ("Sweeps", _sweeps(root, sweeps, sweep_figures or {}) if sweeps else []),
    }
    shown = {key: (heading, body) for key, (heading, body) in sections.items() if body}
    within = {
        "datasets": {name: name for name in tables},
        "papers": {paper: PAPERS[paper].title for paper in by_paper},
        "sweeps": {row[0].text: row[0].text for row in sweeps.rows} if sweeps else {},
    }
    menu = [
        tag("li", tag("a", heading, href=f"#{key}"), *([_menu(key, within[key])] if key in within else []))
        for key, (heading, _) in shown.items()
    ]
    title = f"Results of the grid {grid}"
    return _document(
        title,
        charts.marks(),
        tag("a", "Skip to the results", href="#results", class_="skip"),
        tag("header", tag("h1", title), tag("nav", tag("ul", *menu), aria_label="Contents")),
        tag(
            "main",
            *(
                tag("section", tag("h2", heading, id=f"heading-{key}"), *body, id=key, aria_labelledby=f"heading-{key}")
                for key, (heading, body) in shown.items()
            ),
        ),
        tag(
            "footer",
            "Written by the report stage: change the settings, not this page. ",
            tag("code", f"make repro GRID={grid}"),
            " writes it anew, running only what changed.",
        ),
    )


def fit_page(
    title: str,
    root: Path | str,
    scores: Mapping[str, float],
    sizes: Sequence[int],
    figures: Mapping[str, str],
    record: Mapping[str, Any],
) -> str:
    """Return the page of one fit to own data: scores, clusters, figures and settings, in one file.

    Parameters
    ----------
    title
        The heading.
    root
        The folder that the page will lie in, beside `labels.csv` and `run.json`.
    scores
        Metrics by name, as fractions.
    sizes
        The samples of each cluster, (K,).
    figures
        Captions by the figure's stem relative to the page; `STEM.png` exists, and its PDF is `files/STEM.pdf`.
    record
        The content of `run.json`.
    """
    facts = {"samples": f"{sum(sizes):,}", "clusters": str(sum(size > 0 for size in sizes))} | shown_scores(scores)
    if (agreed := record.get("selection", {}).get("agreed")) is not None:
        facts |= {"all seeds agree on": f"{100 * agreed:.1f} %"}
    tiles = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()]
    head = tag("thead", tag("tr", *map(header_cell, ["cluster", "samples", "share"])))
    bodies = [
        tag("tbody", _row(Entry(str(k)), [Entry(str(size)), Entry(f"{100 * size / sum(sizes):.1f} %")], _Notes("")))
        for k, size in enumerate(sizes)
    ]
    texts = _flat({key: value for key, value in record.items() if key != "scores"})
    terms = [
        tag("div", tag("dt", name), tag("dd", *(_setting(key, texts[key]) for key in group)))
        for name, group in itertools.groupby(texts, key=lambda key: key.split(".")[0])
    ]
    links = [tag("a", name, href=name) for name in ("labels.csv", "run.json")]
    return _document(
        title,
        tag("header", tag("h1", title)),
        tag(
            "main",
            tag("dl", *tiles, class_="facts"),
            tag("p", "The cluster of every sample is in ", links[0], ", all settings are in ", links[1], "."),
            tag("p", _CLASSES) if "acc" in scores else "",
            tag("section", tag("h2", "Figures"), _figures(root, figures)) if figures else "",
            tag("section", tag("h2", "Clusters"), scrolling("Clusters", tag("table", head, *bodies))),
            tag("section", tag("h2", "Settings"), tag("dl", *terms, class_="settings")),
        ),
    )


def shown_scores(scores: Mapping[str, float]) -> dict[str, str]:
    """Return metrics of one labeling for readers: those against labels in percent, the others as they are."""
    return {
        name: number(100 * scores[key]) if key in HEADINGS else number(scores[key], decimals=3)
        for key, name in (HEADINGS | INTERNAL_HEADINGS).items()
        if key in scores
    }


def _document(title: str, *body: str) -> str:
    style, script = (Html((_HERE / f"page.{suffix}").read_text(encoding="utf-8")) for suffix in ("css", "js"))
    policy = f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=f"{policy}; base-uri 'none'; form-action 'none'"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', *body, tag('script', script)), lang='en')}\n"


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _menu(key: str, names: Mapping[str, str]) -> Html:
    return tag("ul", *(tag("li", tag("a", title, href=f"#{key}-{name}")) for name, title in names.items()))


def _summary(summary: pd.DataFrame, tables: Mapping[str, Table], papers: Mapping[str, Sequence[Table]]) -> Html:
    cells = own_cells(summary)
    compared = sum(  # a published number counts once
        int((part.data["difference"].notna() & ~part.data["cell"].str.endswith(RELEASED)).sum())
        for parts in papers.values()
        for part in parts
    )
    facts = {
        "data sets": len(tables),
        "cells": len(cells),
        "seeds finished": cells["n"].sum(),
        "seeds failed": cells["failed"].sum(),
        "cells skipped": (cells["status"] == "skipped").sum(),
        "published numbers beside ours": compared,
    }
    tiles = [tag("div", tag("dt", name), tag("dd", str(value))) for name, value in facts.items()]
    return tag("dl", *tiles, class_="facts")


def _unfinished(summary: pd.DataFrame) -> Html:
    rows = unfinished(summary)
    if not rows:
        return tag("p", "Every seed of every cell finished.")
    return tag(
        "ul",
        *(
            tag(
                "li",
                tag("a", f"{row['dataset']}/{row['cell']}", href=f"#{cell_id(row['dataset'], row['cell'])}"),
                f": {row['n']} finished, {row['failed']} failed, status ",
                status(row["status"]),
                f". {row['reason']}",
            )
            for row in rows
        ),
    )


def _results(summary: pd.DataFrame, tables: Mapping[str, Table]) -> list[Html]:
    """Return the filters and one table of all data sets, a body for every cell and the papers' lines under it."""
    columns = list(dict.fromkeys(column for table in tables.values() for column in table.columns[1:]))
    broken = {(row["dataset"], row["cell"]) for row in unfinished(summary)}
    notes = _Notes("results")
    bodies = []
    for dataset, table in tables.items():
        starts = [place for place, row in enumerate(table.rows) if row[0].link]  # only our rows link to a record
        for start, end in itertools.pairwise([*starts, len(table.rows)]):
            lines = []
            for name, *entries in table.rows[start:end]:
                by_column = dict(zip(table.columns[1:], entries, strict=True))
                places = [Entry(dataset if name.link else ""), *(by_column.get(column, Entry()) for column in columns)]
                lines.append(_row(name, places, notes, class_=None if name.link else "published"))
            cell = table.rows[start][0].text.split("/")[0]
            state = "unfinished" if (dataset, cell) in broken else "finished"
            bodies.append(tag("tbody", *lines, data_dataset=dataset, data_state=state))
    captions = [tag("p", f"{name}: {table.caption}") for name, table in tables.items()]
    head = tag("thead", tag("tr", *(header_cell(column) for column in ("method", "data set", *columns))))
    return [
        _filters(list(tables)),
        scrolling("Results of all cells", tag("table", head, *bodies, id="all")),
        *notes.shown(),
        _details("What the numbers are", *captions),
    ]


def _filters(datasets: Sequence[str]) -> Html:
    options = [tag("option", "all", value=""), *(tag("option", name, value=name) for name in datasets)]
    return tag(
        "form",
        tag("label", "Method, paper or value ", tag("input", type="search", name="text", autocomplete="off")),
        tag("label", "Data set ", tag("select", *options, name="dataset")),
        tag("label", tag("input", type="checkbox", name="unfinished"), " only what did not finish"),
        tag("label", tag("input", type="checkbox", name="published", checked=""), " published numbers"),
        tag("label", tag("input", type="checkbox", name="columns"), " all columns", class_="narrow"),
        tag("output", name="count"),
        id="filters",
        hidden="",  # the script shows the filters: without it they do nothing
        aria_label="Filter the results",
    )


def _dataset(root: Path, dataset: str, results: pd.DataFrame, figures: Mapping[str, str]) -> Html:
    ours = results[results["dataset"] == dataset]
    cells = [cell for cell in ours["cell"].unique() if "/" not in cell]
    return tag(
        "section",
        tag("h3", dataset, id=f"datasets-{dataset}"),
        _downloads(f"tables/{dataset}"),
        _figures(root, figures),
        tag("h4", f"Cells on {dataset}: settings, seeds and origin"),
        *(_cell(root, dataset, cell, ours[ours["cell"].str.split("/").str[0] == cell]) for cell in cells),
    )


def _cell(root: Path, dataset: str, cell: str, results: pd.DataFrame) -> Html:
    """Return a cell's record for readers: the facts that all its seeds share, then a row for each seed."""
    path = f"runs/{dataset}/{cell}.json"
    run = read_run(root / path)
    facts = {
        int(seed): {key: text for key, text in _flat(record).items() if key.split(".")[0] not in _TOLD}
        for seed, record in run["seeds"].items()
    }
    keys = sorted({*itertools.chain(*facts.values())}, key=lambda key: key.split("."))
    found = {
        key: {of_seed[key] for of_seed in facts.values() if key in of_seed} for key in keys
    }  # a failed seed has fewer facts
    shared = {key: next(iter(texts)) for key, texts in found.items() if len(texts) == 1}
    terms = [
        tag("div", tag("dt", _EXPLAINED.get(name, name)), tag("dd", *(_setting(key, shared[key]) for key in group)))
        for name, group in itertools.groupby(shared, key=lambda key: key.split(".")[0])
    ]
    statuses = [record["status"] for record in run["seeds"].values()]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    parts = [
        tag("p", f"Method {run['method']}. ", tag("a", "The whole record", href=path), "."),
        tag("dl", *terms, class_="settings"),
        scrolling(
            f"Seeds of {cell} on {dataset}", _seeds(cell, results, facts, [key for key in keys if key not in shared])
        ),
    ]
    if "ok" in statuses:
        clusters = tag("a", "assignments.csv", href=f"files/{dataset}/{cell}/assignments.csv")
        parts.append(tag("p", "The clusters of all samples, in DVC's cache: ", clusters, "."))
    if drawn := run.get("figures", []):
        links = [tag("li", tag("a", name, href=f"cells/{dataset}/{cell}/{name}.png")) for name in drawn]
        parts.append(tag("p", "Its figures, in DVC's cache (", tag("code", "dvc pull"), " brings them):"))
        parts.append(tag("ul", *links, class_="files"))
    # the id is inside the details: a browser opens the details around the target of a link
    return _details(f"{cell}: {counts}", tag("div", *parts, id=cell_id(dataset, cell)))


def _seeds(cell: str, results: pd.DataFrame, facts: Mapping[int, Mapping[str, str]], varying: Sequence[str]) -> Html:
    """Return a row for every seed and one for each of its read-outs: status, metrics in percent, facts that vary."""
    metrics = [metric for metric in results["metric"].unique() if metric in HEADINGS]
    reasons = ["reason"] if results["reason"].any() else []
    lines = []
    for _, rows in results.groupby(["cell", "seed"], sort=False):
        name, seed = str(rows["cell"].iloc[0]), int(rows["seed"].iloc[0])
        scores = dict(zip(rows["metric"], rows["value"], strict=True))
        own = facts[seed] if name == cell else {}
        texts = [rows["status"].iloc[0], *(number(100 * scores[metric]) for metric in metrics)]
        texts += [*(_short(own.get(key, "")) for key in varying), *(rows[column].iloc[0] for column in reasons)]
        lines.append(_row(Entry(f"{seed}{name.removeprefix(cell)}"), map(Entry, texts), _Notes("")))
    columns = ["seed", "status", *(HEADINGS[metric] for metric in metrics), *varying, *reasons]
    head = tag("thead", tag("tr", *(tag("th", column, scope="col") for column in columns)))
    return tag("table", head, tag("tbody", *lines), class_="seeds reasons" if reasons else "seeds")


def _paper(paper: str, tables: Mapping[str, Sequence[Table]]) -> Html:
    captions = dict.fromkeys(part.caption for parts in tables.values() for part in parts)
    blocks = [tag("h3", PAPERS[paper].title, id=f"papers-{paper}"), *(tag("p", caption) for caption in captions)]
    for stem, parts in tables.items():
        for place, part in enumerate(parts, 1):
            notes = _Notes(f"{stem}-{place}")
            over = [
                tag("th", name, colspan=str(width), scope="colgroup", class_="group")
                if name
                else tag("td", colspan=str(width))
                for name, width in part.groups
            ]
            head = tag("thead", tag("tr", *over), tag("tr", *map(header_cell, part.columns)))
            bodies = [tag("tbody", _row(name, entries, notes)) for name, *entries in part.rows]
            blocks += [tag("h4", part.title), scrolling(part.title, tag("table", head, *bodies)), *notes.shown()]
        blocks.append(_downloads(f"tables/{stem}"))
    return tag("section", *blocks)


def _sweeps(root: Path, table: Table, figures: Mapping[str, str]) -> list[Html]:
    head = tag("thead", tag("tr", *map(header_cell, table.columns)))
    bodies = [tag("tbody", _row(name, entries, _Notes(""))) for name, *entries in table.rows]
    blocks = [tag("p", table.caption), scrolling(table.title, tag("table", head, *bodies))]
    for name in (row[0].text for row in table.rows):
        folder = f"sweeps/{name}"
        own = {stem: caption for stem, caption in figures.items() if stem.startswith(f"{folder}/")}
        link = tag("a", "Every point, as CSV", href=f"{folder}/results.csv")
        blocks += [tag("h3", name, id=f"sweeps-{name}"), tag("p", link), _figures(root, own)]
    return blocks


class _Notes:
    """The footnotes of one table, numbered in order of appearance; `key` keeps the ids of different tables apart."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.texts: list[str] = []

    def mark(self, text: str) -> Html:
        if text not in self.texts:
            self.texts.append(text)
        place = str(self.texts.index(text) + 1)
        return tag("sup", tag("a", place, href=f"#note-{self.key}-{place}", aria_label=f"note {place}"))

    def shown(self) -> list[Html]:
        notes = [tag("li", text, id=f"note-{self.key}-{place}") for place, text in enumerate(self.texts, 1)]
        return [tag("ol", *notes, class_="notes")] if notes else []


def _row(name: Entry, entries: Iterable[Entry], notes: _Notes, class_: str | None = None) -> Html:
    """Return a row. The name links to its cell; if the name has no cell, the entries link to theirs."""
    mark = notes.mark(name.note) if name.note else ""
    places = [
        tag(
            "td",
            _linked(entry if not name.link else Entry(entry.text)),
            notes.mark(entry.note) if entry.note else "",
        )
        for entry in entries
    ]
    return tag("tr", tag("th", _linked(name), mark, scope="row"), *places, class_=class_)


def _linked(entry: Entry) -> str:
    text = status(entry.text) if entry.text in {"failed", "skipped"} else entry.text
    return tag("a", text, href=f"#{cell_id(*entry.link[:-5].split('/'))}") if entry.link else text


def _details(summary: str, *body: Html) -> Html:
    return tag("details", tag("summary", summary), *body)


def _figures(root: Path | str, captions: Mapping[str, str]) -> Html:
    shown = []
    for stem, caption in captions.items():
        text = caption.replace("`", "")
        data = b64encode((Path(root) / f"{stem}.png").read_bytes()).decode()
        below = tag("figcaption", f"{text} (", tag("a", "PDF", href=f"files/{stem}.pdf"), ")")
        shown.append(tag("figure", tag("img", src=f"data:image/png;base64,{data}", alt=text), below))
    return tag("div", *shown, class_="figures")


def _downloads(stem: str) -> Html:
    kinds = {"Markdown": "md", "CSV": "csv", "LaTeX": "tex"}
    return tag(
        "ul",
        *(tag("li", tag("a", name, href=f"{stem}.{suffix}")) for name, suffix in kinds.items()),
        class_="files",
    )


def _setting(key: str, value: str) -> Html:
    inner = key.partition(".")[2]
    if key == "code":
        value = _short(value)
    return tag("code", f"{inner} = {value}" if inner else value)


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the values of nested mappings as texts by their dotted keys."""
    found: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def _short(text: str) -> str:
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text  # the record has the whole digest
