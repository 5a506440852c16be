"""Stages side by side: `make repro JOBS=N` against `dvc repro` on a grid of equal cells.

In a temporary copy of the project everything but the cells is made first: data, graph, network. Then the cells of one
method with the same settings, their evaluations and the report are timed, once in one go by DVC alone and once by
tools/parallel.py, one thread a stage. The output is seconds, and how many times faster than DVC alone (higher is
better); both must leave the same dvc.lock. The report and the last evaluations have nothing beside them, and starting
Dask takes a few seconds: cells of minutes come closer to N than cells of seconds.

    python bench/parallel.py                           # 8 cells, two workers
    python bench/parallel.py --cells 2 --epochs 5      # does it run?
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepclust.files import read_yaml, write_json

ROOT = Path(__file__).parents[1]
PARTS = ["src", "stages", ".dvc/config", ".dvcignore", ".gitignore", "dvc.yaml"]


def command(folder: Path, *words: str) -> float:
    """Run a command of the project in a copy of it and return its seconds."""
    state = str(folder.with_name("dvc"))
    variables = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder / "src"),
        **dict.fromkeys(["DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"], state),
    }
    start = time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=os.environ | variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def copy_of_project(folder: Path, n_cells: int, epochs: int) -> None:
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, folder / part)
    params = read_yaml(ROOT / "params.yaml")
    settings = {"uses": "idec", "epochs": epochs, "batch_size": 64, "tolerance": 0.0, "n_init": 5}  # none stops early
    params |= {
        "grid": "bench",
        "seeds": [0],
        "datasets": ["digits"],
        "compute": params["compute"] | {"device": "cpu", "threads": 1},
        "networks": {"mlp": params["networks"]["mlp"] | {"epochs": 5}},
        "methods": {group: {} for group in params["methods"]} | {"mlp": {f"cell{i}": settings for i in range(n_cells)}},
        "overrides": {},
        "sweeps": {},
    }
    write_json(folder / "params.yaml", params)  # JSON is YAML
    command(folder, "git", "init", "--quiet")
    command(folder, "dvc", "repro", "graph", "pretrain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=100, help="length of a cell's training")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        serial, parallel = (Path(temporary) / name / "project" for name in ("serial", "parallel"))
        copy_of_project(serial, options.cells, options.epochs)
        shutil.copytree(serial, parallel)
        alone = command(serial, "dvc", "repro")
        together = command(parallel, "python", "tools/parallel.py", str(options.jobs))
        same = (serial / "dvc.lock").read_bytes() == (parallel / "dvc.lock").read_bytes()
    print(f"{options.cells} cells of {options.epochs} epochs, {len(os.sched_getaffinity(0))} cores")
    print(f"{'':20s} {'seconds':>8s} {'faster':>7s}")
    for name, seconds in (("dvc repro", alone), (f"JOBS={options.jobs}", together)):
        print(f"{name:20s} {seconds:8.1f} {alone / seconds:7.2f}")
    if not same:
        sys.exit("their dvc.lock differ")


if __name__ == "__main__":
    main()
