"""Commands for a clone of the repository: thin over its stages, its tools and DVC, as `make` is."""

import argparse
import importlib.util
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from deepclust import grids as _grids
from deepclust import layout
from deepclust.cli._lines import aligned, say
from deepclust.errors import UserError


def grids(_: argparse.Namespace) -> None:
    """List the grids."""
    from deepclust import config

    _require_clone()
    rows = [("NAME", "CELLS", "SEEDS", "DATA SETS")]
    for name in _grids.names():
        try:
            params = config.load(_grids.folder(name) / layout.PARAMS)
        except UserError as error:  # of a grid that is being written
            rows.append((name, "-", "-", f"cannot be read: {error}"))
        else:
            rows.append((name, str(len(params.methods)), str(len(params.seeds)), ", ".join(params.datasets)))
    for line in aligned(rows):
        say(line)
    say()
    say("CELLS: methods with their settings, on each data set. SEEDS: runs of each cell; `overrides` may have others.")
    say("See docs/grids.md.")


def _named(grid: str | None) -> str:
    """Return the grid that was asked for, or the default one; an empty name is a shell's variable that is not set."""
    if grid == "":
        raise UserError("GRID is empty; name one that `deepclust grids` lists, or leave it out for the default grid")
    return grid or _grids.default()


def run(asked: argparse.Namespace) -> None:
    """Run a grid in its folder; what is up to date is not run again."""
    _require_clone()
    folder = _grids.folder(_named(asked.grid))
    _script("stages/plan.py", "table", *([asked.grid] if asked.grid else []), folder=layout.PROJECT)
    beside = asked.scheduler or (None if asked.jobs is None else str(asked.jobs))
    if asked.only:  # dvc repro --glob says nothing where no stage has such a name
        _script("tools/parallel.py", beside or "1", asked.only, folder=folder)
    elif beside:
        _script("tools/parallel.py", beside, folder=folder)
    else:
        _call([sys.executable, "-m", "dvc", "repro"], folder)
    _script("tools/compare.py", *([asked.grid] if asked.grid else []), folder=layout.PROJECT)


def compare(asked: argparse.Namespace) -> None:
    """Judge a grid's scores beside those of a commit."""
    _require_clone()
    _script("tools/compare.py", _named(asked.grid), asked.commit, folder=layout.PROJECT)


def report(asked: argparse.Namespace) -> None:
    """Write a grid's report from the small files in git."""
    _require_clone()
    grid = _named(asked.grid)
    folder = _grids.folder(grid)
    if not (folder / layout.CELLS).exists():
        raise UserError(f"grid '{grid}' has not run yet; run make repro GRID={grid}")
    _script("stages/report.py", folder=folder)
    say(str(folder / layout.REPORTS / "index.html"))


def verify(asked: argparse.Namespace) -> None:
    """Judge the committed results, or read DVC's objects."""
    _require_clone()
    words = [] if asked.objects is None else ["objects", *filter(None, [asked.objects])]
    _script("tools/verify.py", *words, folder=layout.PROJECT)


def tables(asked: argparse.Namespace) -> None:
    """Print a paper's tables from the reports of every grid, or list the papers."""
    from deepclust.reporting.papers import PAPERS

    _require_clone()
    found = {paper: {grid: _compared(grid, paper) for grid in _grids.names()} for paper in PAPERS}
    if asked.paper is None:
        rows = [("NAME", "PAPER", "GRIDS")]
        for paper, by_grid in found.items():
            rows.append((paper, PAPERS[paper].title, ", ".join(grid for grid, files in by_grid.items() if files)))
        for line in aligned(rows):
            say(line)
        return
    if asked.paper not in found:
        raise UserError(f"unknown paper '{asked.paper}'; the papers are {', '.join(PAPERS)}")
    for grid, files in found[asked.paper].items():
        for file in files:
            say(f"# Grid {grid}: {os.path.relpath(file)}")
            say()
            for line in _as_text(file.read_text(encoding="utf-8").splitlines()):
                say(line)
            say()


def _compared(grid: str, paper: str) -> list[Path]:
    """Return the tables of a paper in a grid's report in which a number of ours stands."""
    import pandas as pd

    files = sorted((_grids.folder(grid) / layout.REPORTS / "tables").glob(f"{paper}_table_*.md"))
    return [file for file in files if pd.read_csv(file.with_suffix(".csv"))["difference"].notna().any()]


def _as_text(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines of Markdown without links and markup, and with the columns of tables one below the other."""
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)|<br>|`", r"\1", line) for line in lines)
    plain = (re.sub(r"<sup>(\d+)</sup>", r" [\1]", line) for line in plain)
    for in_table, group in itertools.groupby(plain, key=lambda line: line.startswith("|")):
        if not in_table:
            yield from group
            continue
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in group]
        yield from aligned(row for row in rows if not set("".join(row)) <= set("-:"))


def _require_clone() -> None:
    """Raise UserError unless this package is that of a clone, installed with what the pipeline needs."""
    needed = (layout.PARAMS, Path("dvc.yaml"), layout.STAGES, layout.GRIDS)
    if not all((layout.PROJECT / name).exists() for name in needed):
        raise UserError(
            "this command works on a clone of the repository, and this deepclust was installed without one; clone it, "
            "run make setup there, and use the deepclust of its .venv"
        )
    if missing := [name for name in ("dvc", "distributed", "matplotlib", "ruamel.yaml") if not _is_installed(name)]:
        raise UserError(f"{', '.join(missing)} missing: pip install -e '.[pipeline]' in {layout.PROJECT}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _script(path: str, *words: str, folder: Path) -> None:
    _call([sys.executable, str(layout.PROJECT / path), *words], folder)


def _call(command: list[str], folder: Path) -> None:
    """Run a command of this environment in a folder; end with its exit code where that is not 0."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    child = subprocess.Popen(command, cwd=folder, env=os.environ | {"PATH": path})
    try:
        code = child.wait()
    except KeyboardInterrupt:
        child.wait()  # Ctrl-C reaches both; the child says what it kept
        raise
    if code:
        sys.exit(code if code > 0 else 128 - code)
