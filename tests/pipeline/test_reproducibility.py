"""The same bits from nothing, in another place, under other surroundings, several stages at a time or one."""

import os

import pytest

from deepclust.files import read_json
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


def test_two_workers_run_what_a_serial_run_does_and_leave_nothing_to_do(twins: Twins) -> None:
    assert twins.parallel.code == 0, twins.parallel.log
    assert twins.parallel.stages("ran") == twins.serial.ran
    assert twins.second.repro().ran == set()


def test_a_worker_has_one_gpu_and_gives_a_stage_the_surroundings_it_would_have_alone(twins: Twins) -> None:
    notes = [read_json(note) for note in twins.witnesses.iterdir()]
    assert {note["OMP_NUM_THREADS"] for note in notes} == {"3"}
    unset = os.environ.get("MALLOC_TRIM_THRESHOLD_")  # Dask sets it where it is not
    assert {note["MALLOC_TRIM_THRESHOLD_"] for note in notes} == {unset}
    pairs = {(note["worker"], note["CUDA_VISIBLE_DEVICES"]) for note in notes}
    assert sorted(gpu for _, gpu in pairs) == ["4", "7"]
    assert len({worker for worker, _ in pairs}) == 2


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
