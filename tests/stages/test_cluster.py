"""Seeds of the stages that fit: what their records say where a library breaks down or clusters stay empty."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepclust import layout
from deepclust.files import read_json, write_array, write_json

STAGES = Path(__file__).parents[2] / "stages"
COMPUTE = {"instructions": "native", "device": "cpu", "threads": 1, "precision": "float32"}


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty samples, of which only three differ, in a project that is the current folder."""
    monkeypatch.chdir(tmp_path)
    write_array(layout.prepared("toy") / "X.npy", np.eye(3, 4, dtype=np.float32)[np.arange(20) % 3])
    write_json(layout.prepared("toy") / "meta.json", {"k": 5, "image_shape": None})
    return tmp_path


def run(stage: str, kind: str, name: str, **plan: Any) -> None:
    common = {"dataset": "toy", "seeds": [0, 1], "compute": COMPUTE, "settings": {}}
    write_json(layout.plan("toy", kind, name), common | plan)
    runpy.run_path(str(STAGES / f"{stage}.py"))["main"]("toy", name)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_record_says_how_many_clusters_have_samples(prepared: Path) -> None:
    for name in ("kmeans", "ward"):
        run("cluster", "cluster", name, cell=name, method=name, graph=False, network="")
    for name, found in (("kmeans", 3), ("ward", 5)):
        for seed in (0, 1):
            record = read_json(layout.run("toy", name) / f"seed-{seed}" / "run.json")
            assert (record["status"], record["n_clusters"], record["n_clusters_found"]) == ("ok", 5, found)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_records_say_how_many_iterations_and_epochs_a_training_had(prepared: Path) -> None:
    start = {"hidden": [4], "batch_size": 4}  # five batches an epoch
    run("pretrain", "pretrain", "mlp", uses="mlp", settings={**start, "epochs": "7 iterations"})
    decs = {"batch_size": 4, "epochs": "12 iterations", "n_init": 1}
    run("cluster", "cluster", "decs", cell="decs", method="decs", graph=False, network="mlp", settings=decs)
    for folder, n_iter, n_epochs in (
        (layout.network("toy", "mlp"), 7, 2),
        (layout.run("toy", "decs"), 12, 3),
    ):
        record = read_json(folder / "seed-1" / "run.json")
        assert (record["settings"]["epochs"], record["n_iter"]) == (f"{n_iter} iterations", n_iter)
        assert record["n_epochs"] == n_epochs


def test_a_librarys_error_fails_its_seeds_and_not_the_stage(prepared: Path) -> None:
    settings = {"hidden": [4], "batch_norm": True, "batch_size": 1, "epochs": 1}
    run("pretrain", "pretrain", "mlp", uses="mlp", settings=settings)
    for seed in (0, 1):
        record = read_json(layout.network("toy", "mlp") / f"seed-{seed}" / "run.json")
        assert record["status"] == "failed"
        assert record["reason"].startswith("phase 'pretrain' has batches of one sample")
