"""Generated Markdown: blocks replaced and nothing else, failures visible, every link to a file that exists."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from deepclust.errors import UserError
from deepclust.reporting import coverage
from deepclust.reporting.aggregate import compare, read_results, summarise
from deepclust.reporting.readme import (
    best_block,
    block_names,
    coverage_block,
    datasets_block,
    figure_block,
    grids_block,
    index,
    methods_block,
    of_cell,
    paired_block,
    replace_block,
    reported_block,
    reported_figure,
    results_block,
    sweeps_block,
    sweeps_table,
    verdicts_block,
)
from deepclust.reporting.tables import dataset_table, paper_tables, write
from deepclust.reporting.verdicts import NOT_RUN

PAGE = (
    "# Title\n\n<!-- generated: a -->\nold\n<!-- /generated -->\n\ntext\n\n<!-- generated: b -->\n<!-- /generated -->\n"
)


def test_a_block_is_replaced_and_the_rest_kept() -> None:
    page = replace_block(PAGE, "a", "| new |\n")
    assert page == PAGE.replace("old", "| new |")
    assert replace_block(page, "b", "B") == page.replace("b -->\n", "b -->\nB\n")


def test_the_blocks_of_a_page_are_found_in_their_order() -> None:
    assert block_names(PAGE) == ["a", "b"]


def test_replacing_by_the_same_changes_nothing() -> None:
    page = replace_block(PAGE, "b", "body")
    assert replace_block(page, "b", "body") == page
    assert replace_block(page, "b", "other") != page


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("no block", "exactly once.*found 0"),
        (PAGE + PAGE, "exactly once.*found 2"),
        ("<!-- generated: a -->", "not closed"),
        ("<!-- generated: a -->\n<!-- generated: b -->\n<!-- /generated -->", "not closed"),
    ],
)
def test_a_broken_page_is_named(page: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace_block(page, "a", "body")


def test_results_block_has_cells_as_rows_and_datasets_as_columns(summary: pd.DataFrame) -> None:
    lines = results_block(summary, "reports/demo").splitlines()
    assert lines[0] == "| method | [usps](reports/demo/tables/usps.md) | [toy](reports/demo/tables/toy.md) |"
    assert lines[2] == "| `dec` | 75.0 ± 5.0 / 74.0 ± 5.0 / 72.0 ± 5.0 | 75.0 ± 5.0 / 74.0 ± 5.0 / 72.0 ± 5.0 |"
    assert lines[4:6] == ["| `hybrid` | failed | failed |", "| `vade` | skipped | skipped |"]
    assert lines[3].startswith("| `idec` | **91.0 ± 1.4** / 90.0 ± 1.4 / 88.0 ± 1.4 (2 of 3) |")
    assert "(n = 2-3)" in lines[-1]
    assert "In brackets: how many of the seeds finished" in lines[-1]
    assert "In brackets" not in results_block(summary[summary["cell"] == "dec"], "reports/demo")
    assert "[reports/demo](../../reports/demo/README.md)" in results_block(summary, "../../reports/demo")


def test_reported_block_sets_ours_beside_each_published_number_of_what_finished(
    comparison: pd.DataFrame, reported: pd.DataFrame
) -> None:
    grids = pd.concat([comparison.assign(grid="one"), comparison.assign(grid="two")])
    lines = reported_block(grids, {name: f"../{name}/reports" for name in ("one", "two")}).splitlines()
    published = reported[(reported["paper"] == "decs") & (reported["dataset"] == "usps")].set_index(
        ["method_id", "metric"]
    )
    found = [line for line in lines if line.startswith("| [DECS, Table 1]") and "`dec`" in line]
    acc, nmi = (float(published["value"][("dec", metric)]) for metric in ("acc", "nmi"))
    assert [line.split("| usps | ")[1] for line in found] == [
        f"`dec` | `{grid}` | {acc} → 75.0 ± 5.0 | {nmi} → 74.0 ± 5.0 | — | 3 |" for grid in ("one", "two")
    ]
    assert not any("`hybrid`" in line or "`kmeans`" in line for line in lines)  # failed, not run
    for table in paper_tables(comparison):
        assert any(f"(../two/reports/tables/{table}.md)" in line for line in lines)
    assert "Any other method is from one grid: that of the verdict on this data set" in lines[-1]
    own = grids[grids["cell"] == "hybrid"].assign(status="ok")
    assert "Any other" not in reported_block(own, {name: name for name in ("one", "two")})


def test_blocks_name_what_a_method_lacks_of_its_paper(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    reduced = {name: coverage.Reason("told K", "It is told K.") for name in ("DEC", "dec", "pc_x")}
    lines = results_block(summary, "reports/demo", reduced).splitlines()
    assert lines[2].startswith("| `dec` (told K) | 75.0 ± 5.0")
    assert lines[3].startswith("| `idec` | ")
    assert lines[-1].endswith("/README.md). It is told K.")
    block = reported_block(comparison.assign(grid="one"), {"one": "one"}, reduced)
    assert "| `dec` (told K) | `one` |" in block
    assert "| `idec` | `one` |" in block
    assert block.endswith("no score chooses. It is told K.")


def test_a_result_of_older_code_has_a_dagger_and_the_caption_says_so(
    summary: pd.DataFrame, results: pd.DataFrame, comparison: pd.DataFrame
) -> None:
    current = {("usps", "dec"), ("toy", "idec")}
    lines = results_block(summary, "reports/demo", current=current).splitlines()
    assert lines[2] == "| `dec` | 75.0 ± 5.0 / 74.0 ± 5.0 / 72.0 ± 5.0 | 75.0 ± 5.0 / 74.0 ± 5.0 / 72.0 ± 5.0 † |"
    assert re.findall(r"\(2 of 3\)( †)? \|", lines[3]) == [" †", ""]
    assert lines[4:6] == ["| `hybrid` | failed | failed |", "| `vade` | skipped | skipped |"]
    said = "†: of older code, settings or data; `make verify` says why."
    assert lines[-1].endswith(said)
    everything = {(dataset, cell) for dataset in ("usps", "toy") for cell in ("dec", "idec", "hybrid", "vade")}
    assert "†" not in results_block(summary, "reports/demo", current=everything)

    lines = best_block(results, comparison, {"IDEC": "trained"}, "reports/demo", current=current).splitlines()
    assert re.findall(r"`idec`( †)? \|", lines[2]) == [" †", ""]
    assert lines[-1].endswith(said)

    twice = pd.concat([comparison.assign(grid="one"), comparison.assign(grid="two")])
    reports = {name: name for name in ("one", "two")}
    block = reported_block(twice, reports, current={"one": current, "two": set()})
    assert "| usps | `dec` | `one` |" in block
    assert "| usps | `idec` | `one` † |" in block
    assert "| usps | `dec` | `two` † |" in block
    assert block.endswith(said)

    row = {"paper": "decs", "method": "decs", "n": 3, "cause": "Short.", "evidence": ["docs/papers/decs.md"]}
    row |= {"reported": {"1": {"acc": 99.2}}, "ours": {"acc": 98.2}, "std": {"acc": 0.1}, "verdict": "near"}
    row |= {"cell": "decs"}
    judged = pd.DataFrame([row | {"dataset": "usps", "grid": "one"}, row | {"dataset": "toy", "grid": "two"}])
    block = verdicts_block(judged, reports, "docs", {"one": {("usps", "decs")}, "two": {("usps", "decs")}})
    assert "| [`one`](one/README.md) | near |" in block
    assert "| [`two`](two/README.md) † | near |" in block
    assert block.splitlines()[0] == f"2 results of the papers' own methods: 2 near. {said}"
    variant = pd.DataFrame([row | {"dataset": "usps", "grid": "one", "cell": "decs_wide"}])
    block = verdicts_block(variant, reports, "docs", {"one": {("usps", "decs")}})
    assert "| [`one`](one/README.md) `decs_wide` † | near |" in block


def test_the_best_of_each_family_stands_with_what_papers_report_for_it(
    results: pd.DataFrame, comparison: pd.DataFrame
) -> None:
    families = {"DEC": "trained", "IDEC": "trained", "HYBRID": "graph", "VADE": "graph"}
    lines = best_block(results, comparison, families, "reports/demo").splitlines()
    assert lines[0] == "| family | [usps](reports/demo/tables/usps.md) | [toy](reports/demo/tables/toy.md) |"
    assert lines[2] == "| `trained` | **91.0 ± 1.4** (2 of 3) (76.1 to 95.0) `idec` | **91.0 ± 1.4** (2 of 3) `idec` |"
    assert lines[3] == ""  # nothing of the other family finished
    assert lines[-1].endswith("which no method sees. Some seeds failed: (2 of 3) says how many finished.")
    told = {"DEC": coverage.Reason("told K", "It is told K.")}
    apart = best_block(results, comparison, {"DEC": "trained"}, "reports/demo", told).splitlines()
    assert apart[2] == "| `trained` | 75.0 ± 5.0 (76.2 to 76.9) `dec` (told K) | 75.0 ± 5.0 `dec` (told K) |"
    assert apart[-1].endswith("which no method sees. It is told K.")


def test_the_picture_has_the_papers_own_results_that_were_run_and_its_text_their_count() -> None:
    said = {"std": {"acc": 0.5}, "reported": {"1": {"acc": 90.0, "nmi": 80.0}, "2": {"acc": 10.0}}}
    rows = [
        {"paper": "decs", "method": "decs", "dataset": "usps", "ours": {"acc": 89.5}, "verdict": "reached", **said},
        {"paper": "decs", "method": "decs", "dataset": "fashion", "ours": {"acc": 60.0}, "verdict": "near", **said},
        {"paper": "decs", "method": "decs", "dataset": "ytf", "ours": {}, "verdict": NOT_RUN, **said},
    ]
    judged = pd.DataFrame(rows).assign(grid="grid", cell="decs/own_k")  # a read-out, as current as its cell
    picture = reported_figure(judged, {"decs": "centroids", "dec": "self_training"})
    assert ">decs on usps</text>" in picture
    assert "90.0 → 89.5 ± 0.5" in picture
    assert "decs on fashion" in picture
    assert "ytf" not in picture
    text = figure_block(judged, picture, "figures/reported.svg", "verdicts.md")
    assert "](figures/reported.svg)" in text
    assert "2 results of the papers' own methods were run again: 1 reached, 1 near" in text
    assert "†" not in text
    older = reported_figure(judged, {"decs": "centroids"}, {"grid": frozenset([("usps", "decs")])})
    assert ">decs on usps</text>" in older
    assert ">decs on fashion †</text>" in older
    assert "†: of older code" in figure_block(judged, older, "figures/reported.svg", "verdicts.md")


def test_results_block_shows_a_cell_absent_from_a_dataset_as_not_run(summary: pd.DataFrame) -> None:
    partial = summary[(summary["dataset"] == "usps") | (summary["cell"] != "dec")]
    assert results_block(partial, "reports/demo").splitlines()[2].endswith("| \u2014 |")


def test_readouts_follow_their_cell_even_where_it_failed_on_the_first_data_set(
    grid: Path, write_cell: Callable
) -> None:
    write_cell(grid, "toy", "hybrid", {"0": 0.5}, readouts=("spectral",))
    summary = summarise(read_results(grid, ["usps", "toy"], ["hybrid", "vade"]))
    lines = results_block(summary, "reports/demo").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| `hybrid`", "| `hybrid/spectral`", "| `vade`"]
    assert "| `hybrid/spectral` | \u2014 | **50.0** " in lines[3]


def test_the_index_begins_with_the_best_of_each_data_set(
    grid: Path, write_cell: Callable, reported: pd.DataFrame
) -> None:
    write_cell(grid, "usps", "idec", {"0": 0.90, "1": 0.92, "2": 0.94})
    write_cell(grid, "toy", "idec", {"0": 0.70, "1": 0.92, "2": 0.94})
    results = read_results(grid, ["usps", "toy"], ["dec", "idec"])
    summary = summarise(results)
    tables = {name: dataset_table(name, summary, compare(summary, reported)) for name in ("usps", "toy")}
    page = index("demo", summary, tables, {}, {}, results=results)
    assert "- usps: **idec**, ACC 92.0 ± 2.0. Every other is told apart from it.\n" in page
    assert "- toy: **idec**, ACC 85.3 ± 13.3. No other is told apart from it.\n" in page
    unlabelled = results.assign(value=float("nan"))
    assert "Which is best" not in index("demo", summary, tables, {}, {}, results=unlabelled)


def test_what_failed_is_listed_once_and_not_for_every_readout(
    grid: Path, write_cell: Callable, reported: pd.DataFrame
) -> None:
    write_cell(grid, "toy", "hybrid", {"0": 0.5, "1": ("failed", "no code")}, readouts=("kmeans", "spectral"))
    summary = summarise(read_results(grid, ["toy"], ["hybrid"]))
    page = index("demo", summary, {"toy": dataset_table("toy", summary, compare(summary, reported))}, {}, {})
    assert page.count("1 finished, 1 failed") == 1


def sweep_results() -> pd.DataFrame:
    scores = {("alpha=1,code=unit", 0): 0.5, ("alpha=1,code=unit", 1): 0.7, ("alpha=0.1,code=unit", 0): 0.9}
    rows = [
        {"point": point, "seed": seed, "status": "ok", "metric": metric, "value": value}
        for (point, seed), value in scores.items()
        for metric in ("acc", "nmi", "ari")
    ]
    failed = {"point": "alpha=0.1,code=unit", "seed": 1, "status": "failed"}
    return pd.DataFrame([*rows, *(failed | {"metric": metric} for metric in ("acc", "nmi", "ari"))])


def test_sweeps_are_listed_with_what_varied_and_the_range_of_their_points() -> None:
    asked = {"name": "mine", "cell": "dec", "dataset": "toy", "base": {"epochs": 3}}
    block = sweeps_block(sweeps_table([asked], {"mine": sweep_results()}), {"sweeps/mine/acc": "`mine`: ACC"})
    assert block.splitlines()[2] == (
        "| [`mine`](sweeps/mine/results.csv) | `dec` | toy | alpha: 1, 0.1; code: unit (with epochs = 3) | 2 | 2 | 1 | "
        "60.0 to 90.0 | 60.0 to 90.0 | 60.0 to 90.0 |"
    )
    assert block.endswith("![`mine`: ACC](sweeps/mine/acc.png)\n\n`mine`: ACC ([PDF](files/sweeps/mine/acc.pdf))")


def test_a_sweep_of_which_nothing_finished_has_no_range() -> None:
    asked = {"name": "mine", "cell": "dec", "dataset": "toy", "base": {}}
    failed = sweep_results().assign(status="failed", value=float("nan"))
    line = sweeps_block(sweeps_table([asked], {"mine": failed}), {}).splitlines()[2]
    assert line.endswith("| 2 | 2 | 4 | \u2014 | \u2014 | \u2014 |")


def test_index_has_a_section_of_sweeps_where_there_are_any(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    tables = {"toy": dataset_table("toy", summary, comparison)}
    assert "## Sweeps\n\n| sweep |" in index("demo", summary, tables, {}, {}, sweeps="| sweep |")
    assert "Sweeps" not in index("demo", summary, tables, {}, {})


def test_paired_block_compares_the_seeds_that_finished_in_both_grids() -> None:
    def results(scores: dict[int, float | None]) -> pd.DataFrame:
        rows = [
            {"dataset": "toy", "cell": "dec", "seed": seed, "metric": metric, "value": value}
            | {"status": "failed" if value is None else "ok"}
            for seed, value in scores.items()
            for metric in ("acc", "nmi", "ari")
        ]
        return pd.DataFrame(rows)

    first, second = results({0: 0.5, 1: 0.7, 2: None}), results({2: 0.9, 1: 0.6, 0: 0.6})
    lines = paired_block({"one": first, "two": second}).splitlines()
    assert lines[0].startswith("| data set | method | ACC `one` | ACC `two` | ACC difference |")
    assert lines[2:4] == ["| toy | `dec` | 60.0 | 60.0 | 0.0 ± 14.1 | 60.0 | 60.0 | 0.0 ± 14.1 | 1 of 2 |", ""]
    assert lines[0].endswith("| ACC higher |")
    sides = {"one": first, "two": second}
    assert "†" not in paired_block(sides, lambda *place: place == ("toy", "dec"))
    older = paired_block(sides, lambda *_: False)
    assert "| toy | `dec` † | 60.0" in older
    assert older.endswith("†: of older code, settings or data; `make verify` says why.")


def test_grids_block_says_how_many_results_are_current_and_their_precision() -> None:
    mine = ("mine", "../R.md", ["a", "b"], 8, 3, {"float32": 2, "bfloat16": 1}, "All | of it.")
    other = ("other", "../S.md", ["a"], 2, 2, {"bfloat16": 2}, "Less.")
    lines = grids_block([mine, other, ("new", "", ["a"], 2, 0, {}, "More.")])
    assert lines.splitlines()[2:] == [
        r"| [`mine`](../R.md) | a, b | 3 of 8 | float32 (2), bfloat16 (1) | All \| of it. |",
        "| [`other`](../S.md) | a | 2 of 2 | bfloat16 | Less. |",
        "| `new` | a | none |  | More. |",
    ]


def test_cells_of_a_grid_are_paired_by_the_names_of_their_readouts() -> None:
    names = ["dec", "dec/kmeans", "dec_wide", "dec_wide/kmeans", "kmeans"]
    results = pd.DataFrame({"cell": names, "value": range(5)})
    assert of_cell(results, "dec").to_dict("list") == {"cell": ["labels", "kmeans"], "value": [0, 1]}
    assert of_cell(results, "dec_wide")["value"].tolist() == [2, 3]


@pytest.mark.parametrize("command", ["make repro", "make repro GRID=large"])
def test_a_command_that_runs_more_than_it_names_is_still_marked_as_one(command: str) -> None:
    covered = pd.DataFrame(
        [{"paper": "decs", "kind": coverage.NOT_RUN, "subject": "har/dec", "reason": f"{command}, with har among them"}]
    )
    assert coverage_block(covered).endswith(f"| not run | `har/dec` | 1 | `{command}`, with har among them |")


def test_methods_block_lists_the_methods_by_family() -> None:
    dec = ("self_training", "dec", "Deep embedded | clustering.", ["mlp"])
    block = methods_block([dec, ("baselines", "kmeans", "K-means.", [])])
    assert block.splitlines()[2:] == [
        "| `baselines` | `kmeans` | K-means. |  |",
        r"| `self_training` | `dec` | Deep embedded \| clustering. | `mlp` |",
    ]


def test_datasets_block_lists_the_data_sets_by_name() -> None:
    pictures = ("shapes", "Shapes: 600 drawings.", 3, (1, 12, 12), ["DECS", "PC-X"])
    block = datasets_block([pictures, ("nodes", "Nodes: a graph.", 4, None, [])])
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()[2:]] == [
        ["`nodes`", "Nodes: a graph.", "4", "", ""],
        ["`shapes`", "Shapes: 600 drawings.", "3", "1 x 12 x 12", "DECS, PC-X"],
    ]


def test_index_links_only_to_files_that_exist(grid: Path, summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    tables = {dataset: dataset_table(dataset, summary, comparison) for dataset in ("usps", "toy")}
    papers = paper_tables(comparison)
    for stem, parts in {**{name: [table] for name, table in tables.items()}, **papers}.items():
        write(parts, grid / "tables" / stem)
    figures = {"usps": {"figures/usps_accuracy": "Accuracy on usps"}}
    for name in ("figures/usps_accuracy.png", "files/figures/usps_accuracy.pdf"):
        (grid / name).parent.mkdir(parents=True)
        (grid / name).touch()
    for name in tables:
        (grid / "cells" / name / "dec").mkdir(parents=True)
        (grid / "cells" / name / "dec/tsne.png").touch()
    page = index("demo", summary, tables, papers, figures, {name: {"dec": ["tsne"]} for name in tables})
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert "![Accuracy on usps](figures/usps_accuracy.png)" in page
    for link in links:
        if link.startswith("#"):
            assert f"## {link[1:].replace('-', ' ')}" in page.lower()
        else:
            assert (grid / link).exists(), link


def test_index_names_what_did_not_finish_and_the_figures_of_cells(
    summary: pd.DataFrame, comparison: pd.DataFrame
) -> None:
    drawn = {"usps": {"dec": ["confusion", "tsne"], "hybrid": []}}
    page = index("demo", summary, {"usps": dataset_table("usps", summary, comparison)}, {}, {}, drawn)
    assert "`make repro GRID=demo`" in page
    assert "[`usps/hybrid`](runs/usps/hybrid.json): 0 finished, 3 failed, status failed. loss_kl is nan" in page
    assert "[`toy/idec`](runs/toy/idec.json): 2 finished, 1 failed, status ok." in page
    assert "[`toy/vade`](runs/toy/vade.json): 0 finished, 0 failed, status skipped. no network fits" in page
    assert "`usps/dec`" not in page
    assert "\n- `dec`: [confusion](cells/usps/dec/confusion.png), [tsne](cells/usps/dec/tsne.png)\n" in page
    assert "- `hybrid`:" not in page


def test_index_says_when_everything_finished(summary: pd.DataFrame, comparison: pd.DataFrame) -> None:
    dec = summary[summary["cell"] == "dec"]
    page = index("demo", dec, {"usps": dataset_table("usps", dec, comparison[comparison["cell"] == "dec"])}, {}, {})
    assert "Every seed of every cell finished." in page
    assert "own figures" not in page
