"""Sentences that quote a number, on pages that people write: the number is that of the committed results."""

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
SPREAD = re.compile(r"\d+\.\d+ ± \d+\.\d+")
SIGNED = re.compile(r"[+\u2212]?\d+(?:\.\d+)?")  # a number with its sign, if it has one

# Numbers of which no report is committed, by page and heading: why. An entry without such a number is refused.
ELSEWHERE = {
    ("baselines", "SC-LS"): "measured by hand, for the page",
    ("baselines", "GNMF"): "measured by hand, for the page",
    ("baselines", "VaDE"): "another project's audit",
    ("baselines", "ASPC-DA and DynAE: reported"): "tried without a run record, as it says",
    ("decs", "Ours and reported"): "k-means after 20 epochs, from before the committed run",
    ("deepcluster_admm", "From restricted Boltzmann"): "MNIST-test, tried for the page",
    ("pc_x", "Two readings of the centroids"): "on digits, by the line that stands below the table",
    ("ulhe_dc", "What limits it"): "rows of the benchmark by a reading that was given up",
    ("ulhe_dc", "Three more readings"): "tried without a run record, as it says",
    ("precision", "float32 or bfloat16"): "means over the rows of the paired table",
    ("results", "Every method on four data sets"): "k-means after 20 epochs, from before the committed run",
}


def sections(page: Path) -> Iterator[tuple[str, str]]:
    """Yield heading and text of each section of a page, without generated blocks."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for part in re.split("^(?=#+ )", text, flags=re.MULTILINE):
        yield part.partition("\n")[0].lstrip("# "), part


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    """The summaries of all grids, below each other."""
    paths = [grids.folder(grid) / layout.REPORTS / "summary.csv" for grid in grids.names()]
    return pd.concat([pd.read_csv(path) for path in paths if path.exists()])


@pytest.fixture(scope="module")
def committed(summary: pd.DataFrame) -> set[str]:
    """Every mean ± std of a committed result, in percent."""
    rows = summary.dropna(subset=["std"])
    return {spread(100 * mean, 100 * std) for mean, std in rows[["mean", "std"]].to_numpy()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_mean_and_its_spread_are_those_of_a_committed_result(page: Path, committed: set[str]) -> None:
    wrong, elsewhere = [], {name for of, name in ELSEWHERE if of == page.stem}
    for heading, text in sections(page):
        missing = [quoted for quoted in SPREAD.findall(text) if quoted not in committed]
        known = next((name for name in elsewhere if heading.startswith(name)), None)
        if missing and known:
            elsewhere.remove(known)
        elif missing:
            wrong.append(f"{heading}: {', '.join(missing)}")
    assert wrong == [], "no committed report has these"
    assert elsewhere == set(), "all numbers are committed now: take the entry out of ELSEWHERE"


def test_numbers_of_the_study_are_those_of_its_tables_and_figures() -> None:
    page = layout.PROJECT / "docs/study.md"
    text = page.read_text(encoding="utf-8")
    made = " ".join(BLOCK.findall(text))
    made += " ".join(path.read_text(encoding="utf-8") for path in (page.parent / "figures").glob("*.svg"))
    quoted = [one for _, part in sections(page) for one in SIGNED.findall(re.sub(r"\]\(.*?\)|`.*?`", "", part))]
    assert len(quoted) > 3
    assert [one for one in quoted if not re.search(rf"(?<![\d.+\u2212]){re.escape(one)}(?!\.?\d)", made)] == []


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
