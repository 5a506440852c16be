"""Tables: every cell and every published method has its row, numbers only where a seed finished, all three formats."""

import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from deepclust import methods
from deepclust.errors import UserError
from deepclust.files import write_json
from deepclust.reporting.aggregate import compare, read_results, summarise
from deepclust.reporting.coverage import Absent, Reason
from deepclust.reporting.html import page
from deepclust.reporting.papers import PAPERS
from deepclust.reporting.tables import (
    Table,
    dataset_table,
    number,
    paper_tables,
    read_reduced,
    spread,
    with_released,
    write,
)

NAN = "loss_kl is nan at epoch 3 | lower a_b by 50%"


def texts(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [entry.text for entry in row[1:]] for row in table.rows}


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (66.84, False, "66.8"),
        (-10.06, True, "\u221210.1"),
        (1.0, True, "+1.0"),
        (-0.04, True, "0.0"),
        (0.04, True, "0.0"),
        (-0.04, False, "0.0"),
        (100.0, False, "100.0"),
        (float("nan"), True, "\u2014"),
    ],
)
def test_numbers_have_one_decimal_and_no_negative_zero(value: float, signed: bool, text: str) -> None:
    assert number(value, signed=signed) == text


def test_spread_shows_std_where_there_is_one() -> None:
    assert spread(66.83, 0.44) == "66.8 ± 0.4"
    assert spread(66.83, float("nan")) == "66.8"


def test_dataset_table_has_a_row_per_cell_in_order(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    table = dataset_table("toy", summary, comparison)
    assert texts(table) == {
        "dec": ["75.0 ± 5.0", "74.0 ± 5.0", "73.0 ± 5.0", "72.0 ± 5.0", "71.0 ± 5.0", "3", "0"],
        "idec": ["91.0 ± 1.4", "90.0 ± 1.4", "89.0 ± 1.4", "88.0 ± 1.4", "87.0 ± 1.4", "2", "1"],
        "hybrid": ["failed"] * 5 + ["0", "3"],
        "vade": ["skipped"] * 5 + ["0", "0"],
    }
    assert list(texts(table)) == ["dec", "idec", "hybrid", "vade"]


def test_a_table_of_unlabelled_data_has_internal_metrics_and_says_which_need_labels(
    grid: Path, write_cell: Callable, reported: pd.DataFrame, tmp_path: Path
) -> None:
    write_cell(grid, "own", "dec", {"0": 0.5, "1": 0.5})
    write_cell(grid, "own", "vade", {"0": ("skipped", "no network fits 2 features"), "1": ("failed", NAN)})
    found = {"davies_bouldin": 1.5, "modularity": -0.0001}
    seeds = {"0": found | {"stability": 0.9}, "1": found | {"stability": 0.8, "silhouette": 0.25}}
    write_json(grid / "scores/own/dec.json", {"dec": seeds})
    summary = summarise(read_results(grid, ["own"], ["dec", "vade"]))
    told = {"DEC": Reason("told K", "It is told K.")}
    assert dataset_table("own", summary, compare(summary, reported), told).rows[0][0].note == "told K: It is told K."
    table = dataset_table("own", summary, compare(summary, reported))
    assert table.columns[1:5] == ["Silhouette", "Davies-Bouldin (less is better)", "Modularity", "Stability"]
    assert texts(table) == {
        "dec": ["0.250", "1.500 ± 0.000", "0.000 ± 0.000", "0.850 ± 0.071", "2", "0"],
        "vade": ["failed"] * 4 + ["0", "1"],
    }
    assert "ACC, NMI, ARI and purity need them" in table.caption
    assert "A seed for which a metric is not defined, as for a single cluster, counts in n" in table.caption
    write([table], tmp_path / "own")
    data = pd.read_csv(tmp_path / "own.csv")
    assert set(data["metric"]) == {"silhouette", "davies_bouldin", "modularity", "stability"}
    assert data.loc[data["metric"] == "davies_bouldin", "value"].tolist()[:1] == [1.5]


def test_reported_values_stand_under_their_cell_in_the_columns_of_their_normaliser(
    summary: pd.DataFrame, published: Callable
) -> None:
    reported = published(
        ("ulhe_dc", "1", "usps", "dec", "acc", 76.2, ""),
        ("ulhe_dc", "1", "usps", "dec", "nmi", 70.0, ""),
        ("hybrid", "1", "usps", "hybrid", "nmi", 94.0, ""),
        ("hybrid", "1", "usps", "unheard_of", "nmi", 94.0, ""),
    )
    rows = dataset_table("usps", summary, compare(summary, reported)).rows
    lines = [[entry.text for entry in row] for row in rows]
    assert [line[0] for line in lines] == [
        "dec",
        "↳ ULHE-DC, Table 1",
        "idec",
        "hybrid",
        "↳ Hybrid, Table 1",
        "vade",
    ]
    assert lines[1][1:] == ["76.2 (\u22121.2)", "", "70.0 (+3.0)", "", "", "", ""]
    assert lines[4][1:] == ["", "94.0", "", "", "", "", ""]


def test_what_failed_has_a_footnote_with_its_reason(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    table = dataset_table("toy", summary, comparison)
    assert table.footnotes == [
        f"idec on toy: {NAN}",
        f"hybrid on toy: {NAN}",
        "vade on toy: no network fits 2 features",
    ]
    markdown = table.markdown()
    assert "[failed](../runs/toy/hybrid.json)<sup>2</sup>" in markdown
    assert "| 2 | 1<sup>1</sup> |" in markdown
    assert r"<sup>2</sup> hybrid on toy: loss_kl is nan at epoch 3 \| lower a_b by 50%" in markdown


def test_clusters_without_samples_are_marked_and_in_a_footnote(
    grid: Path, write_cell: Callable, reported: pd.DataFrame
) -> None:
    seeds = {"0": 0.5, "1": 0.6, "2": 0.7}
    write_cell(grid, "usps", "dec", seeds, ("modularity",), found={"0": 4, "1": 2, "2": 3})
    write_cell(grid, "usps", "idec", seeds | {"2": ("failed", NAN)}, found={"0": 1, "1": 4})
    write_cell(grid, "usps", "vade", seeds, found={"0": 4, "1": 4, "2": 4})
    summary = summarise(read_results(grid, ["usps"], ["dec", "idec", "vade"]))
    table = dataset_table("usps", summary, compare(summary, reported))
    few = "seed 1 has samples in 2 of 4 clusters; seed 2 has samples in 3 of 4 clusters"
    broken = f"seed 0 has samples in 1 of 4 clusters; {NAN}"
    rows = {row[0].text: [(entry.text, entry.note) for entry in row[-2:]] for row in table.rows}
    assert rows["dec"] == [("3", f"dec on usps: {few}"), ("0", "")]
    assert rows["dec/modularity"] == rows["vade"] == [("3", ""), ("0", "")]
    assert rows["idec"] == [("2", ""), ("1", f"idec on usps: {broken}")]
    assert "| 3<sup>1</sup> | 0 |" in table.markdown()
    parts = paper_tables(compare(summary, reported))["ulhe_dc_table_1"]
    assert f"dec on usps: {few}" in parts[0].footnotes


def test_readouts_are_rows_that_share_the_record_and_the_footnote_of_their_cell(
    grid: Path, write_cell: Callable, reported: pd.DataFrame
) -> None:
    write_cell(grid, "usps", "hybrid", {"0": 0.5, "1": ("failed", NAN)}, readouts=("kmeans", "spectral"))
    summary = summarise(read_results(grid, ["usps"], ["dec", "hybrid"]))
    table = dataset_table("usps", summary, compare(summary, reported))
    rows = [row[0].text for row in table.rows]
    own = rows.index("hybrid")
    assert rows[own + 1].startswith("↳")  # what the papers report, under the cell and not under its read-outs
    assert rows[-2:] == ["hybrid/kmeans", "hybrid/spectral"]
    assert {entry.link for row in table.rows[-2:] for entry in row if entry.link} == {"usps/hybrid.json"}
    assert table.footnotes == [f"hybrid on usps: {NAN}"]
    assert r"hybrid/spectral & 50.0" in table.latex()


def test_a_method_whose_printed_numbers_exclude_each_other_has_a_footnote(comparison: pd.DataFrame) -> None:
    stem, parts = next((stem, parts) for stem, parts in paper_tables(comparison).items() if parts[0].rows)
    printed = comparison[comparison["paper"] + "_table_" + comparison["table"] == stem].iloc[0]
    row = {key: printed[key] for key in ("paper", "table", "dataset", "method")}
    bounds = {"acc": 97.0, "ari": 84.9, "least": 93.4, "least_any": 93.0}
    for sizes, said in (
        ("any", "An ACC of 97.0 leaves an ARI of at least 93.0: the reported numbers cannot all be true (docs/"),
        ("equal", "leaves an ARI of at least 93.4 to clusters of equal size: the reported numbers need unequal ones"),
    ):
        doubted = pd.DataFrame([{**row, **bounds, "sizes": sizes}])
        found = paper_tables(comparison, impossible=doubted)[stem]
        notes = {line[0].text: line[0].note for part in found if row["dataset"] in part.title for line in part.rows}
        assert said in notes.pop(printed["method"])
        assert not any(notes.values())
    assert not any(line[0].note for part in parts for line in part.rows)


def test_markdown_links_every_value_to_its_runs(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    markdown = dataset_table("usps", summary, comparison).markdown("runs")
    assert markdown.count("](runs/usps/dec.json)") == 6
    assert "[75.0 ± 5.0](runs/usps/dec.json)" in markdown


def test_markdown_rows_have_equally_many_places(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    parts = [dataset_table("usps", summary, comparison), *(t for ts in paper_tables(comparison).values() for t in ts)]
    assert len(parts) > 3
    for table in parts:
        lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.columns) + 1}


def test_captions_state_both_protocols(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    caption = dataset_table("usps", summary, comparison).caption
    for part in ("final epoch", "mean ± std", "labels train nothing", "DECS: ", "ULHE-DC: mean and std of 5 runs"):
        assert part in caption
    assert "Lines under" not in dataset_table("toy", summary, comparison).caption


def test_an_unknown_dataset_is_named(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="one of usps, toy, got 'mnist'"):
        dataset_table("mnist", summary, comparison)


def test_paper_tables_list_every_method_of_the_paper_in_its_order(
    comparison: pd.DataFrame, reported: pd.DataFrame
) -> None:
    tables = paper_tables(comparison)
    assert list(tables) == ["hybrid_table_1", "decs_table_1", "ulhe_dc_table_1"]
    (part,) = tables["decs_table_1"]
    rows = reported[(reported["paper"] == "decs") & (reported["dataset"] == "usps")]
    assert list(texts(part)) == list(rows["method"].unique())
    assert [name for name, _ in part.groups if name] == ["ACC", "NMI"]


def test_paper_tables_show_reported_ours_and_their_difference(comparison: pd.DataFrame) -> None:
    (part,) = paper_tables(comparison)["hybrid_table_1"]
    shown = texts(part)
    dash, minus = "\u2014", "\u2212"
    assert shown["DEC"] == [
        *("76.9", "75.0 ± 5.0", f"{minus}1.9"),
        *("79.5", "74.0 ± 5.0", f"{minus}5.5"),
        *("69.8", "72.0 ± 5.0", "+2.2"),
        *("3", "0"),
    ]
    assert shown["Proposed Hybrid"] == [
        "97.1",
        "failed",
        dash,
        "94.0",
        "failed",
        dash,
        "91.2",
        "failed",
        dash,
        "0",
        "3",
    ]
    (part,) = paper_tables(comparison)["decs_table_1"]
    assert texts(part)["DEPICT"][1:3] == ["not run", dash]
    assert texts(part)["DEPICT"][-2:] == [dash, dash]


def test_a_word_says_why_there_is_none_of_ours_and_a_footnote_the_rest(
    summary: pd.DataFrame, published: Callable
) -> None:
    reported = published(
        ("decs", "1", "usps", "jule", "acc", 95.0, ""),
        ("decs", "1", "usps", "hybrid", "acc", 95.0, ""),
        ("decs", "1", "usps", "pc_x", "acc", 95.0, ""),
        *(("decs", "1", "usps", "dec", "nmi", 70.0 + i, f"lambda={i}") for i in range(2)),
    )
    absent = Absent({"jule": Reason("too long", "JULE is long.")}, sweeps={"dec": Reason("sweep", "Not swept.")})
    (part,) = paper_tables(compare(summary, reported), absent)["decs_table_1"]
    shown = texts(part)
    assert [shown[name][1] for name in ("JULE", "HYBRID", "PC_X")] == ["too long", "failed", "not run"]
    assert shown["DEC (lambda=0)"][4] == "sweep"
    assert part.footnotes == ["JULE is long.", f"hybrid on usps: {NAN}", "Not swept."]


def test_ours_of_a_method_that_is_not_its_papers_in_full_has_a_footnote(
    grid: Path, write_cell: Callable, published: Callable
) -> None:
    write_cell(grid, "usps", "deepdpm", {"0": 0.5, "1": 0.5}, readouts=("own",))
    summary = summarise(read_results(grid, ["usps"], ["deepdpm", "dec", "hybrid"]))
    summary["method"] = summary["method"].str.lower()
    reported = published(*(("decs", "1", "usps", name, "acc", 90.0, "") for name in ("deepdpm", "dec", "hybrid")))
    reduced = {name: Reason("told K", "It is told K.") for name in ("deepdpm", "hybrid")}
    comparison = compare(summary, reported)
    (part,) = paper_tables(comparison, reduced=reduced)["decs_table_1"]
    assert [(row[2].text, row[2].note) for row in part.rows] == [
        ("50.0 ± 0.0", "told K: It is told K."),
        ("75.0 ± 5.0", ""),
        ("failed", f"hybrid on usps: {NAN}"),
    ]
    table = dataset_table("usps", summary, comparison, reduced)
    marked = [row[0].text for row in table.rows if row[0].note == "told K: It is told K."]
    assert marked == ["deepdpm", "hybrid"]  # its own number of clusters is the read-out's


def test_the_reading_of_the_released_code_has_a_row_below_that_of_the_paper(
    grid: Path, write_cell: Callable, published: Callable
) -> None:
    write_cell(grid, "usps", "dec_released", {"0": 0.85, "1": 0.95})
    write_cell(grid, "usps", "idec_released", {"0": ("failed", NAN)})
    results = read_results(grid, ["usps"], ["idec", "dec", "dec_released", "idec_released"])
    summary = summarise(results)
    reported = published(*(("decs", "1", "usps", name, "acc", 80.0, "") for name in ("dec", "jule", "idec")))
    comparison = with_released(compare(summary, reported), summary, reported)
    (part,) = paper_tables(comparison)["decs_table_1"]
    assert [(row[0].text, row[2].text, row[3].text) for row in part.rows] == [
        ("DEC", "75.0 ± 5.0", "\u22125.0"),
        ("DEC, as released", "90.0 ± 7.1", "+10.0"),
        ("JULE", "not run", "\u2014"),
        ("IDEC", "91.0 ± 1.4", "+11.0"),
    ]
    assert part.rows[1][2].link == "usps/dec_released.json"
    assert "As released: as the authors' program has the method" in part.caption
    of_data, families = dataset_table("usps", summary, comparison), dict.fromkeys(summary["method"], "self_training")
    shown = page("toy", grid, results, summary, {"usps": of_data}, {"decs_table_1": [part]}, {}, families=families)
    assert "2 accuracies that papers print have ours beside them" in shown
    assert "<dt>published numbers beside ours</dt><dd>2</dd>" in shown
    before = compare(summary[~summary["cell"].str.endswith("_released")], reported)
    pd.testing.assert_frame_equal(with_released(before, summary.iloc[:0], reported), before)


def test_methods_not_their_papers_in_full_are_built_and_none_is_a_papers_own() -> None:
    reduced = read_reduced()
    assert set(reduced) <= set(methods.names())
    assert not set(reduced) & {own for paper in PAPERS.values() for own in paper.methods}
    assert reduced["deepdpm"].word == "reduced, told K"


def test_notes_on_published_numbers_become_footnotes(comparison: pd.DataFrame) -> None:
    (part,) = paper_tables(comparison)["ulhe_dc_table_1"]
    assert part.footnotes[0] == "excerpted by the paper from the method's own paper"
    assert len(part.footnotes) == len(set(part.footnotes))


def test_sweeps_have_a_row_per_setting(summary: pd.DataFrame, published: Callable) -> None:
    sweep = [("ulhe_dc", "3", "usps", "dec", "acc", 70.0 + i, f"lambda={i}") for i in range(2)]
    (part,) = paper_tables(compare(summary, published(*sweep)))["ulhe_dc_table_3"]
    assert texts(part) == {
        "DEC (lambda=0)": ["70.0", "not run", "\u2014", "\u2014", "\u2014"],
        "DEC (lambda=1)": ["71.0", "not run", "\u2014", "\u2014", "\u2014"],
    }


def test_csv_holds_every_number_once_and_tidily(
    summary: pd.DataFrame, comparison: pd.DataFrame, tmp_path: Path
) -> None:
    write([dataset_table("usps", summary, comparison)], tmp_path / "usps")
    table = pd.read_csv(tmp_path / "usps.csv")
    assert not table.duplicated(["cell", "metric", "source"]).any()
    ours = table[table["source"] == "ours"]
    assert len(ours) == 4 * 5
    assert ours["value"].isna().equals(ours["status"] != "ok")
    ulhe = table[(table["source"] == "ulhe_dc: Table 1") & (table["cell"] == "dec")].set_index("metric")
    assert ulhe["value"].to_dict() == {"acc": 76.2, "nmi_max": 76.7}
    assert ulhe["difference"].to_dict() == pytest.approx({"acc": -1.2, "nmi_max": -3.7})


def test_latex_escapes_and_pairs_its_columns(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    text = dataset_table("toy", summary, comparison).latex()
    assert r"loss\_kl is nan at epoch 3 \textbar{} lower a\_b by 50\%" in text
    assert r"75.0 $\pm$ 5.0" in text
    assert text.isascii()
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert {line.count("&") for line in body.strip().splitlines()} == {7}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles_with_booktabs_alone(summary: pd.DataFrame, comparison: pd.DataFrame, tmp_path: Path) -> None:
    if subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False).returncode:
        pytest.skip("LaTeX's booktabs package is not installed")
    tables = {"usps": [dataset_table("usps", summary, comparison)], **paper_tables(comparison)}
    for stem, parts in tables.items():
        write(parts, tmp_path / stem)
    inputs = "\n".join(rf"\input{{{stem}.tex}}" for stem in tables)
    document = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + inputs + "\n\\end{document}\n"
    (tmp_path / "document.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Overfull" not in run.stdout


def test_writing_twice_gives_the_same_bytes(summary: pd.DataFrame, comparison: pd.DataFrame, tmp_path: Path) -> None:
    table = dataset_table("usps", summary, comparison)
    for name in ("a", "b"):
        write([table], tmp_path / name)
    for suffix in ("md", "tex", "csv"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert pd.read_csv(io.StringIO((tmp_path / "a.csv").read_text())).shape[1] == 15
