"""The same bits from nothing, in another place, under other surroundings, several stages at a time or one."""

import pytest

from tests.pipeline.conftest import Twins, stages_of, sweeps_of

pytestmark = pytest.mark.xdist_group("finished")


def test_the_first_run_runs_every_stage(twins: Twins) -> None:
    everything = stages_of(twins.first) | {f"{stage}@few" for stage in ("fetch", "prepare", "graph")}
    everything |= {"plan", "report", "pretrain@few-mlp", "pretrain@few-conv"} | sweeps_of(twins.first)
    assert twins.serial.ran == everything
    assert twins.serial.restored == set()


@pytest.mark.parametrize("folder", ["reports", "data"])
def test_two_runs_from_nothing_write_the_same_bytes(twins: Twins, folder: str) -> None:
    first, second = twins.first.files(folder), twins.second.files(folder)
    assert first.keys() == second.keys()
    assert len(first) > 30
    assert [name for name in first if first[name] != second[name]] == []


def test_two_runs_from_nothing_write_the_same_lock(twins: Twins) -> None:
    assert twins.first.read("dvc.lock") == twins.second.read("dvc.lock")


def test_a_run_from_nothing_changes_nothing_in_git_once_another_is_committed(twins: Twins) -> None:
    second = twins.second
    assert "reports/results.csv" in twins.first.run("git", "ls-files")
    second.run("git", "fetch", "--quiet", str(twins.first.root), "HEAD")
    second.run("git", "reset", "--quiet", "FETCH_HEAD")
    assert second.run("git", "status", "--porcelain") == ""


def test_results_name_no_place_and_no_time(twins: Twins) -> None:
    for workspace in (twins.first, twins.second):
        for folder in ("reports", "data"):
            for name, content in workspace.files(folder).items():
                assert str(workspace.root).encode() not in content, name
                assert b"CreationDate" not in content, name
