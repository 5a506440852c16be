"""A grid run elsewhere within a budget comes home as one archive, which DVC then records and evaluates."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.conftest import TINY, Workspace

pytestmark = pytest.mark.xdist_group("finished")

RUN = ["python", "tools/paper_run.py", "run", "results.zip", "--grid", "tiny", "--jobs", "2", "--rounds", "1,2"]
IMPORT = ["python", "tools/paper_run.py", "import", "results.zip"]
CELLS = list(TINY["methods"])


@pytest.fixture(scope="module")
def away(tiny: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a copy in which the grid was run for a while, then to its end."""
    workspace = tiny.copy(tmp_path_factory.mktemp("away") / "project")
    workspace.run(*RUN, "--budget", "600")
    return workspace


@pytest.fixture
def home(tiny: Workspace, away: Workspace, tmp_path: Path) -> Workspace:
    workspace = tiny.copy(tmp_path / "project")
    shutil.copy(away.root / "results.zip", workspace.root)
    return workspace


def repack(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_archive_holds_what_each_seed_found_and_no_weights(away: Workspace) -> None:
    with zipfile.ZipFile(away.root / "results.zip") as archive:
        names = set(archive.namelist())
    for cell in CELLS:
        for seed in TINY["seeds"]:
            assert {f"data/runs/few/{cell}/seed-{seed}/{file}" for file in ("run.json", "labels.npy")} <= names
    assert {Path(name).suffix for name in names} == {".json", ".npy", ".csv", ".yaml"}
    assert not any(name.endswith("embedding.npy") for name in names)


def test_dvc_records_and_evaluates_what_came_home(home: Workspace, finished: Workspace) -> None:
    printed = home.run(*IMPORT)
    home.run("sh", "-c", printed.splitlines()[-1].rpartition(" && ")[0])  # dvc commit
    trained = [name for name in home.repro().ran if name.startswith(("pretrain", "cluster"))]
    assert trained == []
    assert home.repro().ran == frozenset()
    assert home.files("reports/scores") == finished.files("reports/scores")
    assert home.read("reports/results.csv") == finished.read("reports/results.csv")


def test_the_next_run_goes_on_where_the_budget_ended_the_last(tiny: Workspace, tmp_path: Path) -> None:
    workspace = tiny.copy(tmp_path / "project")
    said = workspace.run("sh", "-c", f"{' '.join(RUN)} --budget 0.1 || true")
    assert "the budget is spent" in said
    assert "error: no cell has finished a seed of the first data set" in said
    assert not (workspace.root / "results.zip").exists()

    def finished() -> dict[Path, float]:
        return {path: path.stat().st_mtime_ns for path in (workspace.root / "work").rglob("results/run.json")}

    workspace.run(*RUN[:-1], "1", "--budget", "600")
    one = finished()
    said = workspace.run(*RUN, "--budget", "600")
    assert "seeds {'few': [0, 1]}" in said
    assert one.items() < finished().items()


def test_a_cell_that_failed_is_left_out_of_the_archive(away: Workspace, home: Workspace, tmp_path: Path) -> None:
    workspace = away.copy(tmp_path / "failing")
    workspace.edit(lambda params: params["methods"]["kmeans"].update(n_init=3))  # not run before
    shutil.rmtree(workspace.root / "work/cluster/few/kmeans")
    workspace.write("work/cluster/few/kmeans", "where the stage wants a folder")
    said = workspace.run(*RUN, "--budget", "600")
    assert "failed: cluster few kmeans" in said
    assert "left out of the archive: kmeans" in said
    shutil.copy(workspace.root / "results.zip", home.root)
    home.run(*IMPORT)
    placed = {path.name for path in (home.root / "data/runs/few").iterdir()}
    assert placed == set(CELLS) - {"kmeans"}


def damage(files: dict[str, bytes]) -> None:
    files["data/runs/few/kmeans/seed-0/labels.npy"] += b"!"


def stray(files: dict[str, bytes]) -> None:
    files["data/runs/../../params.yaml"] = b"seeds: [0]"


def other_settings(files: dict[str, bytes]) -> None:
    name = "data/runs/few/kmeans/seed-0/run.json"
    record = json.loads(files[name])
    files[name] = json.dumps(record | {"settings": {"n_init": 99}}).encode()


@pytest.mark.parametrize("change", [damage, stray, other_settings])
def test_a_doubtful_archive_changes_nothing(change: Callable[[dict[str, bytes]], None], home: Workspace) -> None:
    repack(home.root / "results.zip", change)
    before = home.read("params.yaml")
    said = home.run("sh", "-c", f"{' '.join(IMPORT)} && echo accepted || true")
    assert "accepted" not in said
    assert "error: results.zip: " in said
    assert home.read("params.yaml") == before
    assert not (home.root / "data/runs").exists()


def test_an_archive_of_other_code_is_refused(home: Workspace) -> None:
    home.append("src/deepclust/methods/baselines/kmeans.py", "\nOTHER = 1\n")
    said = home.run("sh", "-c", f"{' '.join(IMPORT)} && echo accepted || true")
    assert "accepted" not in said
    assert "kmeans/seed-0/run.json was made with another code" in said
    assert not (home.root / "data/runs").exists()
