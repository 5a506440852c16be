"""A grid as its users meet it: from nothing, with nothing to do, stages side by side, in a clone that has a remote.

Everything happens in temporary clones of the last commit, with caches, a remote and DVC state of their own:

1. `dvc repro` computes the grid, one stage at a time: the peer of the other rows;
2. the same once more, which has nothing to do;
3. `tools/parallel.py JOBS` computes it in a second clone, and must leave the same `dvc.lock` and reports;
4. the first clone pushes to a folder; a third pulls, and its `dvc repro` must run no stage.

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
    """A clone of this repository: what it knows besides the repository lies beside it."""

    def __init__(self, folder: Path, grid: str) -> None:
        self.folder = folder / "project"
        state = str(folder / "dvc")
        self.variables = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(self.folder / "src"),
            **dict.fromkeys(["DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"], state),
        }
        subprocess.run(["git", "clone", "--quiet", str(layout.PROJECT), str(self.folder)], check=True)
        self.grid = self.folder / grids.folder(grid).relative_to(layout.PROJECT)
        self.run("python", "stages/plan.py", "table", grid, where=self.folder)

    def run(self, *words: str, where: Path | None = None) -> float:
        """Run a command in the grid's folder, or in another, and return its seconds."""
        start = time.perf_counter()
        done = subprocess.run(
            words, cwd=where or self.grid, env=os.environ | self.variables, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="demo", help="name of a committed grid")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        first, second, third = (Clone(Path(temporary) / name, options.grid) for name in ("first", "second", "third"))
        seconds = {"dvc repro, from nothing": first.run("dvc", "repro")}
        seconds["dvc repro, nothing to do"] = first.run("dvc", "repro")
        jobs = ("python", str(second.folder / "tools/parallel.py"), str(options.jobs))
        seconds[f"JOBS={options.jobs}, from nothing"] = second.run(*jobs)
        for clone in (first, third):
            clone.run("dvc", "remote", "add", "--local", "--default", "bench", f"{temporary}/remote")
        seconds["dvc push, into a folder"] = first.run("dvc", "push", "--run-cache")
        (third.grid / "dvc.lock").write_bytes((first.grid / "dvc.lock").read_bytes())
        seconds["dvc pull, in a clone"] = third.run("dvc", "pull", "--run-cache")
        seconds["dvc repro, after the pull"] = third.run("dvc", "repro")
        differing = [name for name, clone in (("JOBS", second), ("pull", third)) if not same(first, clone)]

    print(f"grid {options.grid}, {len(os.sched_getaffinity(0))} cores")
    alone = next(iter(seconds.values()))
    print("| | seconds | ratio |\n|---|---:|---:|")
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.1f} | {taken / alone:.3f} |")
    if differing:
        sys.exit(f"these did not end with the bytes of the first row: {', '.join(differing)}")


def same(one: Clone, other: Clone) -> bool:
    """Return whether two clones have the same lock and the same tracked files of reports."""
    tracked = subprocess.run(["git", "ls-files", "dvc.lock", "reports"], cwd=one.grid, capture_output=True, text=True)
    names = tracked.stdout.split()
    return all((one.grid / name).read_bytes() == (other.grid / name).read_bytes() for name in names)


if __name__ == "__main__":
    main()
