"""Several stages at a time leave what one at a time leaves, also after a kill and where a stage fails."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deepclust.files import write_json
from tests.pipeline.conftest import DEADLINE, ROOT, Workspace, finish, parallel, stages_of, start

pytestmark = pytest.mark.xdist_group("shared")


def wait_for(condition: Callable[[], Any]) -> Any:
    """Return the first value of `condition` that is true."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)
    return value


def processes(workspace: Workspace, command: str) -> list[int]:
    """Return the numbers of the processes that run a command in the workspace."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            named = " ".join([Path(words[-3]).name, words[-2]])  # the last is empty
            if named == command and (process / "cwd").readlink() == workspace.root:
                found.append(int(process.name))
        except (OSError, ValueError, IndexError):  # gone meanwhile, or no process, or one of the kernel's
            continue
    return found


def worker_of(stage: int) -> int:
    """Return the number of the Dask worker that runs a stage: the parent of the leader of the stage's session."""
    status = Path(f"/proc/{os.getsid(stage)}/status").read_text(encoding="utf-8")
    return int(re.findall(r"^PPid:\s+(\d+)$", status, re.MULTILINE)[0])


def assert_same(one: Workspace, other: Workspace) -> None:
    assert one.read("dvc.lock") == other.read("dvc.lock")
    for folder in ("data", "reports"):
        first, second = one.files(folder), other.files(folder)
        assert first.keys() == second.keys()
        assert [name for name in first if first[name] != second[name]] == []


def test_more_workers_than_gpus_share_them_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    from tools.parallel import gpu_of, visible_gpus  # a second, for Dask and DVC

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, 3")
    gpus = visible_gpus()
    assert [gpu_of(worker, gpus)["CUDA_VISIBLE_DEVICES"] for worker in range(3)] == ["GPU-a", "3", "GPU-a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_of(0, visible_gpus()) == {}


def test_a_comment_in_params_yaml_leaves_nothing_to_do_which_is_said_and_starts_no_worker(
    finished: Workspace, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    project.append("params.yaml", "# a comment\n")
    run = parallel(project, "tcp://127.0.0.1:1")  # where nobody listens
    assert (run.code, run.log) == (0, "19 stages, all up to date: nothing to do\n")


def test_a_part_of_the_grid_runs_with_what_it_builds_on(finished: Workspace, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    project.edit(lambda params: params["methods"]["kmeans"].update(n_init=3))
    project.edit(lambda params: params["methods"]["sc_ncut"].update(n_init=3))
    run = parallel(project, "2", "evaluate@few-km*")
    assert run.code == 0
    assert run.stages("ran") == {"plan", "cluster@few-kmeans", "evaluate@few-kmeans"}
    none = parallel(project, "2", "evaluate@few-kn*")
    assert none.code == 2
    assert none.log == "error: no stage is named like evaluate@few-kn*; dvc stage list shows the names\n"


def test_settings_that_are_refused_cost_no_file_in_git(finished: Workspace, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    project.edit(lambda params: params["methods"]["kmeans"].update(n_init=0))
    assert parallel(project).code == 1
    assert (project.root / "reports/code.json").exists()
    assert (project.root / "reports/sweeps/index.json").exists()


@pytest.mark.parametrize("where", ["0", "-1", "two", "2tcp://127.0.0.1:1"])
def test_what_is_neither_a_number_nor_an_address_is_refused(finished: Workspace, where: str) -> None:
    run = parallel(finished, where)
    assert run.code == 2
    assert re.fullmatch(r"error: .*tcp://HOST:PORT.*\n", run.log)


def test_no_stage_waits_behind_a_long_one_while_a_worker_is_free(warm: dict[str, str], tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "project", warm)
    workspace.root.mkdir()
    for folder in ("src", "stages", "tools"):
        shutil.copytree(ROOT / folder, workspace.root / folder)
    short = {f"short{i}": {"cmd": f"touch short{i}", "outs": [f"short{i}"]} for i in range(8)}
    waits = "for i in $(seq 900); do [ $(ls | grep -c '^short') -eq 8 ] && break; sleep 0.1; done; ls > long"
    write_json(workspace.root / "dvc.yaml", {"stages": {"long": {"cmd": waits, "outs": ["long"]}, **short}})
    workspace.run("git", "init", "--quiet")
    workspace.run("dvc", "init", "--quiet")
    run = parallel(workspace)
    assert run.code == 0, run.log
    assert set(workspace.read("long").split()) >= set(short)


def test_a_stage_whose_worker_is_killed_goes_on_from_its_checkpoints_on_another(
    finished: Workspace, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """While it runs, nobody else gets at the folder; and what the run-cache knows is not run again."""

    def lengthen(params: Any) -> None:
        params["networks"]["conv"]["epochs"] = 40

    serial, killed = finished.copy(tmp_path / "serial"), finished.copy(tmp_path / "killed")
    serial.edit(lengthen)
    killed.edit(lengthen)
    alone = pool.submit(serial.repro)

    process = start(killed, "2")
    log = killed.root / "work/log/pretrain@few-conv.log"
    wait_for(lambda: log.exists() and "seed 1\n" in log.read_text(encoding="utf-8"))
    (stage,) = map(int, re.findall(r"^process (\d+) on ", killed.read("work/locks/pretrain few conv")))
    os.kill(stage, signal.SIGSTOP)
    (asking,) = processes(killed, "python stages/pretrain.py")  # the client that the stage's process stands for
    for command in (["dvc", "repro"], ["python", "tools/parallel.py", "2"]):
        second = subprocess.run(command, cwd=killed.root, env=killed.environment, capture_output=True, text=True)
        assert second.returncode != 0
        assert "is busy" in second.stderr
    os.kill(worker_of(asking), signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{stage}").exists())
    run = finish(process)

    assert run.code == 0, run.log
    assert run.stages("ran") == alone.result().ran
    assert "pretrain@few-conv" in run.stages("ran")
    second_try = log.read_text(encoding="utf-8")
    assert "seed 0: finished before, reused" in second_try
    assert "seed 1\n" in second_try
    assert_same(killed, serial)

    killed.run("git", "checkout", "--quiet", "params.yaml")
    run = parallel(killed, "1")
    assert run.stages("restored") == {"pretrain@few-conv", "cluster@few-conv_kmeans"}
    assert_same(killed, finished)


def test_a_failing_stage_stops_only_what_builds_on_it(
    finished: Workspace, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    broken, serial = finished.copy(tmp_path / "broken"), finished.copy(tmp_path / "serial")
    for workspace in (broken, serial):
        workspace.append("src/deepclust/methods/self_training/dec.py", "\nDEC._fit = None\n")
        workspace.edit(lambda params: params["methods"]["idec"].update(gamma=0.2))
    keep_going = pool.submit(
        subprocess.run, ["dvc", "repro", "--keep-going"], cwd=serial.root, env=serial.environment, capture_output=True
    )
    run = parallel(broken)
    assert run.code == 1
    assert run.stages("ran") == {"plan", *stages_of(broken, "idec")}
    assert run.stages("failed") == {"cluster@few-dec"}
    assert run.stages("not run") == {"evaluate@few-dec", "report"}
    assert "TypeError: 'NoneType' object is not callable" in run.log
    assert run.log.count("failed: cluster@few-dec (") == 1
    assert run.log.count("not run: evaluate@few-dec, report (") == 1
    assert keep_going.result().returncode != 0
    assert broken.read("dvc.lock") == serial.read("dvc.lock")


@pytest.fixture
def cluster(finished: Workspace, tmp_path: Path) -> Iterator[str]:
    """Start a Dask scheduler and a worker by Dask's own commands, and yield the scheduler's address."""
    file = tmp_path / "scheduler.json"
    commands = [
        ["dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
        ["dask", "worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard"],
    ]
    with open(tmp_path / "cluster.log", "wb") as log, contextlib.ExitStack() as stack:
        for command in commands:
            environment = {key: value for key, value in finished.environment.items() if key != "PYTHONPATH"}
            stack.callback(
                end, subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
            )
            wait_for(file.exists)
        yield wait_for(lambda: json.loads(file.read_text() or "{}").get("address"))


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(DEADLINE)


def test_on_a_cluster_a_killed_run_takes_its_stages_with_it_and_the_next_one_finishes(
    finished: Workspace, cluster: str, tmp_path: Path
) -> None:
    """The change is in a comment, so that what `plan` writes is what it was, and nothing else has to run."""
    command = "python stages/plan.py"
    one, serial = finished.cold.copy(tmp_path / "one"), finished.copy(tmp_path / "serial")
    for workspace in (one, serial):
        workspace.append("src/deepclust/methods/self_training/dec.py", "# a comment\n")
    process = start(one, cluster)
    (stage,) = wait_for(lambda: processes(one, command))
    os.kill(stage, signal.SIGSTOP)
    process.kill()
    finish(process)
    wait_for(lambda: stage not in processes(one, command))

    run = parallel(one, cluster)
    assert run.code == 0, run.log
    assert (run.stages("ran"), run.stages("restored")) == ({"plan"}, set())
    assert "18 unchanged" in run.log
    assert serial.repro().ran == {"plan"}
    assert_same(one, serial)


def test_no_scheduler_is_an_error_of_one_line(finished: Workspace, tmp_path: Path) -> None:
    workspace = finished.cold.copy(tmp_path / "project", DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s")
    workspace.append("src/deepclust/methods/self_training/dec.py", "# a comment\n")
    run = parallel(workspace, "tcp://127.0.0.1:1")
    assert run.code == 2
    assert re.fullmatch(r"error: no Dask scheduler at tcp://127.0.0.1:1 .*\n", run.log)


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ([], "cd . && dvc repro"),
        (["GRID=benchmark"], "cd grids/benchmark && dvc repro"),
        (["JOBS=3"], f"cd . && python {ROOT}/tools/parallel.py 3"),
        (["ONLY=evaluate@usps-*"], f"cd . && python {ROOT}/tools/parallel.py 1 'evaluate@usps-*'"),
        (["JOBS=3", "ONLY=evaluate@usps-*"], f"cd . && python {ROOT}/tools/parallel.py 3 'evaluate@usps-*'"),
        (["SCHEDULER=tcp://h:1"], f"cd . && python {ROOT}/tools/parallel.py tcp://h:1"),
    ],
)
def test_make_repro_takes_a_number_of_jobs_or_a_scheduler(given: list[str], command: str) -> None:
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # also under make itself
    dry = ["make", "--dry-run", "repro", *given]
    said = subprocess.run(dry, cwd=ROOT, env=alone, capture_output=True, text=True, check=True)
    grid = "".join(word.removeprefix("GRID=") for word in given if word.startswith("GRID="))
    assert said.stdout.splitlines()[-2:] == [command, f"python tools/compare.py {grid}"]
