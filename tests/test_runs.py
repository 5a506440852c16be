"""The seeds of a stage: run once, reused, rerun when anything that decides them changes, and failing alone."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepclust import layout
from deepclust.errors import NotApplicable, SeedFailed
from deepclust.files import read_json, write_json, write_text
from deepclust.methods._saving import versions
from deepclust.runs import Seed, read_finished, run_seeds

PLAN: dict[str, Any] = {"seeds": [0, 1, 2], "settings": {"rate": 0.1}, "code": {"a.py": "123"}}


class Stage:
    """A stage in a folder: `run` goes through the seeds, and `ran` notes those whose body was called."""

    def __init__(self, folder: Path) -> None:
        self.output, self.work = folder / "data", folder / "work"
        self.names = ["labels"]
        self.ran: list[int] = []

    def run(
        self,
        plan: dict[str, Any] = PLAN,
        inputs: Callable[[int], dict[str, str]] = lambda seed: {"X": "abc", "network": f"n{seed}"},
        trouble: dict[int, BaseException] | None = None,
    ) -> list[int]:
        def body(seed: Seed) -> dict[str, Any]:
            self.ran.append(seed.number)
            write_text(seed.checkpoints / "phase", "state")
            for name in self.names:
                write_text(seed.results / name, f"{name} of {seed.number} at {plan['settings']}")
            if trouble and seed.number in trouble:
                raise trouble[seed.number]
            return {"n_iter": 10 * seed.number}

        shutil.rmtree(self.output, ignore_errors=True)  # as DVC does before a stage
        self.ran = []
        run_seeds(plan, output=self.output, work=self.work, inputs=inputs, body=body)
        return self.ran

    def record(self, seed: int) -> Any:
        return read_json(self.output / f"seed-{seed}" / "run.json")

    def files(self) -> set[str]:
        return {p.relative_to(self.output).as_posix() for p in self.output.rglob("*") if p.is_file()}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_every_seed_gives_its_files_and_its_record(stage: Stage) -> None:
    assert stage.run() == [0, 1, 2]
    assert stage.files() == {f"seed-{s}/{name}" for s in range(3) for name in ("labels", "run.json")}
    assert stage.record(2) == {
        "seed": 2,
        "inputs": {"X": "abc", "network": "n2"},
        "settings": {"rate": 0.1},
        "code": {"a.py": "123"},
        "status": "ok",
        "reason": "",
        "n_iter": 20,
    }


def test_seeds_side_by_side_give_what_they_give_one_by_one(stage: Stage, tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=60)  # broken, and an error, if one waited for another

    def body(seed: Seed) -> dict[str, Any]:
        together.wait()
        write_text(seed.results / "labels", f"labels of {seed.number} at {PLAN['settings']}")
        if seed.number == 1:
            raise SeedFailed("no code")
        return {"n_iter": 10 * seed.number}

    stage.run(trouble={1: SeedFailed("no code")})
    expected = {name: (stage.output / name).read_bytes() for name in stage.files()}
    shutil.rmtree(tmp_path / "work")
    run_seeds(
        PLAN,
        output=stage.output,
        work=stage.work,
        inputs=lambda seed: {"X": "abc", "network": f"n{seed}"},
        body=body,
        n_in_parallel=3,
    )
    assert {name: (stage.output / name).read_bytes() for name in stage.files()} == expected


def test_finished_seeds_are_reused_to_the_byte(stage: Stage) -> None:
    stage.run()
    before = {name: (stage.output / name).read_bytes() for name in stage.files()}
    assert stage.run() == []
    assert {name: (stage.output / name).read_bytes() for name in stage.files()} == before


@pytest.mark.parametrize("place", ["results/labels", "results/run.json", "finished"])
def test_finished_seed_that_is_not_as_it_was_written_runs_anew(
    place: str, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.run()
    before = {name: (stage.output / name).read_bytes() for name in stage.files()}
    (damaged,) = stage.work.glob(f"seed-1/*/{place}")
    content = damaged.read_bytes()
    damaged.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert stage.run(PLAN | {"seeds": [0, 1, 2]}) == [1]
    assert "results is damaged: its content is not what was written, and is computed anew" in caplog.text
    assert {name: (stage.output / name).read_bytes() for name in stage.files()} == before


def test_file_missing_from_a_finished_seed_makes_it_run_anew(stage: Stage) -> None:
    stage.run()
    next(stage.work.glob("seed-2/*/results/labels")).unlink()
    assert stage.run() == [2]


def test_other_facts_of_the_data_or_of_a_network_run_the_seeds_anew(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K and an activation are neither in a plan nor in what the inputs' digests cover."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    plan = PLAN | {"dataset": "mine", "cell": "dec", "network": "random"}
    write_json(layout.prepared("mine") / "meta.json", {"k": 3})
    for seed in plan["seeds"]:
        record = {"settings": {"activation": "relu"}, "versions": {"torch": "1"}}
        write_json(layout.network("mine", "random") / f"seed-{seed}" / "run.json", record)
    assert stage.run(plan) == [0, 1, 2]
    assert stage.run(plan) == []
    write_json(layout.prepared("mine") / "meta.json", {"k": 4})
    assert stage.run(plan) == [0, 1, 2]
    leaky = {"settings": {"activation": "leaky_relu"}, "versions": {"torch": "1"}}
    write_json(layout.network("mine", "random") / "seed-1/run.json", leaky)
    assert stage.run(plan) == [1]
    write_json(layout.network("mine", "random") / "seed-1/run.json", leaky | {"versions": {"torch": "2"}})
    assert stage.run(plan) == []


def test_new_seed_runs_alone(stage: Stage) -> None:
    stage.run()
    assert stage.run(PLAN | {"seeds": [0, 7, 1, 2]}) == [7]
    assert {name.split("/")[0] for name in stage.files()} == {"seed-0", "seed-1", "seed-2", "seed-7"}


def test_dropped_seed_leaves_the_output_and_is_reused_later(stage: Stage) -> None:
    stage.run()
    assert stage.run(PLAN | {"seeds": [1]}) == []
    assert stage.files() == {"seed-1/labels", "seed-1/run.json"}
    assert stage.run() == []


@pytest.mark.parametrize("change", [{"settings": {"rate": 0.2}}, {"code": {"a.py": "124"}}, {"new": None}], ids=str)
def test_changed_plan_reruns_every_seed(change: dict[str, Any], stage: Stage) -> None:
    stage.run()
    assert stage.run(PLAN | change) == [0, 1, 2]
    assert stage.record(0).items() >= change.items()


def test_changed_input_reruns_the_seeds_that_read_it(stage: Stage) -> None:
    stage.run()
    assert stage.run(inputs=lambda seed: {"X": "abc", "network": "other" if seed == 1 else f"n{seed}"}) == [1]
    assert stage.run(inputs=lambda seed: {"X": "other", "network": f"n{seed}"}) == [0, 1, 2]


def test_failed_seed_leaves_nothing_but_its_record(stage: Stage) -> None:
    stage.run()
    earlier = shutil.copytree(stage.output, stage.output.with_name("earlier"))
    stage.output = earlier  # a run without DVC, which would have emptied it
    run_seeds(
        {**PLAN, "seeds": [1], "settings": {"rate": 0.2}},
        output=stage.output,
        work=stage.work,
        inputs=lambda _: {},
        body=fail_half_way,
    )
    assert {path.name for path in (stage.output / "seed-1").iterdir()} == {"run.json"}


def fail_half_way(seed: Seed) -> dict[str, Any]:
    write_text(seed.results / "embedding", "half of it")
    raise SeedFailed("diverged")


def test_superseded_work_is_pruned(stage: Stage) -> None:
    for rate in (0.1, 0.2, 0.3):
        stage.run(PLAN | {"settings": {"rate": rate}})
    assert [len(list((stage.work / f"seed-{s}").iterdir())) for s in range(3)] == [1, 1, 1]
    assert stage.run(PLAN | {"settings": {"rate": 0.3}}) == []
    assert stage.run(PLAN | {"settings": {"rate": 0.1}}) == [0, 1, 2]


def test_finished_seeds_keep_no_checkpoints(stage: Stage) -> None:
    stage.run()
    assert not list(stage.work.rglob("checkpoints"))


@pytest.mark.parametrize(
    ("error", "status"), [(SeedFailed("loss became nan"), "failed"), (NotApplicable("no images"), "skipped")]
)
def test_failed_seed_becomes_a_record_and_the_others_go_on(error: Exception, status: str, stage: Stage) -> None:
    assert stage.run(trouble={1: error}) == [0, 1, 2]
    assert (stage.record(1)["status"], stage.record(1)["reason"]) == (status, str(error))
    assert "n_iter" not in stage.record(1)
    assert [stage.record(s)["status"] for s in (0, 2)] == ["ok", "ok"]
    assert stage.run() == []  # a failure is a result: the same settings would fail again


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()], ids=repr)
def test_other_exceptions_end_the_stage_and_leave_nothing_of_that_seed(error: BaseException, stage: Stage) -> None:
    with pytest.raises(type(error)):
        stage.run(trouble={1: error})
    assert stage.ran == [0, 1]
    assert {name.split("/")[0] for name in stage.files()} == {"seed-0"}
    assert stage.run() == [1, 2]


def test_killed_seed_keeps_its_checkpoints_and_loses_its_half_results(stage: Stage) -> None:
    with pytest.raises(KeyboardInterrupt):
        stage.run(trouble={0: KeyboardInterrupt()})
    (kept,) = stage.work.rglob("phase")
    found: list[tuple[bool, list[Path]]] = []

    def body(seed: Seed) -> dict[str, Any]:
        found.append((seed.checkpoints / "phase" == kept and kept.exists(), list(seed.results.iterdir())))
        return {}

    inputs = {"X": "abc", "network": "n0"}
    run_seeds(PLAN | {"seeds": [0]}, output=stage.output, work=stage.work, inputs=lambda _: inputs, body=body)
    assert found == [(True, [])]


CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}  # the audit events of what can change a folder


def killed_at(event: int, action: Callable[[], Any]) -> bool:
    """Do something in a process that is killed -9 just before its n-th change of a file; return whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(name: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if name in CHANGES and not (name == "open" and arguments[2] & os.O_ACCMODE == os.O_RDONLY):
                count += 1
                if count == event:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            action()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_no_moment_of_a_kill_changes_a_result(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """From settings A to B, killed at every single change of a file, then on with A or B: all the same bytes."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # slow, and for machines that die, not processes
    stage.names += list("abcd")  # which a folder lists, and is deleted, in an order of its own
    before = PLAN | {"seeds": [0]}
    after = before | {"settings": {"rate": 0.2}}
    expected = {}
    for plan in (before, after):
        stage.run(plan)
        expected[plan["settings"]["rate"]] = {name: (stage.output / name).read_bytes() for name in stage.files()}
    kills = 0
    while True:
        for plan in (after, before):
            stage.run(before)
            if not killed_at(kills + 1, lambda: stage.run(after)):
                assert kills > 30
                return
            stage.run(plan)
            found = {name: (stage.output / name).read_bytes() for name in stage.files()}
            assert found == expected[plan["settings"]["rate"]]
            left = {path.name for path in stage.work.rglob("*") if path.is_file()}
            assert left == {*stage.names, "run.json", "finished"}
        kills += 1


def test_seed_that_a_stage_left_at_work_put_into_the_output_is_taken_out(stage: Stage) -> None:
    stage.run(PLAN | {"seeds": [3]})
    run_seeds(PLAN, output=stage.output, work=stage.work, inputs=lambda _: {}, body=lambda _: {})
    assert {path.name for path in stage.output.iterdir()} == {"seed-0", "seed-1", "seed-2"}


def test_checkpoints_of_other_settings_are_never_seen(stage: Stage) -> None:
    with pytest.raises(KeyboardInterrupt):
        stage.run(trouble={0: KeyboardInterrupt()})
    seen: list[bool] = []

    def body(seed: Seed) -> dict[str, Any]:
        seen.append(seed.checkpoints.exists())
        return {}

    plan = PLAN | {"settings": {"rate": 0.2}, "seeds": [0]}
    run_seeds(plan, output=stage.output, work=stage.work, inputs=lambda _: {}, body=body)
    assert seen == [False]
    assert not list(stage.work.rglob("phase"))


@pytest.mark.parametrize("error", [SeedFailed("loss became nan"), NotApplicable("no images")], ids=repr)
def test_what_ended_a_seed_ends_what_is_built_on_it(error: Exception, stage: Stage) -> None:
    stage.run(trouble={1: error})
    assert read_finished(stage.output / "seed-0")["n_iter"] == 0
    with pytest.raises(type(error), match=f"pretraining: {error}"):
        read_finished(stage.output / "seed-1")


def test_versions_are_those_installed() -> None:
    import numpy as np

    assert versions("numpy") == {"numpy": np.__version__}
