"""A grid run elsewhere within a budget comes home as one archive, which DVC then records and evaluates."""

import hashlib
import io
import json
import re
import runpy
import shutil
import signal
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from ruamel.yaml import YAML

from deepclust import config
from deepclust.errors import UserError
from deepclust.files import read_yaml
from tests.pipeline.conftest import DEADLINE, ROOT, TINY, Workspace, running

pytestmark = pytest.mark.xdist_group("shared")

RUN = ["python", "tools/paper_run.py", "run", "results.zip", "--grid", "tiny", "--jobs", "2", "--rounds", "1,2"]
IMPORT = ["python", "tools/paper_run.py", "import", "results.zip"]
CELLS = list(TINY["methods"])


@pytest.fixture(scope="module")
def away(tiny: Workspace, warm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a copy in which the grid was run for a while, then to its end."""
    workspace = tiny.copy(tmp_path_factory.mktemp("away") / "project", **warm)
    workspace.run(*RUN, "--budget", "600")
    return workspace


@pytest.fixture
def home(tiny: Workspace, away: Workspace, tmp_path: Path) -> Workspace:
    workspace = tiny.copy(tmp_path / "project", **away.variables)
    shutil.copy(away.root / "results.zip", workspace.root)
    return workspace


def repack(path: Path | str, change: Callable[[dict[str, bytes]], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def records(workspace: Workspace) -> dict[str, int]:
    """Return when each finished seed was written."""
    paths = (workspace.root / "work").rglob("results/run.json")
    return {path.relative_to(workspace.root).as_posix(): path.stat().st_mtime_ns for path in paths}


def test_archive_holds_what_each_seed_found_and_no_weights(away: Workspace) -> None:
    with zipfile.ZipFile(away.root / "results.zip") as archive:
        names = set(archive.namelist())
    for cell in CELLS:
        for seed in TINY["seeds"]:
            assert {f"data/runs/few/{cell}/seed-{seed}/{file}" for file in ("run.json", "labels.npy")} <= names
    assert {Path(name).suffix for name in names} == {".json", ".npy", ".csv", ".yaml"}
    assert not any(name.endswith("embedding.npy") for name in names)


def test_dvc_records_and_evaluates_what_came_home(home: Workspace, finished: Workspace) -> None:
    printed = home.run(*IMPORT)
    home.run("sh", "-c", printed.splitlines()[-1].rpartition(" && ")[0])  # dvc commit
    trained = [name for name in home.repro().ran if name.startswith(("pretrain", "cluster"))]
    assert trained == []
    assert home.repro().ran == frozenset()
    assert home.files("reports/scores") == finished.files("reports/scores")
    assert home.read("reports/results.csv") == finished.read("reports/results.csv")


def test_the_next_run_goes_on_where_the_budget_ended_the_last(
    tiny: Workspace, warm: dict[str, str], tmp_path: Path
) -> None:
    workspace = tiny.copy(tmp_path / "project", **warm)
    alone = [*("1" if word == "2" else word for word in RUN), "--cells", "kmeans"]
    said = workspace.run("sh", "-c", f"{' '.join(alone)} --budget 0.1 || true")
    assert "the budget is spent" in said
    assert "error: no cell has finished a seed of the first data set" in said
    assert not (workspace.root / "results.zip").exists()

    workspace.run(*alone, "--rounds", "1", "--budget", "600")
    one = records(workspace)
    said = workspace.run(*alone, "--budget", "600")
    assert "seeds {'few': [0, 1]}" in said
    assert one.items() < records(workspace).items()


def test_a_run_that_is_told_to_end_leaves_no_worker(tiny: Workspace, tmp_path: Path) -> None:
    """A worker that went on would train beside the next run, in the same folders."""
    workspace = tiny.copy(tmp_path / "project")
    command = [sys.executable, "tools/paper_run.py", *RUN[2:], "--budget", "600"]
    with running(workspace.cold, *command) as run:
        parent = psutil.Process(run.process.pid)
        run.wait_until(lambda: bool(parent.children()))
        found = parent.children()
        run.process.terminate()
        assert run.process.wait(DEADLINE) == 128 + signal.SIGTERM
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in found)


def test_named_cells_alone_run_in_their_order_and_are_packed_with_the_settings_they_have(
    away: Workspace, tmp_path: Path
) -> None:
    workspace, same = away.copy(tmp_path / "named"), {"n_init": 2}
    workspace.edit(lambda params: params.update(overrides={"few": {"methods": {"dec": same, "idec": same}}}))
    before = records(workspace)
    said = workspace.run(*RUN, "--budget", "600", "--jobs", "1", "--cells", "idec,kmeans")
    assert records(workspace) == before  # no seed of a cell or of a network was run again
    ran = [words[2:] for line in said.splitlines() if (words := line.split())[1:2] == ["s"]]
    cells = [unit for stage, _, *unit in ran if stage == "cluster"]
    assert (cells[:2], len(cells)) == ([["idec"], ["kmeans"]], 4)  # two rounds
    assert {words[-1] for words in ran if words[0] == "pretrain"} == {"mlp"}
    assert "left out" not in said
    with zipfile.ZipFile(workspace.root / "results.zip") as archive:
        content = YAML(typ="safe").load(archive.read("params.yaml"))
    assert set(content["methods"]) == {"idec", "kmeans"}
    assert list(content["networks"]) == ["mlp"]
    assert content["overrides"] == {"few": {"methods": {"idec": same}, "seeds": [0, 1]}}


def test_an_unknown_cell_is_refused_with_those_there_are(tiny: Workspace, warm: dict[str, str]) -> None:
    said = Workspace(tiny.root, warm).run("sh", "-c", f"{' '.join(RUN)} --cells kmeans,decc || true")
    assert (
        "error: --cells: 'decc' is no cell of this grid; its cells are kmeans, sc_ncut, dec, idec, conv_kmeans" in said
    )
    assert not (tiny.root / "results.zip").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--rounds 1,x", "--rounds takes numbers of seeds from 1 on, by commas, as in 1,3,10; got '1,x'"),
        ("--rounds 0", "--rounds takes numbers of seeds from 1 on, by commas, as in 1,3,10; got '0'"),
        ("--jobs 0", "--jobs must be above 0, got 0"),
        ("--budget -5", "--budget must be above 0, got -5"),
        ("--datasets fewer", "params.yaml: unknown data set 'fewer'; the data sets are "),
    ],
)
def test_options_that_make_no_sense_are_refused(options: str, said: str, tiny: Workspace, warm: dict[str, str]) -> None:
    output = Workspace(tiny.root, warm).run("sh", "-c", f"{' '.join(RUN)} {options} || true")
    assert f"error: {said}" in output
    assert "Traceback" not in output
    assert not (tiny.root / "results.zip").exists()


def test_wanted_cells_come_in_their_order_each_after_its_network(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "tools/paper_run.py"))
    YAML().dump(TINY | {"datasets": ["digits"], "sweeps": {}}, tmp_path / "params.yaml")
    params = config.load(tmp_path / "params.yaml")
    assert script["named"]("idec,kmeans,idec", params.methods) == ["idec", "kmeans"]
    assert list(script["tasks"](params, ["idec", "kmeans"])) == [
        ("data", "digits"),
        ("pretrain", "digits", "mlp"),
        ("cluster", "digits", "idec"),
        ("cluster", "digits", "kmeans"),
    ]
    assert {task[-1] for task in script["tasks"](params) if task[0] == "cluster"} == set(CELLS)


def test_the_part_of_a_grid_that_is_packed_is_a_grid(tmp_path: Path) -> None:
    script, path = runpy.run_path(str(ROOT / "tools/paper_run.py")), ROOT / "grids/paper/params.yaml"
    content = read_yaml(path) | {"sweeps": {}}
    found = script["part"](content, config.load(path), ["kmeans", "pc_x"], {"fashion": [1], "usps": [0, 2]})
    YAML().dump(found, tmp_path / "params.yaml")
    packed = config.load(tmp_path / "params.yaml")
    config.check(packed)
    assert (packed.datasets, packed.seeds_of("usps")) == (["fashion", "usps"], [0, 2])
    assert packed.changes_of("fashion").networks == {"random": {"uses": "random_conv"}}
    assert packed.changes_of("usps").defaults == {}  # an interval that neither cell has


def test_a_cell_that_failed_is_left_out_of_the_archive(away: Workspace, home: Workspace, tmp_path: Path) -> None:
    workspace = away.copy(tmp_path / "failing")
    workspace.edit(lambda params: params["methods"]["kmeans"].update(n_init=3))  # not run before
    shutil.rmtree(workspace.root / "work/cluster/few/kmeans")
    workspace.write("work/cluster/few/kmeans", "where the stage wants a folder")
    said = workspace.run(*RUN, "--budget", "600", "--cells", "kmeans,sc_ncut")
    assert "failed: cluster few kmeans" in said
    assert "left out of the archive: kmeans" in said
    shutil.copy(workspace.root / "results.zip", home.root)
    home.run(*IMPORT)
    placed = {path.name for path in (home.root / "data/runs/few").iterdir()}
    assert placed == {"sc_ncut"}


def damage(files: dict[str, bytes]) -> None:
    files["data/runs/few/kmeans/seed-0/labels.npy"] += b"!"


def stray(files: dict[str, bytes]) -> None:
    files["data/runs/../../params.yaml"] = b"seeds: [0]"


def other_settings(files: dict[str, bytes]) -> None:
    name = "data/runs/few/kmeans/seed-0/run.json"
    record = json.loads(files[name])
    files[name] = json.dumps(record | {"settings": {"n_init": 99}}).encode()
    agree(files)


def digests_that_are_a_list(files: dict[str, bytes]) -> None:
    files["digests.json"] = b"[]"


def no_grid(files: dict[str, bytes]) -> None:
    files["params.yaml"] = files["params.yaml"].replace(b"grid: tiny\n", b"")
    agree(files)


def no_table_at_all(files: dict[str, bytes]) -> None:
    files["params.yaml"] = b"- few\n"
    agree(files)


def another_data_set(files: dict[str, bytes]) -> None:
    files["data/runs/many/kmeans/seed-0/labels.npy"] = files["data/runs/few/kmeans/seed-0/labels.npy"]
    agree(files)


def a_seed_more(files: dict[str, bytes]) -> None:
    files["data/runs/few/kmeans/seed-7/labels.npy"] = files["data/runs/few/kmeans/seed-0/labels.npy"]
    agree(files)


def labels_of_fewer_samples(files: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(7, np.int64))
    files["data/runs/few/kmeans/seed-0/labels.npy"] = buffer.getvalue()
    agree(files)


def a_record_of_nothing(files: dict[str, bytes]) -> None:
    files["data/runs/few/kmeans/seed-0/run.json"] = b"{}"
    agree(files)


def agree(files: dict[str, bytes]) -> None:
    """Make the archive's digests those of its files, as somebody with ill intent would."""
    named = {name: content for name, content in files.items() if name != "digests.json"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in named.items()}
    files["digests.json"] = json.dumps(digests).encode()


def a_bomb(files: dict[str, bytes]) -> None:
    files["data/runs/few/kmeans/seed-0/embedding.npy"] = bytes(10**7)


@pytest.mark.parametrize("change", [damage, stray, digests_that_are_a_list, no_grid, no_table_at_all, a_bomb])
def test_an_archive_that_is_none_of_this_script_is_refused_unread(
    change: Callable[[dict[str, bytes]], None], away: Workspace, tmp_path: Path
) -> None:
    path = shutil.copy(away.root / "results.zip", tmp_path)
    repack(path, change)
    script = runpy.run_path(str(ROOT / "tools/paper_run.py"))
    script["read"].__globals__["UNPACKED"] = 5e6
    with pytest.raises(UserError, match=r"results\.zip"):
        script["grid_of"](path, script["read"](path)["params.yaml"])


@pytest.mark.parametrize(
    "change", [other_settings, another_data_set, a_seed_more, labels_of_fewer_samples, a_record_of_nothing]
)
def test_an_archive_that_does_not_fit_what_is_here_changes_nothing(
    change: Callable[[dict[str, bytes]], None], home: Workspace
) -> None:
    repack(home.root / "results.zip", change)
    before = home.read("params.yaml")
    said = home.run("sh", "-c", f"{' '.join(IMPORT)} && echo accepted || true")
    assert "accepted" not in said
    assert re.search(r"^error: .*\n\Z", said, re.MULTILINE)
    assert "Traceback" not in said
    assert home.read("params.yaml") == before
    assert not (home.root / "data/runs").exists()


def test_an_archive_of_other_code_is_refused(home: Workspace) -> None:
    home.append("src/deepclust/methods/baselines/kmeans.py", "\nOTHER = 1\n")
    said = home.run("sh", "-c", f"{' '.join(IMPORT)} && echo accepted || true")
    assert "accepted" not in said
    assert "kmeans/seed-0/run.json was made with another code" in said
    assert not (home.root / "data/runs").exists()
