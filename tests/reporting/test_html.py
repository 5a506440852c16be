"""The HTML page: whole by itself, well formed, escaped, every number of the summary in the row of its cell."""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest

from deepclust import files
from deepclust.metrics import EXTERNAL
from deepclust.reporting.aggregate import NOT_RUN, compare, read_results, read_run, run_record, summarise
from deepclust.reporting.coverage import Absent, Reason, coverage
from deepclust.reporting.html import fit_page, page
from deepclust.reporting.readme import sweeps_table
from deepclust.reporting.tables import HEADINGS, INTERNAL_HEADINGS, dataset_table, number, paper_tables, spread, write
from tests.reporting.conftest import CELLS, DATASETS, NAN, SIZE

VOID = {"img", "input", "meta"}
PIXELS = {
    stem: b"\x89PNG " + stem.encode() for stem in ("figures/accuracy_usps", "figures/accuracy_toy", "sweeps/mine/acc")
}


@dataclass
class Element:
    """An element with its attributes, and the text and elements in it."""

    tag: str
    attributes: dict[str, str]
    inside: list["Element | str"] = field(default_factory=list)

    def all(self, tag: str = "", **attributes: str) -> list["Element"]:
        """Return the elements within, in order, that have this tag and these attributes."""
        children = [child for child in self.inside if isinstance(child, Element)]
        found = []
        for child in children:
            if tag in ("", child.tag) and attributes.items() <= child.attributes.items():
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.inside)

    @property
    def texts(self) -> list[str]:
        """The text of every child: of a row, what stands in its places."""
        return [child.text for child in self.inside if isinstance(child, Element)]


class Reader(HTMLParser):
    """Builds the tree, and refuses what a browser would silently repair."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes nothing open"

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read(text: str) -> Element:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root], f"never closed: {reader.open[1:]}"
    return reader.root


def cell_of(document: Element, dataset: str, cell: str) -> Element:
    """Return the body of a cell in the table of all results."""
    (table,) = document.all("table", id="all")
    (body,) = [b for b in table.all("tbody") if b.all("tr")[0].texts[:2] == [cell, dataset]]
    return body


def draw(root: Path) -> None:
    for stem, data in PIXELS.items():
        with files.atomic(root / f"{stem}.png") as file:
            file.write(data)


def page_of(
    root: Path, reported: pd.DataFrame, cells: list[str] = CELLS, families: dict[str, str] | None = None
) -> str:
    """Return the page of the grid in `root`, with a figure for each data set and one sweep."""
    draw(root)
    results = read_results(root, DATASETS, cells)
    summary = summarise(results)
    comparison = compare(summary, reported)
    points = [
        {"point": f"alpha={alpha}", "seed": 0, "status": "ok", "metric": metric, "value": value}
        for alpha, value in (("1", 0.25), ("2", 0.75))
        for metric in ("acc", "nmi", "ari")
    ]
    asked = {"name": "mine", "cell": "dec", "dataset": "toy", "base": {}}
    return page(
        "demo",
        root,
        results,
        summary,
        {name: dataset_table(name, summary, comparison) for name in DATASETS},
        paper_tables(comparison),
        {name: {f"figures/accuracy_{name}": f"Accuracy of `{name}`"} for name in DATASETS},
        sweeps_table([asked], {"mine": pd.DataFrame(points)}),
        {"sweeps/mine/acc": "`mine`: ACC"},
        families=families,
        covered=coverage(reported, comparison, Absent()),
    )


@pytest.fixture
def text(grid: Path, reported: pd.DataFrame) -> str:
    return page_of(grid, reported)


@pytest.fixture
def document(text: str) -> Element:
    return read(text)


def change_records(root: Path, cell: str, change: Callable[[int, dict[str, Any]], None]) -> None:
    """Change each seed's record of a cell on usps."""
    path = root / "runs/usps" / f"{cell}.json"
    records = {int(seed): record for seed, record in read_run(path)["seeds"].items()}
    for seed, record in records.items():
        change(seed, record)
    files.write_json(path, run_record("usps", cell, [], records))


def test_ids_are_unique_and_every_link_within_the_page_has_its_target(document: Element) -> None:
    ids = [element.attributes["id"] for element in document.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    targets = {a.attributes["href"][1:] for a in document.all("a") if a.attributes["href"].startswith("#")}
    named = {element.attributes["aria-labelledby"] for element in document.all("section", id="results")}
    assert {"results", "cell-usps-dec", "papers-hybrid", "note-results-1"} <= targets
    assert targets | named <= set(ids)


def test_every_mean_std_and_count_of_the_summary_is_in_the_row_of_its_cell(
    document: Element, summary: pd.DataFrame
) -> None:
    head = document.all("table", id="all")[0].all("thead")[0].all("tr")[0].texts
    assert head == ["method", "data set", *(HEADINGS[metric] for metric in EXTERNAL), "n", "failed"]
    shown_here = summary[summary["metric"].isin(EXTERNAL)]
    assert len(shown_here) == len(DATASETS) * len(CELLS) * len(EXTERNAL)
    for record in shown_here.to_dict("records"):
        ours = cell_of(document, record["dataset"], record["cell"]).all("tr")[0]
        shown = {
            name: place.inside[0] for name, place in zip(head, ours.inside, strict=True) if isinstance(place, Element)
        }
        texts = {name: part if isinstance(part, str) else part.text for name, part in shown.items()}
        finished = spread(100 * record["mean"], 100 * record["std"])
        assert texts[HEADINGS[record["metric"]]] == (finished if record["status"] == "ok" else record["status"])
        assert (texts["n"], texts["failed"]) == (str(record["n"]), str(record["failed"]))


def test_published_numbers_stand_under_ours_with_the_difference_and_the_paper(
    document: Element, comparison: pd.DataFrame
) -> None:
    run = comparison[(comparison["status"] == "ok") & comparison["difference"].notna()]
    assert not run.empty
    for record in run.to_dict("records"):
        lines = cell_of(document, record["dataset"], record["cell"]).all("tr", **{"class": "published"})
        expected = f"{number(record['reported'])} ({number(record['difference'], signed=True)})"
        assert any(expected in place for line in lines for place in line.texts), record


def test_a_papers_section_has_its_tables_with_what_was_not_run(document: Element, comparison: pd.DataFrame) -> None:
    titles = {parts[0].title for parts in paper_tables(comparison).values()}
    regions = {element.attributes["aria-label"]: element for element in document.all("div", **{"class": "scroll"})}
    assert titles <= set(regions)
    rows = comparison[(comparison["paper"] == "hybrid") & (comparison["metric"] == "acc")]
    table = regions["Hybrid, Table 1, on usps"]
    lines = {line.texts[0]: line.texts[1:4] for line in table.all("tbody")[0:] for line in line.all("tr")}
    assert len(lines) == len(rows) > 2
    for record in rows.to_dict("records"):
        reported, ours, difference = lines[record["method"]]
        assert reported == number(record["reported"])
        assert difference == number(record["difference"], signed=True)
        assert (ours == NOT_RUN) == (record["status"] == NOT_RUN)


def test_failed_and_skipped_cells_are_shown_with_their_reasons(document: Element) -> None:
    (section,) = document.all("section", id="unfinished")
    assert [item.text for item in section.all("li")][:3] == [
        f"usps/idec: 2 finished, 1 failed, status ok. {NAN}",
        f"usps/hybrid: 0 finished, 3 failed, status failed. {NAN}",
        f"usps/vade: 0 finished, 0 failed, status skipped. {SIZE}",
    ]
    states = {cell: cell_of(document, "usps", cell).attributes["data-state"] for cell in CELLS}
    assert states == {"dec": "finished", "idec": "unfinished", "hybrid": "unfinished", "vade": "unfinished"}
    (note,) = [li for li in document.all("li") if li.attributes.get("id") == "note-results-3"]
    assert note.text == f"hybrid on usps: {NAN}"
    (seeds,) = document.all("div", id="cell-usps-idec")[0].all("table")
    assert seeds.all("tr")[3].texts == ["2", "failed", *["\N{EM DASH}"] * len(EXTERNAL), NAN]


def test_text_from_files_is_shown_as_it_is_and_never_read_as_markup(
    grid: Path, reported: pd.DataFrame, write_cell: Callable
) -> None:
    evil = "</td><script>alert(\"1\")</script>&amp;<b onclick='x'>"
    for dataset in DATASETS:
        write_cell(grid, dataset, "dec", {"0": ("failed", evil), "1": 0.5})
    change_records(
        grid, "dec", lambda seed, record: record.update(settings={evil: evil}, device=evil, note=f"{evil}{seed}")
    )
    path = grid / "runs/usps/dec.json"
    files.write_json(path, files.read_json(path) | {"method": evil, "figures": [evil]})
    published = reported.assign(note=evil, method=evil + reported["method"])
    document = read(page_of(grid, published))
    assert len(document.all("script")) == 1
    assert document.all("b") == []
    assert not any("onclick" in element.attributes for element in document.all())
    (cell,) = document.all("div", id="cell-usps-dec")
    assert f"Method {evil}. " in cell.text
    assert f"{evil} = {evil}" in [code.text for code in cell.all("code")]
    assert evil in [item.text for item in cell.all("a")]
    assert evil in cell.all("table")[0].all("tr")[1].texts
    assert f"usps/dec: 1 finished, 1 failed, status ok. {evil}" in [li.text for li in document.all("li")]
    assert evil in [li.text for li in document.all("li")]


def test_the_page_loads_nothing_and_its_policy_forbids_it(text: str, document: Element) -> None:
    loading = {"src", "srcset", "poster", "background", "action", "formaction", "data", "style"}
    for element in document.all():
        assert not loading & set(element.attributes) or element.tag == "img", element.attributes
        assert not any(name.startswith("on") for name in element.attributes)
    assert {element.tag for element in document.all()}.isdisjoint(
        {"link", "iframe", "object", "embed", "base", "video"}
    )
    assert all(image.attributes["src"].startswith("data:image/png;base64,") for image in document.all("img"))
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttp|import\(", re.sub(r'"data:[^"]*"', "", text))
    for link in document.all("a"):
        parts = urlsplit(link.attributes["href"])
        assert not parts.scheme
        assert not parts.netloc
    (policy,) = [m.attributes["content"] for m in document.all("meta") if "http-equiv" in m.attributes]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("style", "script"):
        (element,) = document.all(kind)
        assert rules[f"{kind}-src"] == f"'sha256-{b64encode(sha256(element.text.encode()).digest()).decode()}'"


def test_figures_are_in_the_page_byte_for_byte_with_a_text_for_who_cannot_see_them(document: Element) -> None:
    images = document.all("img")
    assert [b64decode(image.attributes["src"].split(",")[1]) for image in images] == list(PIXELS.values())
    assert [image.attributes["alt"] for image in images] == ["Accuracy of usps", "Accuracy of toy", "mine: ACC"]


def test_links_lead_to_files_beside_the_page(
    grid: Path, text: str, comparison: pd.DataFrame, summary: pd.DataFrame
) -> None:
    for name in DATASETS:
        write([dataset_table(name, summary, comparison)], grid / "tables" / name)
    for stem, parts in paper_tables(comparison).items():
        write(parts, grid / "tables" / stem)
    made_by_other_stages = {*(f"files/{stem}.pdf" for stem in PIXELS), "sweeps/mine/results.csv"}
    made_by_other_stages |= {f"files/{name}/{cell}/assignments.csv" for name in DATASETS for cell in CELLS[:2]}
    links = {a.attributes["href"] for a in read(text).all("a") if not a.attributes["href"].startswith("#")}
    assert made_by_other_stages <= links
    assert [link for link in links - made_by_other_stages if not (grid / link).is_file()] == []


def test_a_cell_has_what_its_seeds_share_once_and_what_differs_by_seed(
    grid: Path, reported: pd.DataFrame, scores: Callable[[float], dict[str, float]]
) -> None:
    def add(seed: int, record: dict[str, Any]) -> None:
        inputs = {"X": "a" * 64, "network": f"{seed:064x}"}
        record |= {"inputs": inputs, "settings": {"epochs": 3}, "code": "f" * 64, "n_iter": 7 + seed}
        record |= {"versions": {"torch": "2.14.1"}, "device": "cpu"}

    change_records(grid, "dec", add)
    run = files.read_json(grid / "runs/usps/dec.json")
    files.write_json(grid / "runs/usps/dec.json", run | {"figures": ["confusion", "tsne"]})
    (cell,) = read(page_of(grid, reported)).all("div", id="cell-usps-dec")
    assert [code.text for code in cell.all("dl")[0].all("code")] == [
        "f" * 12,
        "cpu",
        f"X = {'a' * 64}",
        "epochs = 3",
        "torch = 2.14.1",
    ]
    head, *rows = [row.texts for row in cell.all("table")[0].all("tr")]
    assert head == ["seed", "status", *(HEADINGS[metric] for metric in EXTERNAL), "inputs.network", "n_iter"]
    percent = [number(100 * scores(0.75)[metric]) for metric in EXTERNAL]
    assert rows[2] == ["10", "ok", *percent, "0" * 12, "17"]
    links = [a.attributes["href"] for a in cell.all("a")]
    drawn = [f"cells/usps/dec/{name}.png" for name in ("confusion", "tsne")]
    assert links == ["runs/usps/dec.json", "files/usps/dec/assignments.csv", *drawn]


def test_a_readout_has_its_row_and_shares_the_section_of_its_cell(
    grid: Path, reported: pd.DataFrame, write_cell: Callable
) -> None:
    for dataset in DATASETS:
        write_cell(grid, dataset, "dec", {"0": 0.5, "1": 0.7}, readouts=("spectral",))
    document = read(page_of(grid, reported))
    (link,) = cell_of(document, "toy", "dec/spectral").all("tr")[0].all("th")[0].all("a")
    (cell,) = document.all("div", id=link.attributes["href"][1:])
    assert [row.texts[0] for row in cell.all("table")[0].all("tbody")[0].all("tr")] == [
        "0",
        "1",
        "0/spectral",
        "1/spectral",
    ]


def test_a_method_that_is_not_its_papers_in_full_has_a_note_at_its_name(
    grid: Path, results: pd.DataFrame, summary: pd.DataFrame, comparison: pd.DataFrame
) -> None:
    reduced = {"DEC": Reason("told K", "It is told K.")}
    tables = {name: dataset_table(name, summary, comparison, reduced) for name in DATASETS}
    document = read(page("demo", grid, results, summary, tables, {}, {}))
    (table,) = document.all("table", id="all")
    marked = {row.texts[0] for row in table.all("tr") if row.all("th")[0].all("sup")}
    assert marked == {"dec1"}
    assert "told K: It is told K." in document.all("section", id="results")[0].text


def test_a_seed_with_clusters_without_samples_says_so(grid: Path, reported: pd.DataFrame, write_cell: Callable) -> None:
    write_cell(grid, "toy", "dec", {"0": 0.5, "1": 0.7}, found={"0": 4, "1": 3})
    document = read(page_of(grid, reported))
    (cell,) = document.all("div", id="cell-toy-dec")
    head, *rows = [row.texts for row in cell.all("table")[0].all("tr")]
    assert [row[head.index("reason")] for row in rows] == ["", "seed 1 has samples in 3 of 4 clusters"]
    assert [row[head.index("n_clusters_found")] for row in rows] == ["4", "3"]
    notes = [note.text for note in document.all("ol", **{"class": "notes"})[0].all("li")]
    assert "dec on toy: seed 1 has samples in 3 of 4 clusters" in notes
    assert cell_of(document, "toy", "dec").attributes["data-state"] == "finished"


def test_a_reader_without_a_mouse_reaches_everything(document: Element) -> None:
    skip = document.all("body")[0].all("a")[0]
    assert skip.attributes["href"] == "#results"
    (table,) = document.all("table", id="all")
    for heading in table.all("thead")[0].all("th"):
        assert [button.attributes["type"] for button in heading.all("button")] == ["button"]
    boxes = document.all("div", **{"class": "scroll"})
    assert len(boxes) == len(document.all("table"))
    assert all(box.attributes["tabindex"] == "0" and box.attributes["aria-label"] for box in boxes)
    assert len(document.all("div", id="cell-usps-dec")) == 1
    assert all(details.all()[0].tag == "summary" for details in document.all("details"))
    fields = [e for tag in ("input", "select") for e in document.all(tag)]
    labelled = [e for label in document.all("label") for tag in ("input", "select") for e in label.all(tag)]
    assert len(fields) == len(labelled) == 5


def test_the_same_results_give_the_same_bytes_wherever_they_lie(
    tmp_path_factory: pytest.TempPathFactory, grid: Path, reported: pd.DataFrame
) -> None:
    pages = []
    for place in "ab":
        root = tmp_path_factory.mktemp(place)
        for path in sorted(grid.rglob("*.json"), reverse=place == "b"):
            files.write_text(root / path.relative_to(grid), path.read_text())
        pages.append(page_of(root, reported))
    assert pages[0] == pages[1]
    assert "Results of the grid demo" in pages[0]
    assert str(grid) not in pages[0]


def test_sections_without_content_are_left_out(grid: Path, summary: pd.DataFrame, results: pd.DataFrame) -> None:
    toy, scores = summary[summary["dataset"] == "toy"], results[results["dataset"] == "toy"]
    nothing = compare(
        toy,
        pd.DataFrame(columns=["paper", "table", "dataset", "method", "method_id", "metric", "value", "std", "note"]),
    )
    document = read(page("demo", grid, scores, toy, {"toy": dataset_table("toy", toy, nothing)}, {}, {}))
    headings = ["Which is best, and how sure", "What ran", "What did not finish", "Results", "Data sets"]
    assert [h2.text for h2 in document.all("h2")] == headings
    assert len(document.all("nav")[0].all("ul")[0].all("li")) == 6  # these and the data set


def test_the_first_screen_ranks_every_data_set_and_says_how_sure_that_is(
    grid: Path, reported: pd.DataFrame, write_cell: Callable
) -> None:
    write_cell(grid, "usps", "idec", {"0": 0.90, "1": 0.92, "2": 0.94})
    document = read(page_of(grid, reported))
    first = document.all("section")[0]
    assert first.attributes["id"] == "best"
    table, other = first.all("table", **{"class": "ranks"})
    rows = [row.texts for row in table.all("tbody")[0].all("tr")]
    assert [row[0] for row in rows] == ["idec", "dec", "hybrid", "vade"]
    assert [row[2] for row in rows] == ["92.0 ± 2.0", "75.0 ± 5.0", "failed", "skipped"]
    assert [row[3] for row in rows] == ["76.1 to 95.0", "76.2 to 76.9", "", ""]
    assert [row.attributes.get("class") for row in table.all("tr")[1:]] == ["best", None, None, None]
    said = [p.text for p in first.all("p")]
    assert "Best: idec, 92.0 ± 2.0. Every other is told apart from it." in said
    assert "Best: idec, 91.0 ± 1.4. With fewer than 3 seeds nothing is told apart from it." in said  # toy
    assert [row.texts[2] for row in other.all("tbody")[0].all("tr")][:2] == ["91.0 ± 1.4", "≈ 75.0 ± 5.0"]
    shown = {use.attributes["href"][1:] for use in document.all("use")}
    assert shown <= {element.attributes.get("id") for element in document.all()}


def test_across_data_sets_cells_have_a_mean_rank_and_what_they_won(
    grid: Path, reported: pd.DataFrame, write_cell: Callable
) -> None:
    for dataset in DATASETS:
        write_cell(grid, dataset, "vade", {"0": 0.5, "1": 0.6, "2": 0.55})
    (table,) = read(page_of(grid, reported)).all("table", **{"class": "across"})
    rows = [row.texts for row in table.all("tr")]
    assert rows[0] == ["method", "mean rank", "won / not told apart / lost", *DATASETS]
    assert rows[1] == ["idec", "1.0", "0 / 4 / 0", "91.0 ± 1.4", "91.0 ± 1.4"]
    assert rows[2][:3] == ["dec", "2.0", "2 / 2 / 0"]
    assert rows[3][:3] == ["vade", "3.0", "0 / 2 / 2"]
    assert [td.attributes.get("class") for td in table.all("tr")[2].all("td")] == [None, None, "best", "best"]


def test_our_accuracies_stand_against_the_papers_with_their_coverage(
    grid: Path, reported: pd.DataFrame, comparison: pd.DataFrame
) -> None:
    document = read(page_of(grid, reported))
    (section,) = document.all("section", id="reported")
    found = comparison[(comparison["metric"] == "acc") & comparison["difference"].notna()]
    (chart,) = section.all("svg", **{"class": "scatter"})
    assert len(chart.all("use")) == len(found) > 4
    titles = {title.text for title in chart.all("title")}
    assert "dec on usps: 75.0, reported 76.9 (Hybrid, Table 1)" in titles
    near = (found["difference"].abs() <= 1).sum()
    assert f"{near} agree within a point" in section.text
    (table,) = section.all("table", **{"class": "coverage"})
    rows = {row.texts[0]: row.texts for row in table.all("tbody")[0].all("tr")}
    whole = (reported["paper"] == "hybrid").sum()
    with_ours = ((comparison["paper"] == "hybrid") & comparison["difference"].notna()).sum()
    assert rows["Hybrid"][2] == f"{with_ours} of {whole}"


def test_families_have_marks_of_their_own_and_a_legend(grid: Path, reported: pd.DataFrame) -> None:
    families = {"DEC": "self_training", "IDEC": "self_training", "VADE": "generative", "KMEANS": "baselines"}
    document = read(page_of(grid, reported, families=families))
    legend = document.all("section", id="best")[0].all("ul", **{"class": "legend"})[0].all("li")
    marks = {item.text: item.all("use")[0].attributes["href"] for item in legend if item.all("use")}
    assert list(marks)[:3] == ["generative", "self_training", "other"]  # families of this grid; hybrid has none
    assert len(set(marks.values())) == len(marks)
    table = document.all("table", **{"class": "ranks"})[0]
    first = {row.texts[0]: row.all("use")[0].attributes["href"] for row in table.all("tbody")[0].all("tr")}
    assert first["dec"] == first["idec"] == marks["self_training"]
    assert first["vade"] == marks["generative"]


def test_data_without_labels_show_internal_metrics_and_lead_to_the_clusters(
    grid: Path, reported: pd.DataFrame, results: pd.DataFrame
) -> None:
    bare = results.assign(value=results["value"].mask(results["metric"].isin(EXTERNAL) & (results["dataset"] == "toy")))
    summary = summarise(bare)
    comparison = compare(summary, reported)
    tables = {name: dataset_table(name, summary, comparison) for name in DATASETS}
    document = read(page("demo", grid, bare, summary, tables, {}, {}))
    (first,) = document.all("section", id="best")
    assert len(first.all("table", **{"class": "ranks"})) == 1
    (box,) = [div for div in first.all("div") if div.attributes.get("aria-label") == "Shape on toy"]
    (table,) = box.all("table")
    rows = [row.texts for row in table.all("tr")]
    assert rows[0] == ["method", *INTERNAL_HEADINGS.values(), "n", "clusters"]
    (mean,) = summary.query("dataset == 'toy' and cell == 'dec' and metric == 'silhouette'").to_dict("records")
    assert rows[1][:2] == ["dec", spread(mean["mean"], mean["std"], decimals=3)]
    assert [row[-2] for row in rows[1:3]] == ["3", "2"]
    assert rows[3][:2] == ["hybrid", "failed"]
    assert [a.attributes["href"] for a in table.all("tr")[1].all("a")][1] == "files/toy/dec/assignments.csv"
    assert "No labels, so nothing says which is best" in first.text


def test_page_of_a_fit_is_whole_and_has_scores_clusters_figures_and_settings(tmp_path: Path) -> None:
    stem = next(iter(PIXELS))
    draw(tmp_path)
    scores = {"acc": 0.5, "nmi": 0.25, "silhouette": 0.1234}
    record = {"method": "kmeans", "settings": {"n_init": 20, "a<b": None}, "scores": scores}
    document = read(fit_page("x & y", tmp_path, scores, [30, 0, 10], {stem: "A map."}, record))
    assert document.all("h1")[0].text == "x & y"
    facts = {fact.all("dt")[0].text: fact.all("dd")[0].text for fact in document.all("dl")[0].all("div")}
    assert facts == {"samples": "40", "clusters": "2", "ACC": "50.0", "NMI": "25.0", "Silhouette": "0.123"}
    rows = [row.texts for row in document.all("table")[0].all("tr")]
    assert rows[1:] == [["0", "30", "75.0 %"], ["1", "0", "0.0 %"], ["2", "10", "25.0 %"]]
    assert [image.attributes["alt"] for image in document.all("img")] == ["A map."]
    assert {link.attributes["href"] for link in document.all("a")} == {"labels.csv", "run.json", f"files/{stem}.pdf"}
    assert [code.text for code in document.all("dl")[1].all("code")] == ["kmeans", "n_init = 20", "a<b = null"]
