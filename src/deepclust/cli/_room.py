"""The folder of `deepclust cluster`: room for results before the first fit, and no file of the user's lost."""

import os
import re
import tempfile
from pathlib import Path

from deepclust.errors import UserError
from deepclust.files import read_json

_LONGEST = 240  # bytes of the results' name: file systems take 255, and beside it lies a hidden one with an ending
RECORD, PAGE, MODEL = "run.json", "index.html", "model"
SAMPLES = "model/samples.json"  # how more samples are read and scaled
_FIRST = (RECORD, "labels.csv", PAGE)  # without which a folder holds no results
_WRITTEN = r"run\.json|(labels|sweep)\.csv|index\.html|figures/\w+\.png|files/(\w+/)?\w+\.(npy|npz|csv|pdf)"


def room(folder: Path, data: Path, *, force: bool) -> Path:
    """Return a folder for results by a name of its own, for a link what it leads to.

    Raises
    ------
    UserError
        Something stands there, unless it may be replaced and is all of this command; it holds the data or the current
        folder, or lies in a folder that is read as data; or it cannot be made: no fit is lost to its last line.
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
    if data.is_dir() and Path(os.path.realpath(data)) in Path(os.path.realpath(folder)).parents:
        raise UserError(f"{folder} lies in the data, of which the results would be a part; {elsewhere}")
    if os.path.ismount(folder):
        raise UserError(f"{folder} is a mount point, which nothing can replace; name a folder in it with --out")
    above = folder if folder.is_symlink() else next(path for path in folder.absolute().parents if path.exists())
    try:
        tempfile.TemporaryDirectory(dir=above).cleanup()  # permissions alone do not tell: /proc has them and takes none
    except OSError:
        raise UserError(f"{folder} cannot be made: {above} is no folder to write in; {elsewhere}") from None
    if (beside := kept_beside(folder)).exists() and not beside.is_dir():
        raise UserError(f"{beside} is no folder, and fits are kept in one of this name; rename it, or {elsewhere}")
    if not folder.exists():
        return folder
    other = "what is there" if not all((folder / name).is_file() for name in _FIRST) else _not_written(folder)
    if not folder.is_dir() or (any(folder.iterdir()) and not (force and other is None)):
        remedy = f"this command did not make {other}" if other else "--force replaces results of this command"
        raise UserError(f"{folder} is there already; {elsewhere} ({remedy})")
    return folder


def kept_beside(folder: Path) -> Path:
    """Return the hidden folder in which the fits of a range or of several seeds are kept until the results are."""
    return folder.with_name(f".{folder.name}.sweep")


def _not_written(folder: Path) -> str | None:
    """Return a file below a folder that this command did not write: its record lists its files, but for older ones."""
    try:
        written = read_json(folder / RECORD).get("files")
    except (ValueError, AttributeError):
        return RECORD
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    places = sorted(path.relative_to(folder).as_posix() for path in files)
    known = set(written) if written else {place for place in places if re.fullmatch(_WRITTEN, place)}
    return next((place for place in places if place not in known), None)
