"""Evaluation of run folders made by hand: every file found is scored or drawn, and none that is absent is missed."""

import io
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from deepclust.errors import UserError
from deepclust.files import read_json, write_array, write_json, write_sparse, write_text
from deepclust.metrics import INTERNAL, accuracy, ari
from deepclust.reporting.aggregate import read_results

pytestmark = pytest.mark.usefixtures("unrendered")

STAGES = Path(__file__).parents[2] / "stages"
Y = np.arange(60) % 3
LABELS = np.where(np.arange(60) < 6, 0, Y)  # four of 60 wrong
PNGS = {"candidates", "affinity", "half_steps", "confusion", "tsne", "curves"}


def stage(name: str) -> Callable[..., None]:
    """Return the `main` of a stage."""
    main: Callable[..., None] = runpy.run_path(str(STAGES / f"{name}.py"))["main"]
    return main


def trace() -> pd.DataFrame:
    """Return two epochs of alternating minimisation, the second undone, and the Z-step after them."""
    epochs = {
        "loss": [3.0, 2.0],
        "theta_objective": [4.0, 9.0],
        "accepted": [True, False],
        "learning_rate": [1e-3, 1e-3],
    }
    table = pd.DataFrame(epochs).reindex(range(3))
    columns = {"z_objective": [5.0, 4.0, 3.5], "code_scale": [9.0, 8.0, 8.0], "code_rank": [3.0, 2.0, 2.0]}
    return table.assign(phase="cluster", epoch=range(3), **columns)


def write_run(folder: Path, method: str = "hybrid", **record: Any) -> None:
    write_json(folder / "run.json", {"status": "ok", "reason": "", "method": method, "settings": {}} | record)
    if record.get("status", "ok") == "ok":
        write_array(folder / "labels.npy", LABELS)
        write_text(folder / "trace.csv", trace().to_csv(index=False))


def write_cells(*names: str) -> None:
    """Write what `plan` says of the grid, whose cells are in the order of the names."""
    cells = {f"toy-{name}": {"dataset": "toy", "cell": name, "graph": None, "network": None} for name in names}
    write_text("cells.yaml", json.dumps({"name": "demo", "data_sets": ["toy"], "cells": cells}))


def write_extras(folder: Path) -> None:
    """Write what the hybrid leaves beside its labels."""
    write_array(folder / "embedding.npy", np.random.default_rng(0).normal(size=(60, 3)))
    for name, labels in {"spectral": Y, "kmeans": Y // 2}.items():
        write_array(folder / "readouts" / f"{name}.npy", labels)
    write_array(folder / "candidate_labels.npy", np.stack([Y, LABELS, Y // 2]).astype(np.int32))
    table = {"origin": ["a", "b", "a"], "modularity": [0.6, 0.7, 0.1], "normalized_cut": [0.1, 0.2, 0.3]}
    write_text(folder / "candidates.csv", pd.DataFrame(table).to_csv(index=False))
    W = sp.csr_matrix(np.equal.outer(Y, Y) * 1.0)
    write_sparse(folder / "candidate_weights.npz", W)
    write_sparse(folder / "affinity.npz", -W)


def write_extras_of_training(folder: Path) -> None:
    """Write what DC-Kmeans, ULHE-DC and PC-X leave beside their labels, all in one."""
    rng = np.random.default_rng(0)
    write_array(folder / "embedding.npy", rng.normal(size=(60, 3)))
    write_array(folder / "embedding_before.npy", rng.normal(size=(60, 5)))
    write_array(folder / "decoded_centers.npy", rng.random((3, 8), dtype=np.float32))
    table = {"cluster": range(3), "n": 20, "before": [100 / 3, 50, 60], "after": [200 / 7, 30, 20]}
    write_text(folder / "singular_values.csv", pd.DataFrame(table).to_csv(index=False))
    epochs = {"phase": "cluster", "epoch": range(3), "loss": [3.0, 2.0, 1.0], "primal_residual": [2.0, 1.0, 0.5]}
    write_text(folder / "trace.csv", pd.DataFrame(epochs).assign(alive=[3, 3, 2]).to_csv(index=False))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_array("data/prepared/toy/X.npy", np.random.default_rng(0).random((60, 8), dtype=np.float32))
    write_array("data/prepared/toy/y.npy", Y)
    write_text("data/prepared/toy/samples.txt", "".join(f"{i}\n" for i in range(60)))
    W = np.equal.outer(Y, Y) * 1.0
    np.fill_diagonal(W, 0)
    write_sparse("data/graph/toy/weights.npz", sp.csr_matrix(W))
    write_json("data/prepared/toy/meta.json", {"k": 3, "image_shape": [2, 2, 2]})
    return tmp_path


def pngs(folder: str) -> set[str]:
    return {path.stem for path in Path(folder).glob("*.png")}


def test_readouts_are_scored_beside_the_labels(project: Path) -> None:
    for seed in (0, 1):
        write_run(project / f"data/runs/toy/hybrid/seed-{seed}")
        write_extras(project / f"data/runs/toy/hybrid/seed-{seed}")
    write_run(project / "data/runs/toy/hybrid/seed-2", status="failed", reason="no code")
    stage("evaluate")("toy", "hybrid")
    metrics = read_json("reports/metrics/toy/hybrid.json")
    assert metrics["acc"] == pytest.approx(accuracy(Y, LABELS))
    assert (metrics["n"], metrics["failed"]) == (2, 1)
    scores = read_json("reports/scores/toy/hybrid.json")
    expected = {"hybrid": accuracy(Y, LABELS), "hybrid/kmeans": accuracy(Y, Y // 2), "hybrid/spectral": 1.0}
    for row, score in expected.items():
        assert [of_seed["acc"] for of_seed in scores.pop(row).values()] == pytest.approx([score, score])
    assert scores == {}
    rows = read_results("reports", ["toy"], ["hybrid"])
    assert list(rows["cell"].unique()) == ["hybrid", "hybrid/kmeans", "hybrid/spectral"]
    assert set(rows.loc[rows["seed"] == 2, "status"]) == {"failed"}


def test_the_confusion_is_counted_over_the_seeds_by_matched_classes(project: Path) -> None:
    for seed in (0, 1):
        write_run(project / f"data/runs/toy/hybrid/seed-{seed}")
    write_array("data/runs/toy/hybrid/seed-1/labels.npy", (Y + 1) % 3)  # the classes under other names
    stage("evaluate")("toy", "hybrid")
    table = pd.read_csv("reports/confusion/toy/hybrid.csv")
    assert table["samples"].sum() == 2 * len(Y)
    matched = table.loc[table["actual"] == table["predicted"], "samples"].sum()
    assert matched / (2 * len(Y)) == pytest.approx((accuracy(Y, LABELS) + 1) / 2)


def test_what_a_run_left_is_drawn(project: Path) -> None:
    write_run(project / "data/runs/toy/hybrid/seed-0")
    write_extras(project / "data/runs/toy/hybrid/seed-0")
    stage("evaluate")("toy", "hybrid")
    assert pngs("reports/cells/toy/hybrid") == PNGS
    assert read_json("reports/runs/toy/hybrid.json")["figures"] == sorted(PNGS)


def test_the_shares_of_singular_values_are_kept_by_class_with_the_scores(project: Path) -> None:
    write_run(project / "data/runs/toy/pc_x/seed-0", "pc_x")
    write_extras_of_training(project / "data/runs/toy/pc_x/seed-0")
    stage("evaluate")("toy", "pc_x")
    scores = read_json("reports/scores/toy/pc_x.json")["pc_x"]["0"]
    assert scores["acc"] == pytest.approx(accuracy(Y, LABELS))
    assert scores["share_before_mean"] == pytest.approx((100 / 3 + 50 + 60) / 3)
    assert {name for name in scores if name.startswith("share_after_")} == {
        f"share_after_{k}" for k in (0, 1, 2, "mean")
    }


def test_what_training_left_is_drawn(project: Path) -> None:
    write_run(project / "data/runs/toy/pc_x/seed-0", method="pc_x")
    write_extras_of_training(project / "data/runs/toy/pc_x/seed-0")
    stage("evaluate")("toy", "pc_x")
    drawn = {"confusion", "curves", "tsne", "cosine", "centers", "singular_values", "convergence", "alive"}
    assert pngs("reports/cells/toy/pc_x") == drawn
    table = Path("reports/files/toy/pc_x/singular_values.csv").read_text(encoding="utf-8")
    assert table.splitlines()[:2] == ["cluster,n,before,after", "0,20,33.3333,28.5714"]


def test_centres_of_data_without_an_image_shape_are_not_drawn(project: Path) -> None:
    write_json("data/prepared/toy/meta.json", {"k": 3, "image_shape": None})
    write_run(project / "data/runs/toy/pc_x/seed-0", method="pc_x")
    write_array("data/runs/toy/pc_x/seed-0/decoded_centers.npy", np.zeros((3, 8)))
    stage("evaluate")("toy", "pc_x")
    assert pngs("reports/cells/toy/pc_x") == {"confusion", "curves", "half_steps", "tsne"}


def test_a_largest_cosine_is_reason_enough_for_the_figure_of_convergence_and_an_empty_column_is_none(
    project: Path,
) -> None:
    write_run(project / "data/runs/toy/ulhe_dc/seed-0", method="ulhe_dc")
    table = pd.DataFrame({"phase": "cluster", "epoch": range(3), "largest_cosine": [0.5, 0.2, -0.1], "alive": np.nan})
    write_text("data/runs/toy/ulhe_dc/seed-0/trace.csv", table.to_csv(index=False))
    stage("evaluate")("toy", "ulhe_dc")
    assert pngs("reports/cells/toy/ulhe_dc") == {"confusion", "convergence", "tsne"}
    write_text("data/runs/toy/ulhe_dc/seed-0/trace.csv", table.assign(largest_cosine=np.nan).to_csv(index=False))
    Path("reports/cells/toy/ulhe_dc/convergence.png").unlink()
    stage("evaluate")("toy", "ulhe_dc")
    assert pngs("reports/cells/toy/ulhe_dc") == {"confusion", "tsne"}


def test_what_a_run_did_not_leave_is_not_missed(project: Path) -> None:
    write_run(project / "data/runs/toy/kmeans/seed-0", method="kmeans")
    (project / "data/runs/toy/kmeans/seed-0/trace.csv").unlink()
    stage("evaluate")("toy", "kmeans")
    assert pngs("reports/cells/toy/kmeans") == {"confusion", "tsne"}  # of the samples as they are
    files = sorted(path.name for path in Path("reports/files/toy/kmeans").iterdir())
    assert files == ["assignments.csv", "confusion.pdf", "tsne.pdf"]
    assert list(read_json("reports/scores/toy/kmeans.json")) == ["kmeans"]
    assert read_json("reports/runs/toy/kmeans.json")["figures"] == ["confusion", "tsne"]
    assert pd.read_csv("reports/traces/toy/kmeans.csv").empty


def test_unlabelled_data_is_judged_and_drawn_without_classes(project: Path) -> None:
    write_array("data/prepared/toy/y.npy", np.empty(0, np.int64))
    write_text("data/prepared/toy/samples.txt", "".join(f"views/{i}.png\n" for i in range(60)))
    for seed in (0, 3):
        write_run(project / f"data/runs/toy/hybrid/seed-{seed}")
        write_extras(project / f"data/runs/toy/hybrid/seed-{seed}")
    write_array("data/runs/toy/hybrid/seed-3/labels.npy", Y)
    stage("evaluate")("toy", "hybrid")
    metrics = read_json("reports/metrics/toy/hybrid.json")
    assert set(metrics) == {"silhouette", "modularity", "stability", "n", "failed"}
    assert metrics["stability"] == pytest.approx(ari(LABELS, Y))
    scores = read_json("reports/scores/toy/hybrid.json")["hybrid"]
    assert set(scores["3"]) == set(INTERNAL)
    assert scores["3"]["modularity"] == pytest.approx(2 / 3)
    assert Path("reports/confusion/toy/hybrid.csv").read_text(encoding="utf-8") == "actual,predicted,samples\n"
    assert pngs("reports/cells/toy/hybrid") == {"tsne", "curves", "half_steps"}
    table = pd.read_csv("reports/files/toy/hybrid/assignments.csv")
    assert table["sample"].tolist() == [f"views/{i}.png" for i in range(60)]
    assert table["seed_0"].tolist() == LABELS.tolist()
    assert table["seed_3"].tolist() == Y.tolist()


def test_what_training_left_is_drawn_without_classes_too(project: Path) -> None:
    write_array("data/prepared/toy/y.npy", np.empty(0, np.int64))
    write_run(project / "data/runs/toy/pc_x/seed-0", method="pc_x")
    write_extras_of_training(project / "data/runs/toy/pc_x/seed-0")
    stage("evaluate")("toy", "pc_x")
    drawn = {"curves", "tsne", "centers", "singular_values", "convergence", "alive"}
    assert pngs("reports/cells/toy/pc_x") == drawn
    assert "stability" not in read_json("reports/metrics/toy/pc_x.json")


def test_unlabelled_samples_are_mapped_as_they_are_where_a_method_has_no_code(project: Path) -> None:
    write_array("data/prepared/toy/y.npy", np.empty(0, np.int64))
    write_run(project / "data/runs/toy/kmeans/seed-0", method="kmeans")
    (project / "data/runs/toy/kmeans/seed-0/trace.csv").unlink()
    stage("evaluate")("toy", "kmeans")
    assert pngs("reports/cells/toy/kmeans") == {"tsne"}
    table = pd.read_csv("reports/files/toy/kmeans/assignments.csv")
    assert table["sample"].tolist() == list(range(60))


def test_the_report_on_unlabelled_data_draws_no_accuracies(project: Path) -> None:
    write_array("data/prepared/toy/y.npy", np.empty(0, np.int64))
    write_run(project / "data/runs/toy/kmeans/seed-0", method="kmeans")
    stage("evaluate")("toy", "kmeans")
    write_json("reports/sweeps/index.json", [])
    write_cells("kmeans")
    stage("report")()
    page = Path("reports/README.md").read_text(encoding="utf-8")
    assert "This data set has no labels" in page
    assert "| Silhouette |" in page
    assert "accuracy_toy" not in page


def test_a_cell_without_a_finished_seed_says_why_it_has_no_figures(project: Path) -> None:
    write_run(project / "data/runs/toy/dec/seed-0", method="dec", status="failed", reason="loss is not finite")
    stage("evaluate")("toy", "dec")
    assert list(Path("reports/cells/toy/dec").iterdir()) == []
    (why,) = Path("reports/files/toy/dec").iterdir()
    assert why.read_text(encoding="utf-8") == "seed 0: loss is not finite\n"
    assert read_json("reports/runs/toy/dec.json")["figures"] == []
    assert pd.read_csv("reports/traces/toy/dec.csv").empty


def test_a_trace_without_a_loss_has_no_curves(project: Path) -> None:
    write_run(project / "data/runs/toy/hybrid/seed-0")
    only_z = trace().drop(columns=["loss", "theta_objective", "accepted"]).iloc[2:]
    write_text("data/runs/toy/hybrid/seed-0/trace.csv", only_z.to_csv(index=False))
    stage("evaluate")("toy", "hybrid")
    assert pngs("reports/cells/toy/hybrid") == {"confusion", "tsne"}


def test_the_traces_of_all_seeds_are_stacked(project: Path) -> None:
    for seed in (1, 10):
        write_run(project / f"data/runs/toy/hybrid/seed-{seed}")
    stage("evaluate")("toy", "hybrid")
    stacked = pd.read_csv("reports/traces/toy/hybrid.csv")
    assert stacked.columns[0] == "seed"
    assert stacked["seed"].tolist() == [1, 1, 1, 10, 10, 10]
    expected = pd.read_csv(io.StringIO(trace().to_csv(index=False)))
    for _, part in stacked.groupby("seed"):
        pd.testing.assert_frame_equal(part.drop(columns="seed").reset_index(drop=True), expected, check_dtype=False)


@pytest.fixture
def swept(project: Path) -> list[str]:
    """Write a sweep of two settings and two seeds, in which one point failed with one seed and one with both."""
    points = [f"learning_rate={rate},bandwidth={width}" for rate in ("0.1", "1e-05") for width in ("null", "median")]
    plan = {"cell": "hybrid", "seeds": [0, 3], "points": points}
    write_json("data/plan/toy/evaluate_sweep/mine.json", plan)
    failed = {(points[1], 3), (points[2], 0), (points[2], 3)}
    for point in points:
        for seed in (0, 3):
            end = {"status": "failed", "reason": "no code, none"} if (point, seed) in failed else {}
            write_run(Path(f"data/sweeps/toy/mine/{point}/seed-{seed}"), **end)
    return points


def test_a_sweep_has_a_row_for_every_point_seed_and_metric_failed_ones_too(swept: list[str]) -> None:
    stage("evaluate_sweep")("toy", "mine")
    text = Path("reports/sweeps/mine/results.csv").read_text(encoding="utf-8")
    results = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert list(results) == ["learning_rate", "bandwidth", "point", "seed", "status", "reason", "metric", "value"]
    assert len(results) == 4 * 2 * 5
    assert list(results["point"].unique()) == swept
    assert results["bandwidth"].tolist() == (["null"] * 10 + ["median"] * 10) * 2
    failed = results[results["status"] == "failed"]
    assert len(failed) == 3 * 5
    assert set(failed["reason"]) == {"no code, none"}
    assert set(failed["value"]) == {""}
    scores = results.loc[(results["status"] == "ok") & (results["metric"] == "acc"), "value"].astype(float)
    assert scores.tolist() == pytest.approx([accuracy(Y, LABELS)] * 5, rel=1e-5)


def test_a_sweep_stacks_its_traces_and_keeps_their_columns_apart_from_the_settings(swept: list[str]) -> None:
    stage("evaluate_sweep")("toy", "mine")
    traces = pd.read_csv("reports/sweeps/mine/traces.csv")
    assert list(traces.columns[:4]) == ["learning_rate", "bandwidth", "point", "seed"]
    assert traces.groupby(["point", "seed"], sort=False).size().tolist() == [3] * 5
    assert traces["learning_rate"].tolist() == [0.1] * 9 + [1e-5] * 6
    assert set(traces["trace_learning_rate"].dropna()) == {1e-3}


def test_a_sweep_is_drawn_with_what_its_traces_allow(swept: list[str]) -> None:
    stage("evaluate_sweep")("toy", "mine")
    assert pngs("reports/sweeps/mine") == {"acc", "nmi", "half_steps", "scale_and_rank"}
    assert {path.suffix for path in Path("reports/sweeps/mine").iterdir()} == {".csv", ".png"}
    pages = sorted(path.name for path in Path("reports/files/sweeps/mine").iterdir())
    assert pages == ["acc.pdf", "half_steps.pdf", "nmi.pdf", "scale_and_rank.pdf"]
    for path in Path("data/sweeps").rglob("trace.csv"):
        write_text(path, trace().drop(columns=["code_scale", "z_objective"]).to_csv(index=False))
    for path in Path("reports/sweeps/mine").iterdir():
        path.unlink()
    stage("evaluate_sweep")("toy", "mine")
    assert pngs("reports/sweeps/mine") == {"acc", "nmi"}


def test_the_report_shows_sweeps_read_outs_and_variants_of_one_method_together(swept: list[str]) -> None:
    for cell in ("hybrid", "hybrid_literal", "dec"):
        write_run(Path(f"data/runs/toy/{cell}/seed-0"), method=cell.split("_")[0])
        stage("evaluate")("toy", cell)
    write_extras(Path("data/runs/toy/hybrid/seed-0"))
    stage("evaluate")("toy", "hybrid")
    stage("evaluate_sweep")("toy", "mine")
    asked = {"name": "mine", "dataset": "toy", "cell": "hybrid", "base": {}, "grid": {}, "seeds": [0, 3]}
    write_json("reports/sweeps/index.json", [asked])
    write_cells("hybrid", "hybrid_literal", "dec")
    stage("report")()
    page = Path("reports/README.md").read_text(encoding="utf-8")
    shown = [line.split("](")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert {stem for stem in shown if "sweeps/mine" in stem} == {
        f"sweeps/mine/{name}.png" for name in ("acc", "nmi", "half_steps", "scale_and_rank")
    }
    assert "figures/half_steps_hybrid_toy.png" in shown
    assert all(f"[{name}](cells/toy/hybrid/{name}.png)" in page for name in PNGS)
    assert pngs("reports/figures") == {"accuracy_toy", "half_steps_hybrid_toy"}  # dec is no variant of another
    assert all(Path("reports", stem).exists() for stem in shown)
    pages = [line.split("[PDF](")[1].rstrip(")") for line in page.splitlines() if "[PDF](" in line]
    assert pages == [f"files/{Path(stem).with_suffix('.pdf')}" for stem in shown]
    assert all(Path("reports", name).exists() for name in pages)
    assert not list(Path("reports/figures").glob("*.pdf"))
    assert page.startswith("# Results of the grid `demo`\n")
    assert "| learning_rate: 0.1, 1e-05; bandwidth: null, median |" in page
    assert "hybrid/spectral" in Path("reports/results.csv").read_text(encoding="utf-8")


def test_the_report_of_a_grid_that_still_runs_names_the_cells_that_it_waits_for(project: Path) -> None:
    write_cells("hybrid", "dec", "idec")
    asked = {"name": "mine", "dataset": "toy", "cell": "hybrid", "base": {}, "grid": {}, "seeds": [0, 3]}
    write_json("reports/sweeps/index.json", [asked])
    with pytest.raises(UserError, match="has no scores of this grid's cells; run the grid first"):
        stage("report")()
    write_run(Path("data/runs/toy/dec/seed-0"), method="dec")
    stage("evaluate")("toy", "dec")
    stage("report")()
    page = Path("reports/README.md").read_text(encoding="utf-8")
    assert "These cells are not evaluated yet and are in no table:\n\n- toy: hybrid, idec\n" in page
    assert "## Sweeps" not in page
    assert "<li>toy: hybrid, idec</li>" in Path("reports/index.html").read_text(encoding="utf-8")
    assert set(pd.read_csv("reports/results.csv")["cell"]) == {"dec"}


def test_fitting_knows_cells_and_sweeps_and_nothing_else(project: Path) -> None:
    with pytest.raises(UserError, match="perhaps 'sweep', got 'swept'"):
        stage("cluster")("toy", "mine", "swept")
