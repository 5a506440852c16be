"""Damaged and hostile input ends in one line: never in a number, never in a shell."""

import json
import os
import shutil
import signal
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from deepclust.files import read_yaml
from tests.pipeline.conftest import Workspace, running

pytestmark = pytest.mark.xdist_group("finished")

# Flips a bit of every file that a stage reads, one at a time, and runs the stage as DVC does, in this process.
INJECT = """
    import contextlib, io, json, os, runpy, sys
    from pathlib import Path
    from dvc.repo import Repo

    with Repo() as repo:
        stages = {s.addressing: (s.cmd, [d.def_path for d in s.deps]) for s in repo.index.stages}
    outcomes = {}
    for stage, (command, deps) in stages.items():
        read = [Path(dep) for dep in deps if dep.split("/")[0] in ("data", "reports")]
        for path in filter(Path.is_file, (path for place in read for path in (place, *place.rglob("*")))):
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if content else b"x")
            os.environ["DVC_STAGE"], sys.argv = stage, command.split()[1:]
            said = io.StringIO()
            try:
                with contextlib.redirect_stderr(said):
                    runpy.run_path(sys.argv[0], run_name="__main__")
                outcomes[f"{stage} {path}"] = "ran"
            except SystemExit as end:
                outcomes[f"{stage} {path}"] = f"{end.code} {said.getvalue().splitlines()[-1]}"
            path.write_bytes(content)
    print(json.dumps(outcomes))
"""


def end(workspace: Workspace, *command: str) -> tuple[int, str]:
    """Return a command's exit code and what it printed."""
    done = subprocess.run(command, cwd=workspace.root, env=workspace.environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_no_stage_computes_from_a_file_in_which_a_bit_has_flipped(finished: Workspace, tmp_path: Path) -> None:
    workspace = finished.copy(tmp_path / "project")
    before = workspace.files("data") | workspace.files("reports")
    outcomes: dict[str, Any] = json.loads(workspace.run("python", "-c", textwrap.dedent(INJECT)).splitlines()[-1])
    kinds = {Path(name.split()[1]).suffix for name in outcomes}
    assert kinds == {".npy", ".npz", ".json", ".csv", ".txt", ".safetensors", ".png"}
    assert {name.split("@")[0].split()[0] for name in outcomes} == {
        "fetch", "prepare", "graph", "pretrain", "cluster", "evaluate", "sweep", "evaluate_sweep", "report",
    }  # fmt: skip
    wrong = {name: said for name, said in outcomes.items() if not (said.startswith("2 error: ") and "damaged" in said)}
    assert wrong == {}
    assert workspace.files("data") | workspace.files("reports") == before


def test_labels_damaged_in_the_cache_reach_no_report_and_the_advice_mends_them(
    finished: Workspace, tmp_path: Path
) -> None:
    workspace = finished.copy(tmp_path / "project")
    folder, evaluate = "data/runs/few/kmeans", "evaluate@few-kmeans"
    entries = read_yaml(workspace.root / "dvc.lock")["stages"]["cluster@few-kmeans"]["outs"]
    cache = workspace.root / ".dvc/cache/files/md5"
    listing = json.loads((cache / entries[0]["md5"][:2] / entries[0]["md5"][2:]).read_bytes())
    name = next(entry["md5"] for entry in listing if entry["relpath"] == "seed-0/labels.npy")
    labels = cache / name[:2] / name[2:]
    content = bytearray(labels.read_bytes())
    for place in range(128, len(content), 8):  # the lowest bit of every label
        content[place] ^= 1
    labels.chmod(0o644)
    labels.write_bytes(content)
    labels.chmod(0o444)
    shutil.rmtree(workspace.root / folder)
    workspace.run("dvc", "checkout", folder)  # DVC takes the object at its name

    again = ("dvc", "repro", "--force", "--single-item", evaluate)
    code, said = end(workspace, *again)
    assert code != 0
    assert f"error: {folder} is damaged: its content is not what its stage wrote" in said
    assert "Traceback" not in said

    shutil.rmtree(workspace.root / folder)
    code, said = end(workspace, "python", "tools/verify.py", "objects")
    assert code == 1
    assert f"{name} removed: its content is another" in said
    assert f"These stages have read it: {evaluate}, evaluate_sweep@few-starts." in said
    assert workspace.repro().ran >= {"cluster@few-kmeans"}
    workspace.run(*again)
    for part in ("data", "reports"):
        assert workspace.files(part) == finished.files(part)


@pytest.mark.parametrize("section", ["own_files", "cells", "networks_read", "sweeps_read"])
def test_no_value_of_params_yaml_reaches_a_shell(section: str, finished: Workspace, tmp_path: Path) -> None:
    """DVC merges params.yaml into cells.yaml, section by section, before any of our code runs."""
    workspace = finished.copy(tmp_path / "project")
    words = "x; touch HACKED #"
    names = ("dataset", "cell", "network", "sweep", "graph", "path")
    entry = {name: "README.md" if name in ("path", "graph") else words for name in names}
    workspace.edit(lambda params: params.update({section: {words: entry, f"$({words})": entry}}))
    for command in (["dvc", "repro", "--keep-going"], ["dvc", "repro", f"{section}@{words}"]):
        assert end(workspace, *command)[0] != 0
    assert not list(workspace.root.rglob("HACKED"))


def test_a_section_that_is_no_setting_is_named(finished: Workspace, tmp_path: Path) -> None:
    workspace = finished.copy(tmp_path / "project")
    workspace.edit(lambda params: params.update(own_files={"x; y": {"path": "README.md"}}))
    code, said = end(workspace, "dvc", "repro", "own@x; y")
    assert code != 0
    assert "error: the stage 'own@x; y' is none of cells.yaml's" in said


def test_ctrl_c_costs_one_line_and_no_work(finished: Workspace, tmp_path: Path) -> None:
    workspace = finished.copy(tmp_path / "project")
    workspace.edit(lambda params: params["networks"]["mlp"].update(epochs=100_000))
    work = workspace.root / "work/pretrain/few/mlp"
    workspace.run("python", "stages/plan.py")
    with running(workspace.cold, "python", "stages/pretrain.py", "few", "mlp") as started:
        started.wait_until(lambda: list(work.rglob("checkpoints/*.safetensors")) != [])
        os.killpg(started.process.pid, signal.SIGINT)  # DVC would name its shell's exit status, not the stage's
        assert started.process.wait() == 130
        said = started.log
    assert said.count("interrupted: what was finished is kept, and the same command goes on from there") == 1
    assert "Traceback" not in said
