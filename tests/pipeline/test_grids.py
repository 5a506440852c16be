"""Grids side by side: each a project of its own, shared through one remote, and none touched by another's run."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from deepclust import grids, layout
from deepclust.errors import UserError
from tests.pipeline.conftest import ROOT, TINY, Repro, Workspace, grid_environment

pytestmark = pytest.mark.xdist_group("grids")

SMALL: dict[str, Any] = {
    "grid": "one",
    "seeds": [0],
    "datasets": ["few"],
    "compute": {"device": "cpu"},
    "graph": {"n_neighbors": 5},
    "methods": {"kmeans": {"n_init": 2}, "ward": {}},
}
OTHER: dict[str, Any] = SMALL | {"grid": "other", "methods": {"kmeans": {"n_init": 2}, "gmm": {"covariance": "diag"}}}


def add_grid(workspace: Workspace, content: dict[str, Any]) -> Workspace:
    """Add a grid as docs/grids.md says: a folder with a params.yaml."""
    folder = workspace.root / "grids" / content["grid"]
    folder.mkdir()
    YAML().dump(content, folder / "params.yaml")
    return Workspace(folder, workspace.variables)


def repro(project: Workspace, grid: str) -> Repro:
    """Do what `make repro GRID=grid` does."""
    project.run("python", "stages/plan.py", "table", grid)
    log = Workspace(project.root / "grids" / grid, grid_environment(project)).run("dvc", "repro")
    ran = re.findall(r"^Running stage '(.+)':$", log, re.MULTILINE)
    restored = re.findall(r"^Stage '(.+)' is cached - skipping run", log, re.MULTILINE)
    return Repro(frozenset(ran), frozenset(restored), log)


def edit(project: Workspace, grid: str, change: Callable[[Any], None]) -> None:
    Workspace(project.root / "grids" / grid).edit(change)


@pytest.fixture(scope="module")
def lab(
    tiny: Workspace, warm: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, dict[str, Repro]]:
    """Return a clone that ran two small grids, committed and pushed them to a folder, and what ran in each."""
    place = tmp_path_factory.mktemp("grids")
    owner = tiny.copy(place / "owner", **warm)
    for name in [path.name for path in (owner.root / "grids").iterdir()]:
        shutil.rmtree(owner.root / "grids" / name)
    for content in (SMALL, OTHER):
        add_grid(owner, content)
    owner.run("dvc", "remote", "add", "--default", "shared", str(place / "remote"))
    owner.run("dvc", "remote", "modify", "shared", "verify", "true")
    repros = {grid: repro(owner, grid) for grid in ("one", "other")}
    for grid in repros:
        Workspace(owner.root / "grids" / grid, grid_environment(owner)).run("dvc", "push")
    owner.commit()
    return owner, repros


def test_a_grid_runs_in_its_folder_and_what_two_grids_share_runs_once(lab: tuple[Workspace, dict[str, Repro]]) -> None:
    owner, repros = lab
    assert {"cluster@few-kmeans", "cluster@few-ward", "prepare@few", "report"} <= repros["one"].ran
    assert not any(stage.startswith("pretrain") for stage in repros["one"].ran)
    assert {"prepare@few", "graph@few", "cluster@few-kmeans"} <= repros["other"].restored
    assert "cluster@few-gmm" in repros["other"].ran
    for grid in repros:
        assert (owner.root / f"grids/{grid}/reports/index.html").exists()
        assert (owner.root / f"grids/{grid}/dvc.lock").exists()
    assert not (owner.root / "data/runs").exists()  # nothing of the default grid


def test_a_clone_pulls_each_grid_repeats_it_without_a_stage_and_one_setting_runs_its_cells_alone(
    lab: tuple[Workspace, dict[str, Repro]], tmp_path: Path
) -> None:
    owner, _ = lab
    owner.run("git", "clone", "--quiet", str(owner.root), str(tmp_path / "clone"))
    clone = Workspace(tmp_path / "clone", owner.variables)
    for grid in ("one", "other"):
        clone.run("python", "stages/plan.py", "table", grid)
        Workspace(clone.root / "grids" / grid, grid_environment(clone)).run("dvc", "pull")
        for folder in ("data/runs", "reports/cells", "reports/files"):
            files = clone.files(f"grids/{grid}/{folder}")
            assert files == owner.files(f"grids/{grid}/{folder}")
            assert files
        found = repro(clone, grid)
        assert found.ran | found.restored == set()
        assert clone.run("git", "status", "--porcelain") == ""

    edit(clone, "other", lambda params: params["methods"]["gmm"].update(regularization=0.01))
    assert repro(clone, "other").ran == {"plan", "cluster@few-gmm", "evaluate@few-gmm", "report"}
    assert repro(clone, "one").ran == set()
    changed = clone.run("git", "status", "--porcelain").splitlines()
    assert changed
    assert all(line[3:].startswith("grids/other/") for line in changed)


def test_experiments_run_and_are_compared_inside_a_grid(
    lab: tuple[Workspace, dict[str, Repro]], tmp_path: Path
) -> None:
    project = lab[0].copy(tmp_path / "project")
    grid = Workspace(project.root / "grids/one", grid_environment(project))
    grid.run("dvc", "exp", "run", "--name", "more", "--set-param", "methods.kmeans.n_init=1")
    assert '"methods.kmeans.n_init": {"old": 2, "new": 1' in grid.run("dvc", "params", "diff", "HEAD", "more", "--json")
    assert "reports/metrics/few/kmeans.json" in grid.run("dvc", "metrics", "show")
    assert "reports/metrics/few/gmm.json" not in grid.run("dvc", "metrics", "show")


def test_verify_names_what_is_current_and_why_the_rest_is_not(
    lab: tuple[Workspace, dict[str, Repro]], tmp_path: Path
) -> None:
    project = lab[0].copy(tmp_path / "project")
    whole = project.run("python", "tools/verify.py")
    assert "one: 2 of 2 cells are of the code, settings and data as they are" in whole
    assert "tiny: 0 of 5 cells" in whole
    assert "not run yet: all" in whole
    project.append("src/deepclust/methods/baselines/ward.py", "\nADDED = 1\n")
    project.append("src/deepclust/files.py", "\nADDED = 1\n")  # decides no result
    edit(project, "other", lambda params: params["methods"]["gmm"].update(regularization=0.01))
    older = project.root / "reports/runs/few/kmeans.json"  # of the root's grid, which has no lock here
    older.parent.mkdir(parents=True)
    older.write_text("{}", encoding="utf-8")
    said = project.run("python", "tools/verify.py")
    assert "results of an older pipeline, of which dvc.lock knows nothing: few/kmeans" in said
    assert "one: 1 of 2 cells" in said
    assert "cluster: other code in methods/baselines/ward.py: few/ward" in said.replace("all others", "few/ward")
    assert "other: 1 of 2 cells" in said
    assert "cluster: other settings" in said
    spoilt = project.root / "grids/one/reports/scores/few/kmeans.json"
    spoilt.write_text(spoilt.read_text(encoding="utf-8").replace("0.", "0.1", 1), encoding="utf-8")
    assert "reports/scores/few/kmeans.json is not what its stage wrote" in project.run("python", "tools/verify.py")
    for name, row in (("results", "few,kmeans,kmeans,0,ok,,acc,0."), ("summary", "few,kmeans,kmeans,acc,0.")):
        table = project.root / f"grids/other/reports/{name}.csv"
        whole = table.read_text(encoding="utf-8")
        assert row in whole
        table.write_text(whole.replace(row, f"{row}9", 1), encoding="utf-8")
        said = project.run("python", "tools/verify.py").replace("all others", "few/kmeans")
        assert "the report does not have its scores: deepclust report renews it: few/kmeans" in said
        table.write_text(whole, encoding="utf-8")


MISTAKES: dict[str, tuple[Callable[[Any], None], str]] = {
    "a word for a list": (
        lambda params: params.update(datasets="few"),
        "datasets: Input should be a valid list",
    ),
    "an emptied section": (
        lambda params: params.update(methods=None),
        "methods: nothing stands here; write {}",
    ),
    "a deleted section": (lambda params: params.pop("methods"), "methods: Field required"),
    "empty own data": (
        lambda params: params.update(own=None),
        "own: nothing stands here; write {} or take",
    ),
    "a misspelt key": (lambda params: params.update(sedes=[0]), "sedes: unknown key, use one of grid, seeds"),
    "a stale table": (
        lambda params: params["methods"].update(gmm={}),
        "cells.yaml is not that of params.yaml",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_dvc_repro_used_directly_ends_in_one_line_too(
    mistake: str, tiny: Workspace, warm: dict[str, str], tmp_path: Path
) -> None:
    change, line = MISTAKES[mistake]
    project = tiny.copy(tmp_path / "project", **warm)
    project.edit(change)
    kept = project.root / "reports/code.json"  # in git
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("{}\n", encoding="utf-8")
    done = subprocess.run(["dvc", "repro"], cwd=project.root, env=project.environment, capture_output=True, text=True)
    assert done.returncode != 0
    (error,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert line in error
    assert "Traceback" not in done.stdout + done.stderr
    assert "unexpected error" not in done.stderr
    assert not (project.root / "data/plan").exists()
    assert kept.read_text(encoding="utf-8") == "{}\n"


def test_an_unknown_grid_is_refused_with_those_there_are(tiny: Workspace, warm: dict[str, str]) -> None:
    project = Workspace(tiny.root, warm)
    command = ["python", "stages/plan.py", "table", "bench"]
    done = subprocess.run(command, cwd=project.root, env=project.environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"error: there is no grid 'bench'; the grids are tiny, .*benchmark.*\n", done.stderr)
    assert TINY["grid"] == "tiny"


def test_a_copied_grid_has_to_be_named_as_its_folder() -> None:
    for place, name in ((layout.GRIDS / "benchmark", "benchmark"), (layout.PROJECT, "demo")):
        grids.require_own_name(place, name)
    with pytest.raises(UserError, match=r"^params\.yaml: grid: 'benchmark' is the grid of a folder, grids/benchmark; "):
        grids.require_own_name(layout.PROJECT, "benchmark")
    with pytest.raises(UserError, match=r"^params\.yaml: grid: 'benchmark' is not the .* folder; set grid: mine$"):
        grids.require_own_name(layout.GRIDS / "mine", "benchmark")


@pytest.mark.slow
def test_the_benchmark_of_the_pipeline_times_a_small_grid(
    tiny: Workspace, warm: dict[str, str], tmp_path: Path
) -> None:
    project = tiny.copy(tmp_path / "project", **warm)
    add_grid(project, SMALL | {"methods": {"kmeans": {"n_init": 2}}})
    (project.root / "bench").mkdir()
    shutil.copy2(ROOT / "bench/pipeline.py", project.root / "bench/pipeline.py")
    project.commit()
    rows = project.run("python", "bench/pipeline.py", "--grid", "one").splitlines()[4:]
    names, seconds, ratios = zip(*(row.strip("| ").split(" | ") for row in rows), strict=True)
    assert [name.split(",")[0] for name in names] == [*["dvc repro"] * 2, "JOBS=2", "dvc push", "dvc pull", "dvc repro"]
    assert all(float(text) >= 0 for text in (*seconds, *ratios))
