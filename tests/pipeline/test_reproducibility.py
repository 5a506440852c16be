"""The same bits from nothing, in another place, under other surroundings, and after a kill."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import Twins, Workspace, running, stages_of, sweeps_of

pytestmark = pytest.mark.xdist_group("finished")

TARGET = "pretrain@few-mlp"
QUARTER = "pretrain: epoch 200 of 800"  # of a training of about two seconds; a line the loop writes after a checkpoint


def test_the_first_run_runs_every_stage(twins: Twins) -> None:
    everything = stages_of(twins.first) | {f"{stage}@few" for stage in ("fetch", "prepare", "graph")}
    everything |= {"plan", "report", "pretrain@few-mlp", "pretrain@few-conv"} | sweeps_of(twins.first)
    for repro in twins.repros:
        assert repro.ran == everything
        assert repro.restored == set()


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


def test_a_killed_training_ends_with_the_bits_of_an_uninterrupted_one(
    finished: Workspace, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    def lengthen(params: Any) -> None:
        params["networks"]["mlp"]["epochs"] = 800

    whole, killed = finished.copy(tmp_path / "whole"), finished.copy(tmp_path / "killed")
    whole.edit(lengthen)
    killed.edit(lengthen)
    uninterrupted = pool.submit(whole.repro, TARGET)
    with running(killed, "dvc", "repro", TARGET) as started:  # and killed at the end
        started.wait_until(lambda: started.log.count(QUARTER) >= 2)  # in the second seed
    assert not (killed.root / "data/pretrained/few/mlp/seed-1").exists()

    resumed = killed.repro(TARGET).log
    assert "data/pretrained/few/mlp, seed 0: finished before, reused" in resumed
    assert "data/pretrained/few/mlp, seed 1\n" in resumed
    assert QUARTER not in resumed
    assert resumed.count("pretrain: epoch 800 of 800") == 1

    assert uninterrupted.result().ran == {"plan", TARGET}
    assert uninterrupted.result().log.count(QUARTER) == 2
    assert whole.files("data/pretrained/few/mlp") == killed.files("data/pretrained/few/mlp")
    assert whole.read("dvc.lock") == killed.read("dvc.lock")
    assert killed.repro(TARGET).ran == set()
