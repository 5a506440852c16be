"""The folder of `deepclust cluster`: room for results before the first fit, and no file of the user's lost."""

import os
import re
from pathlib import Path

from deepclust.errors import UserError

_LONGEST = 240  # bytes of the results' name: file systems take 255, and beside it lies a hidden one with an ending
_FIRST = ("run.json", "labels.csv", "index.html")  # without which a folder holds no results
_WRITTEN = r"run\.json|(labels|sweep)\.csv|index\.html|figures/\w+\.png|files/(\w+/)?\w+\.(npy|npz|csv|pdf)"


def room(folder: Path, data: Path, *, force: bool) -> Path:
    """Return a folder for results by a name of its own, for a link what it leads to.

    Raises
    ------
    UserError
        Something stands there, unless it may be replaced and is all of this command; it holds the data or the current
        folder; or it cannot be made: no fit is lost to its last line.
    """
    if folder.is_symlink() or folder.name in ("", ".."):
        folder = Path(os.path.realpath(folder))
    elsewhere = "name another place for the results with --out"
    if len(os.fsencode(folder.name)) > _LONGEST:
        raise UserError(f"the name {folder.name[:20]}... is longer than {_LONGEST} bytes; {elsewhere}")
    for what, place in {"the data": data, "the current folder": Path()}.items():
        inside = Path(os.path.realpath(place))
        if Path(os.path.realpath(folder)) in (inside, *inside.parents):
            raise UserError(f"{folder} is or holds {what}; {elsewhere}")
    above = folder if folder.is_symlink() else next(path for path in folder.absolute().parents if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"{folder} cannot be made: {above} is no folder to write in; {elsewhere}")
    if not folder.exists():
        return folder
    other = "what is there" if not all((folder / name).is_file() for name in _FIRST) else _not_written(folder)
    if not folder.is_dir() or (any(folder.iterdir()) and not (force and other is None)):
        remedy = f"this command did not make {other}" if other else "--force replaces results of this command"
        raise UserError(f"{folder} is there already; {elsewhere} ({remedy})")
    return folder


def _not_written(folder: Path) -> str | None:
    """Return a file below a folder that this command does not write."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    places = sorted(path.relative_to(folder).as_posix() for path in files)
    return next((place for place in places if not re.fullmatch(_WRITTEN, place)), None)
