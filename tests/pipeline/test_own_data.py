"""The user's own data goes through the whole pipeline, labelled or not, and a changed file reruns what it changes."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.pipeline.conftest import Repro, Workspace, stages_of

pytestmark = pytest.mark.xdist_group("own_data")

OWN = {
    "flowers": {"path": "mine/flowers.csv", "n_clusters": 3, "scale": "feature", "labels": "kind", "index": True},
    "pictures": {"path": "mine/pictures", "n_clusters": 2},
}
METHODS = {"kmeans": {"n_init": 2}, "ae_kmeans": {"n_init": 2}}


def write_own_data(root: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = np.arange(60) % 3
    table = pd.DataFrame(rng.normal(size=(60, 4)).round(3) + 5 * kinds[:, None], columns=list("abcd"))
    (root / "mine/pictures").mkdir(parents=True)
    table.index = pd.Index([f"={i}+1" for i in range(60)])
    table.assign(kind=np.array(["rose", "iris", "lily"])[kinds]).to_csv(root / "mine/flowers.csv")
    (root / "mine/pictures/README.md").write_text("no picture", encoding="utf-8")
    for i in range(20):
        pixels = rng.integers(100, size=(6, 6), dtype=np.uint8) + 150 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"mine/pictures/{i:02}.png")


@pytest.fixture(scope="module")
def own(tiny: Workspace, warm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Repro]:
    """Return the pipeline run on a labelled table and on images without labels, and what ran."""
    workspace = tiny.copy(tmp_path_factory.mktemp("own") / "project", **warm)
    write_own_data(workspace.root)

    def add(params: Any) -> None:
        networks = {"mlp": params["networks"]["mlp"]}
        params |= {"datasets": list(OWN), "own": OWN, "methods": METHODS, "networks": networks, "sweeps": {}}

    workspace.edit(add)
    repro = workspace.repro()
    workspace.commit()
    return workspace, repro


def test_every_stage_runs_on_own_data_and_a_second_time_none(own: tuple[Workspace, Repro]) -> None:
    workspace, repro = own
    expected = {"plan", "report"}
    for name in OWN:
        expected |= {f"{stage}@{name}" for stage in ("own", "fetch", "prepare", "graph")} | {f"pretrain@{name}-mlp"}
        expected |= stages_of(workspace, dataset=name)
    assert repro.ran == expected
    assert workspace.repro().ran == set()
    assert workspace.run("git", "status", "--porcelain") == ""


def test_labelled_data_is_scored_against_its_labels(own: tuple[Workspace, Repro]) -> None:
    workspace, _ = own
    metrics = workspace.read_json("reports/metrics/flowers/kmeans.json")
    assert metrics["acc"] == 1.0  # far apart
    assert metrics["silhouette"] > 0.5
    assert "| ACC |" in workspace.read("reports/tables/flowers.md")


def test_what_is_no_sample_is_recorded_and_names_run_in_no_spreadsheet(own: tuple[Workspace, Repro]) -> None:
    workspace, _ = own
    assert workspace.read_json("data/prepared/pictures/meta.json")["ignored"] == ["README.md"]
    assert "ignored" not in workspace.read_json("data/prepared/flowers/meta.json")
    assert workspace.read_json("data/prepared/flowers/meta.json")["d"] == 4
    clusters = pd.read_csv(workspace.root / "reports/files/flowers/kmeans/assignments.csv")
    assert clusters["sample"].tolist() == [f"'={i}+1" for i in range(60)]


def test_unlabelled_data_is_judged_by_internal_metrics_and_the_report_says_so(own: tuple[Workspace, Repro]) -> None:
    workspace, _ = own
    for cell in ("kmeans", "ae_kmeans"):
        metrics = workspace.read_json(f"reports/metrics/pictures/{cell}.json")
        assert set(metrics) == {"silhouette", "modularity", "stability", "n", "failed"}
        assert (workspace.root / f"reports/cells/pictures/{cell}/tsne.png").exists()
        clusters = pd.read_csv(workspace.root / f"reports/files/pictures/{cell}/assignments.csv")
        assert clusters["sample"].tolist() == [f"{i:02}.png" for i in range(20)]
        assert list(clusters)[1:] == ["seed_0", "seed_1"]
    assert clusters["seed_0"].nunique() == 2
    page = workspace.read("reports/README.md")
    assert "ACC, NMI, ARI and purity need them" in page
    assert "accuracy_pictures" not in page


def test_changed_labels_reach_the_evaluation_of_that_data_alone(own: tuple[Workspace, Repro], tmp_path: Path) -> None:
    workspace = own[0].copy(tmp_path / "project")
    text = workspace.read("mine/flowers.csv")
    assert workspace.run("python", "tools/verify.py").startswith("tiny: 4 of 4 cells are of the code, settings and")
    workspace.write("mine/flowers.csv", text.replace("rose", "lily", 1))
    said = workspace.run("python", "tools/verify.py").splitlines()
    assert said[0].startswith("tiny: 2 of 4 cells are")
    assert said[1] == "    fetch: other files, code or settings: all others"
    expected = {"plan", "report", "own@flowers", "fetch@flowers", "prepare@flowers"}
    expected |= {stage for stage in stages_of(workspace, dataset="flowers") if stage.startswith("evaluate@")}
    assert workspace.repro().ran == expected
    assert workspace.read_json("reports/metrics/flowers/kmeans.json")["acc"] == pytest.approx(59 / 60)


def test_a_changed_file_reruns_its_own_stages_and_bad_data_ends_in_one_line(
    own: tuple[Workspace, Repro], tmp_path: Path
) -> None:
    workspace = own[0].copy(tmp_path / "project")
    (workspace.root / "mine/pictures/07.png").write_bytes(b"no image")
    failed = subprocess.run(
        ["dvc", "repro"], cwd=workspace.root, env=workspace.environment, capture_output=True, text=True
    )
    assert failed.returncode != 0
    assert "error: own.pictures: 07.png is no readable image" in failed.stderr
    assert "Running stage 'fetch@pictures'" in failed.stdout
    assert "@flowers" not in "".join(line for line in failed.stdout.splitlines() if line.startswith("Running"))
    for stage, name, told in (
        ("prepare", "pictures", "07.png is no readable image"),
        ("own", "picture", "names no own data 'picture'; it has flowers, pictures"),
    ):
        command = ["python", f"stages/{stage}.py", name]
        alone = subprocess.run(command, cwd=workspace.root, env=workspace.environment, capture_output=True, text=True)
        assert alone.returncode == 2
        assert told in alone.stderr
        assert len(alone.stderr.splitlines()) == 1
