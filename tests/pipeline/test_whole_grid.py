"""The grid of params.yaml as it is committed, which is what a fresh clone runs."""

import pytest

from tests.pipeline.conftest import Workspace, stages_of, sweeps_of


@pytest.mark.slow
def test_the_committed_grid_runs_from_nothing_and_a_second_time_nothing_runs(
    pristine: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = pristine.copy(tmp_path_factory.mktemp("whole") / "project")
    params = workspace.params
    repro = workspace.repro()
    expected = {"plan", "report"} | sweeps_of(workspace)
    for dataset in params["datasets"]:
        expected |= {f"{stage}@{dataset}" for stage in ("fetch", "prepare", "graph")}
        expected |= {f"pretrain@{dataset}-{network}" for network in params["networks"]}
        expected |= stages_of(workspace, dataset=dataset)
    assert repro.ran == expected
    results = workspace.read("reports/results.csv").splitlines()[1:]
    rows = {(dataset, cell.split("/")[0]) for dataset, cell in (row.split(",")[:2] for row in results)}
    assert rows == {(d, c) for d in params["datasets"] for c in params["methods"]}
    assert all(row.split(",")[4] == "ok" for row in results)

    workspace.commit()
    assert workspace.repro().ran == set()
    assert workspace.run("git", "status", "--porcelain") == ""
