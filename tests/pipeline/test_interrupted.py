"""Runs that are killed, or that storage stops: the same command goes on from there, and ends with the same bits.

Training here takes about a second a seed, with a checkpoint every five of its hundreds of epochs, on one thread.
"""

import contextlib
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import Workspace, running

pytestmark = pytest.mark.xdist_group("interrupted")

NETWORK, CELL = "pretrain@few-mlp", "cluster@few-dec"
QUARTER = "pretrain: epoch 100 of 400"
STRANGER = f"""
    {{"write": {{"ROOT/data/pretrained/few/mlp": {{"pid": {os.getpid()}, "cmd": "dvc repro"}}}}, "read": {{}}}}
"""
LOCK = "work/locks/pretrain few mlp"
COLD_DVC = str(Path(sys.executable).with_name("dvc"))  # a process that can be killed without its children


@pytest.fixture(scope="module")
def prepared(tiny: Workspace, warm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return the data ready, and nothing trained."""

    def lengthen(params: Any) -> None:
        params["compute"]["threads"] = 1
        params["networks"]["mlp"]["epochs"] = 400
        params["methods"]["dec"] |= {"epochs": 400, "tolerance": 0}

    workspace = tiny.copy(tmp_path_factory.mktemp("prepared") / "project", **warm)
    workspace.edit(lengthen)
    workspace.repro("prepare@few")
    return workspace


@pytest.fixture(scope="module")
def pretrained(prepared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return the network trained without interruption, and committed."""
    workspace = prepared.copy(tmp_path_factory.mktemp("pretrained") / "project")
    assert workspace.repro(NETWORK).ran == {NETWORK}
    workspace.commit()
    return workspace


@pytest.fixture(scope="module")
def clustered(pretrained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return the cell run without interruption."""
    workspace = pretrained.copy(tmp_path_factory.mktemp("clustered") / "project")
    assert workspace.repro(CELL).ran == {CELL}
    return workspace


def attempt(workspace: Workspace, *command: str) -> tuple[int, str]:
    """Return a command's exit code and its output."""
    with running(workspace, *command) as started:
        code = started.process.wait()
        return code, started.log


def kill_at_random(workspace: Workspace, moments: random.Random, unit: str, *command: str) -> None:
    """Start a command, and kill it and its children some checkpoints and milliseconds later."""
    seen: set[tuple[int, int]] = set()
    goal, delay = moments.randrange(16), moments.random() / 20

    def far_enough() -> bool:
        for path in (workspace.root / "work" / unit).glob("*/*/checkpoints/*.safetensors"):
            with contextlib.suppress(FileNotFoundError):
                seen.add((path.stat().st_ino, path.stat().st_mtime_ns))
        return len(seen) > goal

    with running(workspace, *command) as started:
        started.wait_until(far_enough)
        time.sleep(delay)
        os.killpg(started.process.pid, signal.SIGKILL)
        assert started.process.wait() == -signal.SIGKILL


def test_ten_kills_in_a_row_at_random_moments_leave_no_trace_in_any_byte(
    prepared: Workspace,
    pretrained: Workspace,
    clustered: Workspace,
    pool: ThreadPoolExecutor,
    tmp_path: Path,
) -> None:
    def torment(start: Workspace, end: Workspace, unit: str, target: str, seed: int) -> None:
        workspace, moments = start.copy(tmp_path / unit.partition("/")[0]), random.Random(seed)
        stage, *arguments = unit.split("/")
        for _ in range(4):
            kill_at_random(workspace, moments, unit, "python", f"stages/{stage}.py", *arguments)
        kill_at_random(workspace, moments, unit, "dvc", "repro", target)
        assert workspace.repro(target).ran == {target}
        for folder in ("data", "reports"):
            assert workspace.files(folder) == end.files(folder)
        assert workspace.read("dvc.lock") == end.read("dvc.lock")
        kept = {Path(name).name for name in workspace.files(f"work/{unit}")}
        assert {"run.json", "trace.csv"} <= kept
        assert not [name for name in kept if name.endswith(".tmp")]

    network = pool.submit(torment, prepared, pretrained, "pretrain/few/mlp", NETWORK, 1)
    cell = pool.submit(torment, pretrained, clustered, "cluster/few/dec", CELL, 2)
    network.result()
    cell.result()


def test_a_stage_that_a_killed_dvc_left_at_work_is_waited_for_whether_it_ends_or_is_killed(
    prepared: Workspace, pretrained: Workspace, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    def orphan(fate: signal.Signals) -> str:
        workspace = prepared.copy(tmp_path / fate.name)
        with running(workspace, COLD_DVC, "repro", NETWORK) as first:
            first.wait_until(lambda: QUARTER in first.log)
            first.process.kill()
            first.process.wait()
            (stage,) = map(int, re.findall(r"^process (\d+) on ", workspace.read(LOCK)))
            os.kill(stage, signal.SIGSTOP)  # so that it is at work for as long as the next run needs to meet it
            with running(workspace, "dvc", "repro", NETWORK) as second:
                second.wait_until(lambda: f"pretrain few mlp: process {stage} on " in second.log)
                os.kill(stage, fate)
                assert second.process.wait() == 0
                log = second.log
        assert workspace.files("data") == pretrained.files("data")
        assert workspace.read("dvc.lock") == pretrained.read("dvc.lock")
        return log

    left_alone, killed = pool.map(orphan, (signal.SIGCONT, signal.SIGKILL))
    assert "epoch" not in left_alone
    assert left_alone.count("finished before, reused") == 2
    assert "data/pretrained/few/mlp, seed 0\n" in killed
    assert killed.count(QUARTER) == 1  # seed 1's; seed 0 went on from its checkpoint


def add_a_seed(workspace: Workspace) -> None:
    workspace.edit(lambda params: params.update(seeds=[0, 1, 2]))


def check_added_seed(workspace: Workspace, pretrained: Workspace) -> None:
    old, new = (w.files("data/pretrained/few/mlp") for w in (pretrained, workspace))
    assert {name: new[name] for name in old} == old
    assert len(new) * 2 == len(old) * 3
    assert workspace.read_json("data/pretrained/few/mlp/seed-2/run.json")["status"] == "ok"
    assert workspace.repro(NETWORK).ran == set()


def test_a_disk_that_is_full_stops_a_new_seed_with_one_line_and_loses_no_finished_one(
    pretrained: Workspace, tmp_path: Path
) -> None:
    """`work` is a small file system, filled to the last byte and then freed."""
    workspace = pretrained.copy(tmp_path / "project")
    add_a_seed(workspace)
    workspace.repro("plan")
    script = f"""
        set -e
        mkdir mounted
        mount -t tmpfs -o size=8m tmpfs mounted
        cp -a work/. mounted
        mount --move mounted work
        dd if=/dev/zero of=work/filler bs=4k || dd if=/dev/zero of=work/filler bs=1 oflag=append conv=notrunc || true
        python stages/pretrain.py few mlp && exit 1
        echo FREED
        rm work/filler
        dvc repro {NETWORK}
    """
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system of their own; the limit on file size is tested")
    code, log = attempt(workspace.cold, *namespace, "sh", "-c", textwrap.dedent(script))
    full, _, freed = log.partition("FREED")
    assert code == 0, log
    reused = [f"data/pretrained/few/mlp, seed {seed}: finished before, reused" for seed in (0, 1)]
    (line,) = re.findall(r"^error: .*$", full, re.MULTILINE)
    assert re.search(r"No space left on device.* work/pretrain/few/mlp/seed-2/\w+/", line)
    assert line.endswith("run the same command again: what was finished is kept")
    assert "Traceback" not in full
    for part in (full, freed):
        assert [text in part for text in reused] == [True, True]
    assert "data/pretrained/few/mlp, seed 2\n" in freed
    check_added_seed(workspace, pretrained)


def test_a_cache_that_cannot_be_written_stops_dvc_with_a_line_and_loses_no_finished_seed(
    pretrained: Workspace, tmp_path: Path
) -> None:
    workspace = pretrained.copy(tmp_path / "project")
    add_a_seed(workspace)
    workspace.repro("plan")
    folders = [path for path in (workspace.root / ".dvc/cache").rglob("*") if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    # a superuser may write anywhere, until the capability CAP_DAC_OVERRIDE (1) is dropped (PR_CAPBSET_DROP, 24)
    drop = "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"
    code, log = attempt(workspace, sys.executable, "-c", drop, COLD_DVC, "repro", NETWORK)
    for folder in folders:
        folder.chmod(0o755)
    assert code != 0
    assert re.search(r"^ERROR: .*Permission denied: '.*/\.dvc/cache/", log, re.MULTILINE)
    assert "Traceback" not in log
    assert "seed 2\n" in log

    again = workspace.repro(NETWORK).log
    assert again.count("finished before, reused") == 3
    assert "epoch" not in again
    check_added_seed(workspace, pretrained)


def test_a_file_too_large_to_be_written_stops_a_stage_with_one_line_and_is_not_left_half_written(
    prepared: Workspace, tmp_path: Path
) -> None:
    workspace = prepared.copy(tmp_path / "project")
    limited = f"ulimit -f 16; exec {shlex.quote(sys.executable)} stages/pretrain.py few mlp"
    code, log = attempt(workspace, "bash", "-c", limited)
    assert code == 2
    (line,) = re.findall(r"^error: .*$", log, re.MULTILINE)
    assert re.search(r"File too large.* work/pretrain/few/mlp/seed-0/\w+/checkpoints/", line)
    assert "Traceback" not in log
    assert [name for name in workspace.files("work") if name.endswith(".tmp")] == []


@pytest.mark.parametrize(
    ("file", "content", "remedy", "restored"),
    [
        ("dvc.lock", "", ["git", "checkout", "dvc.lock"], set()),  # DVC empties both files before it writes them
        ("dvc.lock", "", ["rm", "dvc.lock"], {"prepare@few", "fetch@few", NETWORK}),
        (".dvc/tmp/rwlock", "", ["rm", ".dvc/tmp/rwlock"], set()),
        (".dvc/tmp/rwlock", STRANGER, ["rm", ".dvc/tmp/rwlock"], set()),
    ],
    ids=["lock", "lock never committed", "rwlock", "rwlock of a number that is another's now"],
)
def test_a_file_of_dvc_that_a_kill_left_in_the_way_is_named_and_costs_no_training(
    file: str, content: str, remedy: list[str], restored: set[str], pretrained: Workspace, tmp_path: Path
) -> None:
    workspace = pretrained.copy(tmp_path / "project")
    workspace.write(file, content.replace("ROOT", str(workspace.root)))
    code, log = attempt(workspace, "dvc", "repro", NETWORK)
    assert code != 0
    assert file in log
    assert "Traceback" not in log
    workspace.run(*remedy)
    repro = workspace.repro(NETWORK)
    assert repro.restored == restored
    assert repro.ran <= {"plan"}
    assert workspace.read("dvc.lock") == pretrained.read("dvc.lock")
    assert workspace.files("data") == pretrained.files("data")


def test_half_written_files_that_a_kill_left_enter_no_result(prepared: Workspace, tmp_path: Path) -> None:
    workspace = prepared.copy(tmp_path / "project")
    for folder in ("data/prepared/few", "reports/sweeps", "work/downloads/few"):
        workspace.write(f"{folder}/.x.0123abcd.tmp", "half")
    assert workspace.repro("prepare@few").ran == set()
    assert ".tmp" not in workspace.run("git", "status", "--porcelain", "--untracked-files=all")
    for stage in ("fetch", "prepare"):
        workspace.run("python", f"stages/{stage}.py", "few")
    assert workspace.files("data/raw") == prepared.files("data/raw")
    assert workspace.files("data/prepared") == prepared.files("data/prepared")
    half = "work/downloads/few/.x.0123abcd.tmp"  # of another grid's download perhaps, which goes on
    assert workspace.files("work/downloads").keys() - prepared.files("work/downloads").keys() == {half}
