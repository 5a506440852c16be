"""The content of a data set's path: the format by its name, the files below it, and what reading them gives."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import scipy.sparse as sp

from deepclust.errors import UserError

TEXTS = (".csv", ".tsv")
TABLES = (*TEXTS, ".parquet")
ARRAYS = (".npy", ".npz")
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}  # of TEXTS
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
# Line breaks and control characters, and halves of characters, as which Python reads bytes that are not UTF-8
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Read(NamedTuple):
    """The findings of a reader: N rows, of which `parts` hold columns side by side, each in a type of its own."""

    parts: Sequence[np.ndarray | sp.csr_matrix]
    labels: tuple[np.ndarray, np.ndarray] | None = None  # the classes in order, and each row's place among them
    names: Sequence[str] = ()  # of the columns
    samples: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None
    ignored: tuple[str, ...] = ()  # files


def format_of(path: Path | str) -> str:
    """Return the ending that tells a file's format, `.csv` for `A.CSV.gz`; nothing where it tells none."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSIONS and suffixes[-2] in TEXTS:
        return suffixes[-2]
    return suffixes[-1] if suffixes and suffixes[-1] in (*TABLES, *ARRAYS) else ""


def fault_of(path: Path | str) -> str | None:
    """Return why nothing can be read at a path, as its name tells."""
    path = Path(path)
    if path.suffix.lower() in _SPREADSHEETS or (path.is_file() and not format_of(path)):
        remedy = "export it as CSV" if path.suffix.lower() in _SPREADSHEETS else "convert it to one of these"
        return f"{path} must be a folder or end in .csv, .parquet, .npy, .npz, .tsv or .csv.gz; {remedy}"
    if path.is_dir() and format_of(path):
        return f"{path} is a folder with the name of a file; rename it without {path.suffix}"
    return None


def files_of(path: Path) -> list[Path]:
    """Return the files of a data set, sorted, those behind links too; hidden ones do not count.

    Raises
    ------
    UserError
        For a path at which nothing stands, a link that leads nowhere or in a circle, and a name that is not UTF-8 or
        holds a line break.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; correct the path")
    found = [path] if path.is_file() else sorted(_below(path, ()))
    for file in found:
        if not is_text(name := file.relative_to(path.parent).as_posix()):
            raise UserError(f"{name!a} is not UTF-8 or holds a line break or control character; rename that file")
    return found


def is_text(name: str) -> bool:
    """Return whether a name fits in a line of a UTF-8 file."""
    return _NOT_TEXT.search(name) is None


def require_memory(at: str, n_rows: int, n_columns: int, remedy: str) -> None:
    """Raise a UserError where X (N, D) in float32 is larger than the memory that is free."""
    needed, free = 4 * n_rows * n_columns, psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"{at}: {n_rows:,} rows of {n_columns:,} values take {needed / 2**30:,.1f} GiB in float32, and "
            f"{free / 2**30:,.1f} GiB of memory are free; {remedy}"
        )


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    here = folder.resolve()
    if here in above:
        raise UserError(f"{folder} is a link back to a folder that it lies in; remove that link")
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _below(path, (*above, here))
            elif entry.is_file():
                yield path
            else:
                what = "a link to nothing" if entry.is_symlink() else "no file"
                raise UserError(f"{str(path)!a} is {what}; bring back what it stands for, or remove it")
