"""A grid as it is committed, in its own folder, from nothing: real sizes of nets and all of the digits."""

import pytest

from tests.pipeline.conftest import Workspace, grid_environment, stages_of


@pytest.mark.slow
def test_the_smallest_committed_grid_runs_from_nothing_and_a_second_time_nothing_runs(
    pristine: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = pristine.copy(tmp_path_factory.mktemp("whole") / "project")
    grid = Workspace(project.root / "grids/smoke", grid_environment(project))
    params = grid.params
    repro = grid.repro()
    expected = {"plan", "report", "pretrain@digits-mlp", "pretrain@digits-conv"} | stages_of(grid, dataset="digits")
    expected |= {f"{stage}@digits" for stage in ("fetch", "prepare", "graph")}
    assert repro.ran == expected
    results = grid.read("reports/results.csv").splitlines()[1:]
    rows = {(dataset, cell.split("/")[0]) for dataset, cell in (row.split(",")[:2] for row in results)}
    assert rows == {("digits", cell) for cell in params["methods"]}
    assert all(row.split(",")[4] == "ok" for row in results)
    records = grid.read_json("reports/runs/digits/idec.json")["shared"]
    assert records["compute"]["instructions"] == "avx2"

    project.commit()
    assert grid.repro().ran == set()
    assert project.run("git", "status", "--porcelain") == ""
