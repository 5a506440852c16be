"""Copies of the project in which DVC runs for real, in seconds: five cells, a sweep, 120 digits, nets of 16 units.

A session's fixtures are computed once a worker of pytest-xdist. Tests on the finished grid are therefore two
groups (`xdist_group`) of like length, each run by one worker: `finished`, with the tests on its twin, and `shared`.
Files with a grid of their own are a group each.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from deepclust.files import read_yaml
from tests.warm import warmed

ROOT = Path(__file__).parents[2]
DEADLINE = 300.0  # seconds; of waiting for what has to come, on however busy a machine
TOLD = ["CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"]  # Dask sets the others for its workers

TINY: dict[str, Any] = {
    "grid": "tiny",
    "seeds": [0, 1],
    "datasets": ["few"],
    "compute": {"device": "cpu", "threads": 2},
    "graph": {"n_neighbors": 5},
    "networks": {
        "mlp": {"hidden": [16], "n_embedding": 5, "epochs": 2, "batch_size": 32},
        "conv": {"channels": [4, 8], "n_embedding": 5, "epochs": 1, "batch_size": 32},
    },
    "methods": {
        "kmeans": {"n_init": 2},
        "sc_ncut": {"n_init": 2},
        "dec": {"epochs": 2, "batch_size": 32, "n_init": 2},
        "idec": {"epochs": 2, "batch_size": 32, "n_init": 2},
        "conv_kmeans": {"uses": "ae_kmeans", "network": "conv", "n_init": 2},
    },
    "defaults": {},
    "overrides": {},
    "sweeps": {"starts": {"dataset": "few", "cell": "kmeans", "seeds": [0], "grid": {"n_init": [1, 2]}}},
}

FEW = '''
    """The first 120 of the digits."""

    from pathlib import Path

    import numpy as np

    from deepclust.datasets import digits
    from deepclust.datasets._base import DatasetSpec


    def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
        X, y = digits.SPEC.read(path)
        return X[:120], y[:120]


    SPEC = DatasetSpec(
        n_clusters=10, image_shape=(1, 8, 8), source=digits.SPEC.source, files=digits.SPEC.files, read=_read
    )
'''

# As docs/adding-a-dataset.md says it: a file, its digest, its source, a reader. Wines are no images.
WINE = '''
    """Wine: 178 wines of 3 growers, 13 measurements each, read from the copy inside scikit-learn."""

    from pathlib import Path

    import numpy as np

    from deepclust.datasets._base import DatasetSpec
    from deepclust.datasets._sources import PublishedFile, Source


    def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
        table = np.loadtxt(path, delimiter=",", skiprows=1)
        return table[:, :-1] / table[:, :-1].max(axis=0), table[:, -1]


    SPEC = DatasetSpec(
        n_clusters=3,
        image_shape=None,
        source="https://archive.ics.uci.edu/dataset/109/wine",
        files=(PublishedFile("wine.csv", "{sha256}", (Source("{url}"),)),),
        read=_read,
    )
'''

# Notes which files of the project a stage reads, which modules of the package it loads, which process started it, and
# what it is told of GPUs, threads and memory.
WITNESS = """
    import atexit, json, os, sys

    opened = set()

    def hook(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            opened.add(os.path.relpath(arguments[0]))

    def write():
        if sys.argv[0].startswith("stages/"):
            modules = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "deepclust"]
            note = {{"opened": sorted(opened), "modules": sorted(map(os.path.relpath, modules))}}
            client = int(os.environ["WARM_CLIENT"])  # what the worker started, for which this process stands
            leader = open(f"/proc/{{os.getsid(client)}}/stat").read()
            note |= {{"worker": leader.split(") ")[1].split()[1]}}
            note |= {{name: os.environ.get(name) for name in {names!r}}}
            names = os.environ["DVC_STAGE"].partition("@")[2].split("-")
            command = " ".join(filter(None, [sys.argv[0], *names, *sys.argv[1:]]))
            with open(os.path.join({folder!r}, command.replace("/", ":")), "w") as file:
                json.dump(note, file)

    sys.addaudithook(hook)
    atexit.register(write)
"""


@dataclass(frozen=True)
class Repro:
    """The outcome of one `dvc repro`."""

    ran: frozenset[str]
    restored: frozenset[str]  # from the run-cache, without running
    log: str


@dataclass(frozen=True)
class Parallel:
    """How one run of several stages at a time ended."""

    code: int
    log: str

    def stages(self, outcome: str) -> set[str]:
        return set(re.findall(rf"^\d+/\d+ (\S+): {outcome}$", self.log, re.MULTILINE))


@dataclass(frozen=True)
class Workspace:
    """A copy of the project under version control, with an environment of its own."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "DVC_", "GIT_", "DEEPCLUST_", "PYTEST_"))
        }
        state = self.root.parent / f"{self.root.name}-dvc"
        environment = kept | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(self.root / "src"),
            "DVC_SITE_CACHE_DIR": str(state),
            "DVC_GLOBAL_CONFIG_DIR": str(state),
            "DVC_SYSTEM_CONFIG_DIR": str(state),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **self.variables,
        }
        if site := environment.pop("SITE", ""):
            environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], site])
        return environment

    def run(self, *command: str) -> str:
        """Run a command in the copy and return its output; stdout and stderr together."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def repro(self, *targets: str) -> Repro:
        """Do what `make repro` does."""
        self.run("python", "stages/plan.py", "table")
        log = self.run("dvc", "repro", *targets)
        ran = re.findall(r"^Running stage '(.+)':$", log, re.MULTILINE)
        restored = re.findall(r"^Stage '(.+)' is cached - skipping run", log, re.MULTILINE)
        assert len(ran) == len(set(ran))
        return Repro(frozenset(ran), frozenset(restored), log)

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message=.")

    def pack(self) -> None:
        """Make one file of all of git's objects, which copies take along."""
        self.run("git", "repack", "--quiet", "-a", "-d")

    @property
    def params(self) -> Any:
        return read_yaml(self.root / "params.yaml")

    def edit(self, change: Callable[[Any], None]) -> None:
        """Change the content of params.yaml."""
        params = self.params
        change(params)
        YAML().dump(params, self.root / "params.yaml")

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        text = self.read(path)
        assert old in text
        (self.root / path).write_text(text.replace(old, new), encoding="utf-8")

    def append(self, path: str, text: str) -> None:
        with open(self.root / path, "a", encoding="utf-8") as file:
            file.write(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def read_json(self, path: str) -> Any:
        return json.loads(self.read(path))

    def files(self, folder: str) -> dict[str, bytes]:
        """Return the content of all files under a folder."""
        paths = sorted(path for path in (self.root / folder).rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths}

    def copy(self, root: Path, **variables: str) -> "Workspace":
        """Copy everything, DVC's cache, the finished seeds and the variables included."""
        shutil.copytree(self.root, root, symlinks=True)
        return Workspace(root, self.variables | variables)

    @property
    def cold(self) -> "Workspace":
        """The same workspace with a process of its own for each stage, whatever limits it starts under."""
        return Workspace(self.root)


@dataclass(frozen=True)
class Running:
    """A command at work in a session of its own, with its output so far."""

    process: subprocess.Popen[bytes]
    output: Path

    def wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self.process.poll() is None, self.log
            time.sleep(0.005)

    @property
    def log(self) -> str:
        return self.output.read_text(encoding="utf-8")


@contextlib.contextmanager
def running(workspace: Workspace, *command: str) -> Iterator[Running]:
    """Start a command in the workspace, and kill what is left of it and its children at the end."""
    output = workspace.root.parent / f"{time.monotonic_ns()}.log"
    with open(output, "wb") as file:
        process = subprocess.Popen(
            command,
            cwd=workspace.root,
            env=workspace.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores Ctrl-C
        )
    try:
        yield Running(process, output)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def start(workspace: Workspace, where: str, *only: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["python", "tools/parallel.py", where, *only],
        cwd=workspace.root,
        env=workspace.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> Parallel:
    log, _ = process.communicate(timeout=DEADLINE)
    return Parallel(process.returncode, log)


def parallel(workspace: Workspace, where: str = "2", *only: str) -> Parallel:
    return finish(start(workspace, where, *only))


def stages_of(workspace: Workspace, *cells: str, dataset: str = "few") -> set[str]:
    """Return the names of the stages that make and evaluate some cells of a data set; all cells where none is named."""
    chosen = [cell for cell in workspace.params["methods"] if not cells or cell in cells]
    assert len(chosen) >= len(cells)
    return {f"{kind}@{dataset}-{cell}" for kind in ("cluster", "evaluate") for cell in chosen}


def sweeps_of(workspace: Workspace) -> set[str]:
    """Return the names of the stages that run and evaluate the sweeps."""
    return {
        f"{stage}@{sweep['dataset']}-{name}"
        for stage in ("sweep", "evaluate_sweep")
        for name, sweep in workspace.params["sweeps"].items()
    }


def add_wine(workspace: Workspace) -> None:
    """Add a data set as docs/adding-a-dataset.md says."""
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    table = Path(spec.origin).parent / "datasets/data/wine_data.csv"
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    workspace.write("src/deepclust/datasets/wine.py", WINE.format(sha256=digest, url=table.as_uri()))
    workspace.edit(lambda params: params["datasets"].append("wine"))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a copy of the project as a commit of the working tree would have it, without results."""
    workspace = Workspace(tmp_path_factory.mktemp("pristine") / "project")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists() and not re.search(r"(^|/)(dvc.lock$|reports/)", name):
            (workspace.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, workspace.root / name, follow_symlinks=False)
    workspace.run("git", "init", "--quiet")
    workspace.commit()
    workspace.pack()
    return workspace


@pytest.fixture(scope="session")
def tiny(pristine: Workspace, warm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a copy whose default grid is the tiny one, not run yet, without most of what no stage reads.

    A thousand files more are a second more in each of dozens of copies.
    """
    workspace = pristine.copy(tmp_path_factory.mktemp("tiny") / "project")
    others = [path for path in (workspace.root / "grids").iterdir() if path.name != "benchmark"]
    for folder in (*others, *(workspace.root / name for name in ("bench", "docs", "tests"))):
        shutil.rmtree(folder)
    workspace.write("src/deepclust/datasets/few.py", FEW)
    YAML().dump(TINY, workspace.root / "params.yaml")
    Workspace(workspace.root, warm).run("python", "stages/plan.py", "table")
    workspace.commit()
    return workspace


@pytest.fixture(scope="session")
def pool() -> Iterator[ThreadPoolExecutor]:
    """Return a pool for workspaces that run side by side, one a core: most of a stage is start-up on one core."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield pool
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class First:
    """The tiny grid run from nothing by `dvc repro`, and committed."""

    workspace: Workspace
    serial: Repro


@pytest.fixture(scope="session")
def first(tiny: Workspace, warm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> First:
    workspace = tiny.copy(tmp_path_factory.mktemp("first") / "project", **warm)
    serial = workspace.repro()
    workspace.commit()
    workspace.pack()
    return First(workspace, serial)


@pytest.fixture(scope="session")
def finished(first: First) -> Workspace:
    """Return the tiny grid, run and committed; copy it before changing it."""
    return first.workspace


@dataclass(frozen=True)
class Twins:
    """The tiny grid run from nothing twice: by `dvc repro`, and in another place by two workers that see two GPUs."""

    first: Workspace
    second: Workspace
    serial: Repro
    parallel: Parallel
    witnesses: Path  # what each stage of the second read and loaded


@pytest.fixture(scope="session")
def twins(first: First, tiny: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "notes").mkdir()
    witness = WITNESS.format(folder=str(folder / "notes"), names=TOLD)
    surroundings = {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "4,7", "TZ": "Asia/Tokyo"}
    with warmed(folder, surroundings, witness) as other:
        second = tiny.copy(folder / "another name" / "project", **surroundings, **other)
        yield Twins(first.workspace, second, first.serial, parallel(second), folder / "notes")


def grid_environment(project: Workspace) -> dict[str, str]:
    """Return the project's own surroundings, for commands in the folder of a grid."""
    names = ("PATH", "PYTHONPATH", "DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")
    return {name: project.environment[name] for name in names}
