"""The user's own data: arrays, tables and folders of images, read into a `Dataset`; every fault names its place.

All of a data set lies under one path, which is what the pipeline watches: a file, or a folder of images or of `.npy`
files. In messages rows and columns count from 1, rows of a table from below its header.
"""

import hashlib
import logging
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from deepclust import files, mapped
from deepclust.datasets._base import Dataset
from deepclust.errors import UserError

if TYPE_CHECKING:
    import pandas as pd  # by those alone who read tables: it takes half a second

_log = logging.getLogger(__name__)

TABLES = (".csv", ".parquet")
ARRAYS = (".npy", ".npz")
_ROWS = 4096  # looked at together


def digests(path: Path | str) -> dict[str, str]:
    """Return the hex SHA-256 of every file of a data set by its place beside `path`; hidden files do not count."""
    path = Path(path)
    if path.is_file() and path.suffix not in (*TABLES, *ARRAYS):
        raise UserError(
            f"{path} must be a folder or end in {', '.join((*TABLES, *ARRAYS))}; convert it to one of these"
        )
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    places = {file.relative_to(path.parent): file for file in found}
    kept = {place.as_posix(): file for place, file in places.items() if not _hidden(place.relative_to(path.name))}
    if not kept:
        raise UserError(f"{path} holds no files; correct the path")
    return {place: files.sha256(file) for place, file in kept.items()}


def copy(path: Path | str, expected: Mapping[str, str], folder: Path) -> None:
    """Copy the files that `digests(path)` listed into `folder`; one that has changed since is a UserError."""
    for place, digest in expected.items():
        source, target = Path(path).parent / place, folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copyfile(source, target)
        if not source.is_file() or files.sha256(target) != digest:
            raise UserError(f"{source} changed while the pipeline ran; run it again")


def prepare(
    name: str,
    path: Path,
    *,
    n_clusters: int,
    scale: Literal["feature", "global", "none"] | None = None,
    columns: Sequence[str] | None = None,
    array: str | None = None,
    labels: str | None = None,
    image_shape: Sequence[int] | None = None,
) -> Dataset:
    """Return the data set at `path`; constant columns and repeated rows are logged as warnings and kept.

    Parameters
    ----------
    name : str
        The name of the data set; messages begin with `own.NAME`.
    path : path of a `.csv`, `.parquet`, `.npy` or `.npz` file, a folder of `.npy` files, or a folder of images
    n_clusters : int, K
        In [1, N], and where there are labels as many as these name classes.
    scale : how values come to lie in [0, 1]; not for images, whose 8-bit values are divided by 255
        "feature": each feature by its own minimum and maximum, a constant one becoming 0; "global": all by those of the
        whole array, as pixels need; "none": they do already.
    columns : names of a table's features; all columns but the labels' where left out
    array : the features' name in a `.npz` file, or their file in a folder; one of images has none
    labels : a table's column, the array or file beside `array`, or "folders": an image's label is its sub-folder
    image_shape : (channels, height, width)
        The shape of the image that a row of a table or an array is. Images of a folder are brought to this shape; where
        it is left out all must have the same.

    Raises
    ------
    UserError
        One line naming file, row and column: values that are no finite numbers, fewer than two rows, K out of range,
        images of several shapes or unreadable, labels missing, of another number than the rows or of other classes.
    """
    at = f"own.{name}"
    shape = tuple(image_shape) if image_shape else None
    samples: tuple[str, ...] = ()
    y: np.ndarray | None
    if path.is_dir() and array is None:
        X, y, shape, samples = _images(at, path, shape, by_folder=labels is not None)
    else:
        if path.suffix in TABLES:
            X, y, names = _table(at, path, columns, labels)
        else:
            X, y = _array(at, path, array, labels)
            names = []
            shape = shape or ((1, *X.shape[1:]) if X.ndim == 3 else X.shape[1:] if X.ndim == 4 else None)
            X = X.reshape(len(X), -1)
        X = _scaled(f"{at}: {path.name}", X, names, scale)
    N = len(X)
    if N < 2:
        raise UserError(f"{at}: {path.name} has {N} row{'' if N else 's'}; at least 2 are needed, give more samples")
    if not 1 <= n_clusters <= N:
        raise UserError(f"{at}.n_clusters must be in [1, N={N}], the rows of {path.name}, got {n_clusters}; lower it")
    _warn(f"{at}: {path.name}", X)
    if y is not None:
        classes, y = np.unique(y, return_inverse=True)
        if len(classes) != n_clusters:
            shown = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
            raise UserError(
                f"{at}.n_clusters={n_clusters}, but its labels ({labels}) name {len(classes)} classes: {shown}; "
                f"set n_clusters: {len(classes)}, or leave labels out to run it as unlabelled data"
            )
        y = y.astype(np.int64)
    return Dataset(
        name=name,
        X=X,
        y=y,
        n_clusters=n_clusters,
        image_shape=shape,  # type: ignore[arg-type]  # of three, as the Dataset checks
        source=f"own data, {path.name}",
        samples=samples,
    )


# ---------------------------------------------------------------------------------------------------------- the formats


def _table(
    at: str, path: Path, columns: Sequence[str] | None, labels: str | None
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    import pandas as pd

    table = _read_table(at, path)
    names = list(columns) if columns else [name for name in table.columns if name != labels]
    for name in [*names, *([labels] if labels else [])]:
        if name not in table.columns:
            raise UserError(f"{at}: {path.name} has no column {name!r}; it has {', '.join(map(str, table.columns))}")
    X = np.column_stack([_numbers(f"{at}: {path.name}", table[name]) for name in names])
    if labels is None:
        return X, None, names
    column = table[labels]
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax()) + 1
        raise UserError(
            f"{at}: {path.name}, row {row}, column {labels!r}: the label is missing; add it or drop the row"
        )
    numeric = pd.api.types.is_numeric_dtype(column)
    return X, column.to_numpy() if numeric else column.astype(str).to_numpy(dtype=str), names


def _read_table(at: str, path: Path) -> "pd.DataFrame":
    import pandas as pd

    if path.suffix == ".parquet":
        try:
            return pd.read_parquet(path)
        except ImportError:
            raise UserError(
                f"{at}: {path.name} needs pyarrow; pip install -e '.[parquet]', or save it as CSV"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{at}: {path.name} cannot be read as Parquet: {error}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines longer than the header
            table = pd.read_csv(path, index_col=False, low_memory=False, skip_blank_lines=False)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{at}: {path.name} cannot be read as CSV in UTF-8 with a header and commas: {error}") from None
    return table


def _numbers(where: str, column: "pd.Series") -> np.ndarray:
    """Return a column as float64; where a cell holds text, a UserError says which."""
    import pandas as pd

    if isinstance(column.dtype, pd.StringDtype) or column.dtype == object:
        numbers = pd.to_numeric(column, errors="coerce")
        text = (numbers.isna() & column.notna()).to_numpy()
        if text.any():
            row = int(text.argmax())
            raise UserError(
                f"{where}, row {row + 1}, column {column.name!r}: {column.iloc[row]!r} is no number; correct it, or "
                "list the numeric columns under columns"
            )
        column = numbers
    elif not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        raise UserError(f"{where}, row 1, column {column.name!r}: {column.dtype} is no number; leave it out of columns")
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _array(at: str, path: Path, array: str | None, labels: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    if path.suffix == ".npy":
        X = _load(at, path)
    elif path.is_dir():
        X = _load(at, path / str(array))
    else:
        names = [name for name in _load(at, path) if name != labels]
        if array is None and len(names) != 1:
            raise UserError(f"{at}: {path.name} holds {', '.join(names)}; say under array which are the features")
        X = _member(at, path, array or names[0])
    if X.dtype.kind not in "biuf" or X.ndim not in (2, 3, 4) or 0 in X.shape[1:]:
        raise UserError(
            f"{at}: {path.name} must hold real numbers of shape (N, D), (N, height, width) or (N, channels, height, "
            f"width), got {X.dtype} of shape {X.shape}"
        )
    if labels is None:
        return X, None
    y = _load(at, path / labels) if path.is_dir() else _member(at, path, labels)
    if y.ndim != 1 or len(y) != len(X):
        raise UserError(f"{at}: {labels} in {path.name} must be one label a row, shape ({len(X)},), got {y.shape}")
    if y.dtype.kind not in "biufU":
        raise UserError(f"{at}: {labels} in {path.name} must hold numbers or text, got {y.dtype}")
    if y.dtype.kind == "f" and np.isnan(y).any():
        raise UserError(f"{at}: {path.name}, {labels}, row {np.isnan(y).argmax() + 1}: the label is missing; add it")
    return X, y


def _load(at: str, path: Path) -> np.ndarray:
    """Return what a `.npy` file holds, or a `.npz` file's arrays by name; objects, which need pickle, are refused."""
    try:
        content = files.read_samples(path)
    except FileNotFoundError:
        raise UserError(f"{at}: {path.name} is not in {path.parent.name}; correct array or labels") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{at}: {path.name} cannot be read without pickle as a NumPy file: {error}") from None
    return content


def _member(at: str, path: Path, name: str) -> np.ndarray:
    content = _load(at, path)
    try:
        array: np.ndarray = content[name]
    except KeyError:
        raise UserError(f"{at}: {path.name} has no array {name!r}; it has {', '.join(content)}") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{at}: {path.name}, array {name!r} cannot be read without pickle: {error}") from None
    return array


def _images(
    at: str, path: Path, shape: tuple[int, ...] | None, *, by_folder: bool
) -> tuple[np.ndarray, np.ndarray | None, tuple[int, ...], tuple[str, ...]]:
    places = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    places = [place for place in places if not _hidden(place)]
    rows: list[np.ndarray] = []
    common = shape
    for place in places:
        if by_folder and len(place.parts) < 2:
            raise UserError(f"{at}: {place} lies in no sub-folder, which would be its label; move it into one")
        pixels = _pixels(f"{at}: {place}", path / place, shape)
        common = common or pixels.shape
        if pixels.shape != common:
            raise UserError(
                f"{at}: {place} is {_by(pixels.shape)} (channels x height x width), {places[0]} is {_by(common)}; set "
                "image_shape to bring all to one"
            )
        rows.append(pixels.ravel())
    if common is None:
        raise UserError(f"{at}: {path.name} holds no images; correct the path")
    X = np.stack(rows).astype(np.float32) / np.float32(255)
    y = np.array([place.parts[0] for place in places]) if by_folder else None
    return X, y, common, tuple(place.as_posix() for place in places)


def _pixels(where: str, path: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    """Return an image upright as (channels, height, width) uint8: grey as one channel, everything else as RGB."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{where} is no readable image ({' '.join(str(error).split())}); repair or remove it") from None
    if image.mode.startswith(("I", "F")):
        raise UserError(f"{where} has more than 8 bits a channel (mode {image.mode}); save it with 8")
    channels = shape[0] if shape else 1 if image.mode in ("1", "L", "LA") else 3
    image = image.convert("L" if channels == 1 else "RGB")
    if shape:
        image = image.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _hidden(place: Path) -> bool:
    return any(part.startswith(".") for part in place.parts)


# ----------------------------------------------------------------------------------------------------- scale and checks


def _scaled(where: str, values: np.ndarray, names: Sequence[str], scale: str | None) -> np.ndarray:
    """Return finite values (N, D) in [0, 1], in float16 where they are, else float32; one that cannot be is named.

    For values in a file the result is in a file without a name, which is gone with it.
    """

    def refuse(wrong: np.ndarray, start: int, remedy: str) -> None:
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            name = repr(names[column]) if names else column + 1
            raise UserError(f"{where}, row {start + row + 1}, column {name}: {values[start + row, column]} {remedy}")

    starts = range(0, len(values), _ROWS)
    low, high = np.full(values.shape[1], np.inf), np.full(values.shape[1], -np.inf)
    for start, rows in zip(starts, mapped.chunks(values, _ROWS), strict=True):
        refuse(~np.isfinite(rows), start, "is missing or infinite; fill it in, or drop the row or the column")
        if scale == "none":
            refuse((rows < 0) | (rows > 1), start, "is not in [0, 1]; set scale to feature or global")
        low, high = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))
    if scale == "none" or not len(values):
        low, high = np.zeros(1), np.ones(1)
    elif scale == "global":
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    span = np.where(high > low, high - low, 1)
    scaled = _room(values)
    for rows, room in zip(mapped.chunks(values, _ROWS), mapped.chunks(scaled, _ROWS), strict=True):
        room[:] = (rows - low) / span
    return scaled


def _room(values: np.ndarray) -> np.ndarray:
    """Return an array of the shape of `values` to write to: in memory, or in a file where they are in one."""
    dtype = np.dtype(np.float16 if values.dtype == np.float16 else np.float32)
    if mapped.mapping_of(values) is None:
        return np.empty(values.shape, dtype)
    with tempfile.TemporaryFile(dir=".") as file:  # on the disk of the project: others may be in memory
        return np.memmap(file, dtype, "w+", shape=values.shape)


def _warn(where: str, X: np.ndarray) -> None:
    extremes = [(rows.min(axis=0), rows.max(axis=0)) for rows in mapped.chunks(X, _ROWS)]
    low, high = np.array(extremes).transpose(1, 0, 2)
    constant = np.flatnonzero(low.min(axis=0) == high.max(axis=0))
    if len(constant) == X.shape[1]:
        raise UserError(f"{where}: all rows are equal; there is nothing to cluster")
    if len(constant):
        _log.warning(
            "%s: %d of %d columns are constant, the first is column %d; they are kept and tell nothing",
            *(where, len(constant), X.shape[1], constant[0] + 1),
        )
    first: dict[bytes, int] = {}
    rows = (values for some in mapped.chunks(X, _ROWS) for values in some)
    repeated = [
        row
        for row, values in enumerate(rows)
        if first.setdefault(hashlib.sha256(values.tobytes()).digest(), row) != row
    ]
    if repeated:
        _log.warning(
            "%s: %d of %d rows repeat an earlier one, the first is row %d; they are kept",
            *(where, len(repeated), len(X), repeated[0] + 1),
        )
