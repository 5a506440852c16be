"""The first screens of the page of a grid: which cell is best and how sure that is, and ours beside the papers'."""

from collections.abc import Callable, Mapping, Sequence
from math import nan

import pandas as pd

from deepclust.reporting import charts, ranking
from deepclust.reporting.aggregate import NOT_RUN, is_unlabelled
from deepclust.reporting.coverage import OURS as WITH_OURS
from deepclust.reporting.coverage import counts
from deepclust.reporting.markup import Html, cell_id, header_cell, scrolling, status, tag
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.tables import INTERNAL_HEADINGS, OURS, RELEASED, UNDEFINED, Table, number, numbered, spread

_IN_CACHE = "The clusters of all samples are in DVC's cache (dvc pull brings them)."


def best(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    datasets: Sequence[str],
    papers: Mapping[str, Sequence[Table]],
    families: Mapping[str, str],
) -> list[Html]:
    """Return the ranks on every data set, and across those with labels if there are several."""
    style, legend = _styles(summary, families)
    labelled = [dataset for dataset in datasets if not is_unlabelled(summary, dataset)]
    by_dataset = {dataset: ranking.ranked(results, dataset) for dataset in labelled}
    published = _published(papers)
    cards = [
        _ranks(dataset, by_dataset[dataset], summary, published[published["dataset"] == dataset], style)
        if dataset in by_dataset
        else _shapes(dataset, summary, style)
        for dataset in datasets
    ]
    parts = [tag("div", *cards, class_="cards")]
    if labelled:
        signs = [
            tag("li", charts.mark("mean"), "mean of the seeds"),
            tag("li", charts.mark("reported"), "reported by a paper"),
            tag("li", "≈ not told apart from the best"),
        ]
        parts.insert(0, tag("ul", *legend, *signs, class_="legend"))
        parts.append(tag("p", f"Ours: {OURS}. {ranking.RULE}", class_="soft"))
    if len(labelled) > 1:
        parts += _across(by_dataset, style)
    return parts


def _styles(summary: pd.DataFrame, families: Mapping[str, str]) -> tuple[Callable[[str], int], list[Html]]:
    """Return the style of each method, which is its family's, and the legend of those that the summary has."""
    styles = charts.styles(families)

    def style(method: str) -> int:
        return styles.get(method, len(set(families.values())) % charts.STYLES)

    here = sorted({(style(method), families.get(method, "other")) for method in summary["method"].unique()})
    return style, [tag("li", charts.mark(number), family) for number, family in here]


def _published(papers: Mapping[str, Sequence[Table]]) -> pd.DataFrame:
    """Return the accuracies that papers print for a method, no sweeps, beside ours: rows of `aggregate.compare`."""
    rows = [part.data for parts in papers.values() for part in parts]
    found = pd.concat(rows) if rows else pd.DataFrame(columns=["dataset", "metric", "status", "setting"])
    return found[(found["metric"] == "acc") & (found["status"] != NOT_RUN) & (found["setting"] == "")]


def _ranks(
    dataset: str, table: pd.DataFrame, summary: pd.DataFrame, published: pd.DataFrame, style: Callable[[str], int]
) -> Html:
    """Return a data set's cells, best first: the seeds on a scale, ours as a number, what papers report."""
    reported: dict[str, dict[str, float]] = {}
    for record in published.to_dict("records"):
        source = f"{PAPERS[record['paper']].title}, {numbered(record['table'])}"
        reported.setdefault(record["cell"], {})[source] = record["reported"]
    seeds = [100 * value for values in table["values"] for value in values]
    scale = charts.Scale.of([*seeds, *(value for of_cell in reported.values() for value in of_cell.values())])
    lines = []
    for place, (cell, row) in enumerate(zip(table.index, table.to_dict("records"), strict=True)):
        theirs = reported.get(cell, {})
        ours = spread(100 * row["mean"], 100 * row["std"])
        lines.append(
            tag(
                "tr",
                tag("th", charts.mark(style(row["method"])), _to_cell(dataset, cell), scope="row"),
                tag(
                    "td",
                    charts.strip(scale, dataset, style(row["method"]), [100 * v for v in row["values"]], theirs),
                ),
                tag("td", f"≈ {ours}" if place and row["level"] else ours),
                tag("td", " to ".join(number(v) for v in sorted({min(theirs.values()), max(theirs.values())})))
                if theirs
                else tag("td"),
                class_=None if place else "best",
            )
        )
    for record in own_cells(summary, dataset).to_dict("records"):
        if record["cell"] not in table.index:
            name = tag("th", charts.mark(style(record["method"])), _to_cell(dataset, record["cell"]), scope="row")
            lines.append(tag("tr", name, tag("td"), tag("td", status(record["status"])), tag("td")))
    heads = ["method", charts.axis(scale, dataset), "ACC", "reported"]
    head = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads)))
    label = f"Ranks on {dataset}"
    best: list[str] = ["No seed finished."]
    if len(table):
        first = table.iloc[0]
        ours = spread(100 * first["mean"], 100 * first["std"])
        best = ["Best: ", tag("strong", table.index[0]), f", {ours}. {ranking.said_of(table)}"]
    return tag(
        "div",
        tag("h3", dataset),
        tag("p", *best),
        scrolling(label, tag("table", head, tag("tbody", *lines), class_="ranks")),
    )


def _shapes(dataset: str, summary: pd.DataFrame, style: Callable[[str], int]) -> Html:
    """Return the cells on data without labels: the internal metrics, and where the clusters of all samples are."""
    lines = []
    for record in own_cells(summary, dataset).to_dict("records"):
        cell = record["cell"]
        of_metric = summary[(summary["dataset"] == dataset) & (summary["cell"] == cell)].set_index("metric")
        entries: list[str] = [status(record["status"])]
        if record["status"] == "ok":
            entries = [spread(*of_metric.loc[name, ["mean", "std"]], decimals=3) for name in INTERNAL_HEADINGS]
            entries += [str(record["n"]), tag("a", "CSV", href=f"files/{dataset}/{cell}/assignments.csv")]
        name = tag("th", charts.mark(style(record["method"])), _to_cell(dataset, cell), scope="row")
        lines.append(tag("tr", name, *(tag("td", entry) for entry in entries)))
    heads = ["method", *INTERNAL_HEADINGS.values(), "n", "clusters"]
    head = tag("thead", tag("tr", *map(header_cell, heads)))
    return tag(
        "div",
        tag("h3", dataset),
        tag("p", f"No labels, so nothing says which is best: these numbers measure shape. {UNDEFINED} {_IN_CACHE}"),
        scrolling(f"Shape on {dataset}", tag("table", head, *(tag("tbody", line) for line in lines))),
    )


def _across(by_dataset: Mapping[str, pd.DataFrame], style: Callable[[str], int]) -> list[Html]:
    """Return the table of mean ranks and of comparisons, with every cell's accuracy on every data set."""
    found = ranking.across(list(by_dataset.values()))
    others = dict.fromkeys(cell for table in by_dataset.values() for cell in table.index if cell not in found.index)
    methods = {cell: method for table in by_dataset.values() for cell, method in table["method"].items()}
    bodies = []
    for cell in [*found.index, *others]:
        entries = [tag("td", number(nan)), tag("td")]
        if cell in found.index and len(found) > 1:
            of_cell = found.loc[cell]
            counted = [int(of_cell[name]) for name in ("won", "level", "lost")]
            entries = [
                tag("td", number(of_cell["rank"])),
                tag("td", charts.shares(counted), " / ".join(map(str, counted))),
            ]
        for dataset, table in by_dataset.items():
            if cell not in table.index:
                entries.append(tag("td", number(nan)))
                continue
            row = table.loc[cell]
            text = spread(100 * row["mean"], 100 * row["std"])
            entries.append(
                tag("td", tag("a", text, href=f"#{cell_id(dataset, cell)}"), class_="best" if row["level"] else None)
            )
        name = tag("th", charts.mark(style(methods[cell])), cell, scope="row")
        bodies.append(tag("tbody", tag("tr", name, *entries)))
    heads = ["method", "mean rank", "won / not told apart / lost", *by_dataset]
    said = (
        f"Each cell meets each other on each of {len(by_dataset)} data sets: it won or lost where the two are told "
        "apart. Bold: best on the data set, or not told apart from the best."
    )
    if others:
        said += f" Without a rank, since not finished everywhere: {', '.join(others)}."
    head = tag("thead", tag("tr", *map(header_cell, heads)))
    return [
        tag("h3", "Across the data sets"),
        scrolling("Across the data sets", tag("table", head, *bodies, class_="across")),
        tag("p", said, class_="soft"),
    ]


def reported(
    summary: pd.DataFrame,
    papers: Mapping[str, Sequence[Table]],
    families: Mapping[str, str],
    covered: pd.DataFrame | None,
) -> list[Html]:
    """Return our accuracies against the papers', and how much of the papers' tables has ours beside it."""
    style, legend = _styles(summary, families)
    methods = dict(zip(summary["cell"], summary["method"], strict=True))
    found = _published(papers)
    if len(found):  # a published number counts once
        found = found[found["difference"].notna() & ~found["cell"].str.endswith(RELEASED)]
    parts = []
    if len(found):
        points = [
            (
                record["reported"],
                record["reproduced"],
                style(methods[record["cell"]]),
                f"{record['cell']} on {record['dataset']}: {number(record['reproduced'])}, reported "
                f"{number(record['reported'])} ({PAPERS[record['paper']].title}, {numbered(record['table'])})",
            )
            for record in found.to_dict("records")
        ]
        near, below, above = (
            (found["difference"].abs() <= 1).sum(),
            (found["difference"] < -1).sum(),
            (found["difference"] > 1).sum(),
        )
        said = (
            f"{len(found)} accuracies that papers print have ours beside them: {near} agree within a point, {below} of "
            f"ours are lower, {above} higher. Baselines are among them, which a paper may have copied from another."
        )
        chart = charts.scatter(points, "reported ACC (%)", "our mean ACC (%)")
        parts.append(tag("div", tag("p", said), tag("ul", *legend, class_="legend"), chart))
    if covered is not None and (covered["kind"] == WITH_OURS).any():
        parts.append(_coverage(covered))
    return [tag("div", *parts, class_="cards")] if parts else []


def _coverage(covered: pd.DataFrame) -> Html:
    """Return how many numbers of each paper have ours beside them, and why others have none."""
    table = counts(covered)
    table = table[table[WITH_OURS] > 0]
    lines = []
    for paper, row in table.iterrows():
        whole, ours = int(row.sum()), int(row[WITH_OURS])
        entries = [charts.shares([ours, 0, whole - ours]), f"{ours} of {whole}", *(str(n) for n in row.drop(WITH_OURS))]
        name = tag("th", tag("a", PAPERS[str(paper)].title, href=f"#papers-{paper}"), scope="row")
        lines.append(tag("tr", name, *(tag("td", entry) for entry in entries)))
    heads = ["paper", "", "with ours", *table.columns.drop(WITH_OURS)]
    head = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads)))
    return tag(
        "div",
        tag("p", "How many of the numbers that a paper prints this grid has beside them, and why others have none."),
        scrolling("Coverage of the papers", tag("table", head, tag("tbody", *lines), class_="coverage")),
    )


def _to_cell(dataset: str, cell: str) -> Html:
    return tag("a", cell, href=f"#{cell_id(dataset, cell)}")


def own_cells(summary: pd.DataFrame, dataset: str | None = None) -> pd.DataFrame:
    """Return one row for each cell of the grid, or of a data set; a read-out has the status of its cell."""
    own = summary[~summary["cell"].str.contains("/")].drop_duplicates(["dataset", "cell"])
    return own if dataset is None else own[own["dataset"] == dataset]
