"""Sentences that people write: numbers on pages are those of committed results, docstrings begin with a subject."""

import ast
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from deepclust import grids, layout
from deepclust.reporting.aggregate import read_reported
from deepclust.reporting.tables import number, spread
from deepclust.reporting.verdicts import read_judgements

PAGES = [layout.PROJECT / "README.md", *sorted((layout.PROJECT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"<!-- generated: .*?<!-- /generated -->", re.DOTALL)
SPREAD = re.compile(r"\d+\.\d+ ± \d+\.\d+")  # a mean over seeds
SCORES = re.compile(r"(?<![\d.])(?<![±/] )\d+\.\d / \d+\.\d(?: / \d+\.\d)?(?! [±/]|\d)")  # ACC / NMI, ACC / NMI / ARI
SIGNED = re.compile(r"[+\u2212]?\d+(?:\.\d+)?")  # a number with its sign, if it has one

# Sections whose numbers are in no committed report, by page and heading, and single numbers by page: why. An entry that
# nothing needs is refused.
SECTIONS = {
    ("baselines", "AC-GDL and AC-PIC"): "measured by hand, for the page",
    ("baselines", "SC-LS"): "measured by hand, for the page",
    ("baselines", "GNMF"): "measured by hand, for the page",
    ("baselines", "ASPC-DA and DynAE: reported"): "tried without a run record, as it says",
    **{
        ("baselines", f"{method} ("): "tried without a run record, as it says"
        for method in ("TELL", "DDC-DA", "DeepCluster", "JULE", "SENet", "CC", "DeepDPM")
    },
    ("deepcluster_admm", "From restricted Boltzmann"): "MNIST-test, tried for the page",
    ("pc_x", "Two readings of the centroids"): "digits, by the line below the table; pairs of seeds; MNIST, tried",
    ("ulhe_dc", "Three more readings"): "tried without a run record, as it says",
}
SINGLE = {
    ("cluster-your-own-data", "90.4 ± 1.7"): "the wines of the page, which no committed grid has",
    ("baselines", "71.6 ± 4.4"): "another project's audit of VaDE",
    ("reproduce-a-table", "66.1 ± 2.2"): "of the commit that the page compares with",
    ("decs", "80.5 ± 7.6"): "k-means after 20 epochs, from before the committed run",
    ("decs", "75.9 ± 6.3"): "k-means after 20 epochs, from before the committed run",
    ("ulhe_dc", "90.2 / 80.4 / 79.9"): "tried without a run record, as it says",
    ("ulhe_dc", "91.6 / 82.0 / 82.5"): "tried without a run record, as it says",
    ("ulhe_dc", "69.5 ± 4.2"): "a row of the benchmark by a reading that was given up",
    ("ulhe_dc", "70.7 ± 5.1"): "a row of the benchmark by a reading that was given up",
    **{
        ("precision", value): "a row of the benchmark in bfloat16, which its run in float32 replaced"
        for value in ("58.7 ± 13.2", "57.9 ± 13.0", "31.2 ± 36.5", "55.5 ± 2.0")
    },
    **{
        ("precision", value): "a mean over the rows of the paired table"
        for value in ("0.5 ± 4.1", "0.1 ± 1.8", "0.2 ± 3.6", "0.2 ± 1.7")
    },
}


def sections(page: Path) -> Iterator[tuple[str, str]]:
    """Yield heading and text of each section of a page, without generated blocks."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for part in re.split("^(?=#+ )", text, flags=re.MULTILINE):
        yield part.partition("\n")[0].lstrip("# "), part


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    """The summaries of all grids, below each other."""
    paths = {grid: grids.folder(grid) / layout.REPORTS / "summary.csv" for grid in grids.names()}
    return pd.concat([pd.read_csv(path).assign(grid=grid) for grid, path in paths.items() if path.exists()])


@pytest.fixture(scope="module")
def known(summary: pd.DataFrame) -> set[str]:
    """Every mean ± std, ACC / NMI and ACC / NMI / ARI of a committed result, and the latter two of a published one."""
    rows = summary.dropna(subset=["std"])
    found = {spread(100 * mean, 100 * std) for mean, std in rows[["mean", "std"]].to_numpy()}
    ours = summary.pivot_table(index=["grid", "dataset", "cell"], columns="metric", values="mean") * 100
    theirs = read_reported(layout.REPORTED).pivot_table(
        index=["paper", "table", "dataset", "method", "note"], columns="metric", values="value"
    )
    for table, nmi in ((ours, "nmi"), (ours, "nmi_max"), (theirs, "nmi")):
        for names in (["acc", nmi], ["acc", nmi, "ari"]):
            found |= {" / ".join(map(number, row)) for row in table[names].dropna().to_numpy()}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_score_is_that_of_a_committed_or_of_a_published_result(page: Path, known: set[str]) -> None:
    wrong, used = [], set()
    for heading, text in sections(page):
        entry = next((one for one in SECTIONS if one[0] == page.stem and heading.startswith(one[1])), None)
        for quoted in SPREAD.findall(text) + SCORES.findall(text):
            if quoted not in known:
                excuse = entry or (page.stem, quoted)
                used.add(excuse)
                wrong += [] if excuse in SECTIONS or excuse in SINGLE else [f"{heading}: {quoted}"]
    assert wrong == [], "no committed report has these"
    unused = {one for one in (*SECTIONS, *SINGLE) if one[0] == page.stem} - used
    assert unused == set(), "all its numbers are committed now, or gone: take these out of SECTIONS and SINGLE"


def test_metrics_that_dvc_shows_are_the_committed_ones() -> None:
    text = (layout.PROJECT / "docs/experiments.md").read_text(encoding="utf-8")
    rows = [line.split() for line in text.splitlines() if re.match(r"Path |reports/metrics/\S+\.json ", line)]
    shown = 0
    for names, row in ((names, row) for names, row in itertools.product(rows, rows) if len(names) == len(row) == 9):
        if names[0] == "Path" != row[0]:  # `dvc metrics show`: a row a cell
            committed = json.loads((layout.PROJECT / row[0]).read_text(encoding="utf-8"))
            assert dict(zip(names[1:], map(float, row[1:]), strict=True)) == {
                k: round(v, 3) for k, v in committed.items()
            }
            shown += 1
    for path, metric, before, *_ in (row for row in rows if len(row) == 5 and row[0] != "Path"):  # `dvc metrics diff`
        assert float(before) == round(json.loads((layout.PROJECT / path).read_text(encoding="utf-8"))[metric], 3)
        shown += 1
    assert shown > 5


def test_a_method_that_no_grid_has_run_has_no_committed_result(summary: pd.DataFrame) -> None:
    said = [heading for page in PAGES for heading, text in sections(page) if "No grid has run it yet" in text]
    run = set(summary["cell"])
    assert [heading for heading in said if heading.split(" (")[0].lower().replace("-", "_") in run] == []


def test_numbers_of_the_study_are_those_of_its_tables_and_figures() -> None:
    page = layout.PROJECT / "docs/study.md"
    text = page.read_text(encoding="utf-8")
    made = " ".join(BLOCK.findall(text))
    made += " ".join(path.read_text(encoding="utf-8") for path in (page.parent / "figures").glob("*.svg"))
    quoted = [one for _, part in sections(page) for one in SIGNED.findall(re.sub(r"\]\(.*?\)|`.*?`", "", part))]
    assert len(quoted) > 3
    assert [one for one in quoted if not re.search(rf"(?<![\d.+\u2212]){re.escape(one)}(?!\.?\d)", made)] == []


def test_the_study_says_of_the_baselines_what_its_first_sentence_on_gaps_does() -> None:
    text = " ".join((layout.PROJECT / "docs/study.md").read_text(encoding="utf-8").split())
    said = re.search(r"\), (\S+) \[\S+ \S+ for trained baselines \(n = \d+\), and (\S+) \[\S+ \S+ for untrained", text)
    assert said
    assert f"Untrained baselines are {said[2]} points away in the median, more often above" in text
    assert f"Trained baselines are {said[1]} points away, and" in text


def test_an_accuracy_in_a_verdict_is_that_of_a_committed_result_on_its_data(summary: pd.DataFrame) -> None:
    accuracies = summary[summary["metric"] == "acc"].groupby("dataset")["mean"].agg(list)
    judgements, quoted = read_judgements(layout.VERDICTS, read_reported(layout.REPORTED)), 0
    for (_, method, dataset), judgement in judgements.items():
        for accuracy in re.findall(r"\d+\.\d+", judgement.cause):
            quoted += 1
            assert accuracy in [number(100 * mean) for mean in accuracies[dataset]], f"{method} on {dataset}"
    assert quoted > 3


def test_the_count_of_published_numbers_is_right_wherever_it_stands() -> None:
    counts = {
        int(count)
        for page in PAGES
        for count in re.findall(r"(?<![\d,])(\d{3})\s+numbers", BLOCK.sub("", page.read_text(encoding="utf-8")))
    }
    assert counts == {len(read_reported(layout.REPORTED))}


def test_no_sentence_of_a_docstring_begins_with_of_or_what() -> None:
    begins, kinds = re.compile(r"(?:\A|[.!?]\s+|\n\s*)(?:Of|What)\b"), (ast.Module, ast.ClassDef, ast.FunctionDef)
    assert begins.search("One.\nOf two.")
    assert begins.search("name\n    What it is.")
    assert [
        f"{path.relative_to(layout.PROJECT)}: {text[found.start() :][:40].strip()}"
        for folder in ("src", "stages", "tools", "bench", "tests")
        for path in sorted((layout.PROJECT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kinds) and (text := ast.get_docstring(node)) and (found := begins.search(text))
    ] == []
