"""A grid as its users meet it: from nothing, with nothing to do, stages side by side, in a clone that has a remote.

Everything happens in temporary clones of the last commit, with caches, a remote and DVC state of their own:

1. `dvc repro` computes the grid, one stage at a time: the peer of the other rows;
2. the same once more, which has nothing to do;
3. `tools/parallel.py JOBS` computes it in a second clone, and must leave the same `dvc.lock` and reports;
4. the first clone commits, and pushes to a folder; a clone of it pulls, and `dvc repro` there must run no stage.

The table has seconds and their ratio to the first row's (below 1: faster). Processes are timed as a whole, each once:
sizes of ratios are to be trusted, and not their last digit. Where one long training decides, JOBS helps little.

    python bench/pipeline.py                          # demo, two jobs: a quarter of an hour
    python bench/pipeline.py --grid smoke --jobs 4
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepclust import grids, layout


class Clone:
    """A clone of the repository in `source`, with DVC state of its own; `said` is what the last command printed."""

    def __init__(self, folder: Path, grid: str, source: Path = layout.PROJECT) -> None:
        self.folder = folder / "project"
        state = str(folder / "dvc")
        self.variables = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(self.folder / "src"),
            **dict.fromkeys(["DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"], state),
        }
        subprocess.run(["git", "clone", "--quiet", str(source), str(self.folder)], check=True)
        self.grid = self.folder / grids.folder(grid).relative_to(layout.PROJECT)
        self.run("python", "stages/plan.py", "table", grid, where=self.folder)

    def run(self, *words: str, where: Path | None = None) -> float:
        """Run a command in the grid's folder, or in another, and return its seconds."""
        start = time.perf_counter()
        done = subprocess.run(
            words, cwd=where or self.grid, env=os.environ | self.variables, capture_output=True, text=True
        )
        self.said = done.stdout + done.stderr
        if done.returncode:
            sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{self.said}")
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="demo", help="name of a committed grid")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    print(f"grid {options.grid}, {len(os.sched_getaffinity(0))} cores\n")
    print("| | seconds | ratio |\n|---|---:|---:|")
    alone = 0.0

    def row(name: str, seconds: float) -> None:
        nonlocal alone
        alone = alone or seconds
        print(f"| {name} | {seconds:.1f} | {seconds / alone:.3f} |", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        first, second = (Clone(Path(temporary) / name, options.grid) for name in ("first", "second"))
        row("dvc repro, from nothing", first.run("dvc", "repro"))
        row("dvc repro, nothing to do", first.run("dvc", "repro"))
        jobs = ("python", str(second.folder / "tools/parallel.py"), str(options.jobs))
        row(f"JOBS={options.jobs}, from nothing", second.run(*jobs))
        if not same(first, second):
            sys.exit(f"JOBS={options.jobs} did not leave the bytes of dvc repro")

        first.run("git", "add", "--all")
        author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        first.run("git", *author, "commit", "--quiet", "--allow-empty", "--message", "Results")
        third = Clone(Path(temporary) / "third", options.grid, first.folder)
        for clone in (first, third):
            clone.run("dvc", "remote", "add", "--local", "--default", "bench", f"{temporary}/remote")
        row("dvc push, into a folder", first.run("dvc", "push", "--run-cache"))
        row("dvc pull, in a clone", third.run("dvc", "pull", "--run-cache"))
        row("dvc repro, after the pull", third.run("dvc", "repro"))
        if "Running stage" in third.said:
            sys.exit(f"a stage ran after the pull:\n{third.said}")


def same(one: Clone, other: Clone) -> bool:
    """Return whether two clones have the same lock and the same tracked files of reports."""
    tracked = subprocess.run(["git", "ls-files", "dvc.lock", "reports"], cwd=one.grid, capture_output=True, text=True)
    names = tracked.stdout.split()
    return all((one.grid / name).read_bytes() == (other.grid / name).read_bytes() for name in names)


if __name__ == "__main__":
    main()
