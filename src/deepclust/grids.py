"""Grids as DVC projects side by side: the default one in the root, every other in a folder of `grids/`.

A grid's folder holds its params.yaml, which people write; cells.yaml and dvc.lock, which runs write; and a project of
DVC: a copy of dvc.yaml (in older commits DVC reads no link), links to `src` and `stages`, and `.dvc/`, whose cache is
the root's. Equal work is therefore shared between grids, and no command of one grid looks at another.
"""

import contextlib
import itertools
import os
import shutil
from pathlib import Path

from deepclust import layout
from deepclust.errors import UserError
from deepclust.files import read_yaml, write_text

_LINKS = ("src", "stages")
_COPIES = ("dvc.yaml", ".dvcignore", ".dvc/plots")
_FILES = {
    ".dvc/config": "[core]\n    analytics = false\n    check_update = false\n[cache]\n    dir = ../../../.dvc/cache\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",  # as DVC itself writes it
}


def names() -> list[str]:
    """Return the names of all grids, the default one first: it is the one in the root's params.yaml."""
    return [default(), *sorted(path.parent.name for path in layout.GRIDS.glob("*/params.yaml"))]


def default() -> str:
    """Return the name of the default grid."""
    content = read_yaml(layout.PROJECT / layout.PARAMS)
    return str(content.get("grid", "")) if isinstance(content, dict) else ""


def folder(grid: str) -> Path:
    """Return the folder of a grid, or raise UserError for an unknown one."""
    path = layout.GRIDS / grid
    if not path.is_dir() and grid == default():
        return layout.PROJECT
    if not (path / layout.PARAMS).is_file():
        raise UserError(f"there is no grid '{grid}'; the grids are {', '.join(names())}: see docs/grids.md")
    return path


def require_own_name(folder: Path, grid: str) -> None:
    """Raise UserError where a folder holds a params.yaml with the name of another folder's grid, as a copy does."""
    if folder.parent == layout.GRIDS and grid != folder.name:
        raise UserError(f"params.yaml: grid: '{grid}' is not the name of its folder; set grid: {folder.name}")
    if folder == layout.PROJECT and (layout.GRIDS / grid / layout.PARAMS).exists():
        raise UserError(f"params.yaml: grid: '{grid}' is the grid of a folder, grids/{grid}; choose another name")


def commands() -> dict[tuple[str, str], str]:
    """Return, by data set and cell, the command of the first grid whose params.yaml lists both.

    Grids with a dvc.lock come first, then grids that have reports without one, then grids that never ran; within each
    of the three, the order is that of `names`. A grid whose params.yaml cannot be read, or is not written yet, has no
    commands.
    """
    found: dict[tuple[str, str], str] = {}
    for grid in sorted(names(), key=_never_ran):
        with contextlib.suppress(UserError, AttributeError, TypeError):
            params, command = read_yaml(folder(grid) / layout.PARAMS), renewal(grid)
            pairs = itertools.product(params.get("datasets", ()), params.get("methods", ()))
            found |= {pair: command for pair in pairs if pair not in found}
    return found


def _never_ran(grid: str) -> tuple[bool, bool]:
    """Return whether a grid has no lock, and whether it has no reports: both are false of one that ran here."""
    place = layout.PROJECT if grid == default() else layout.GRIDS / grid
    return not (place / "dvc.lock").exists(), not (place / layout.REPORTS / "summary.csv").exists()


def renewal(grid: str) -> str:
    """Return the command that renews a grid's cells.yaml and runs it."""
    return "make repro" if grid == default() else f"make repro GRID={grid}"


def complete(path: Path) -> None:
    """Make a grid's folder a DVC project, or renew its parts of the root: dvc.yaml, links, the root's remotes."""
    if path.parent != layout.GRIDS:
        return
    for name in _LINKS:
        if not (path / name).is_symlink():
            (path / name).symlink_to(os.path.relpath(layout.PROJECT / name, path))
    for name in _COPIES:
        source, target = layout.PROJECT / name, path / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copyfile(source, target)
    for name, text in _FILES.items():
        if not (path / name).exists():
            write_text(path / name, text)
    _share_remotes(path)


def _share_remotes(path: Path) -> None:
    """Copy the root's remotes, default remote and cache settings into the grid's own .dvc/config.local."""
    own = [layout.PROJECT / ".dvc" / name for name in ("config", "config.local")]
    if not any("remote" in file.read_text(encoding="utf-8") for file in own if file.exists()):
        return
    from dvc.config import Config  # takes half a second, and few projects have remotes

    root = Config(str(layout.PROJECT / ".dvc"))
    with Config(str(path / ".dvc")).edit("local") as local:
        local["remote"] = {name: dict(remote) for name, remote in root["remote"].items()}
        if remote := root["core"].get("remote"):
            local.setdefault("core", {})["remote"] = remote
        local["cache"] = {"dir": root["cache"].get("dir") or str(layout.PROJECT / ".dvc/cache")} | {
            key: value for key, value in root["cache"].items() if key in ("shared", "type")
        }
