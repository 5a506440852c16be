"""The user's own data: arrays, tables, graphs and folders of images, read into a `Dataset`; a fault names its place.

All of a data set lies under one path, which is what the pipeline watches: a file, or a folder of images or of `.npy`
files. In messages rows and columns count from 1, rows of a table from below its header.
"""

import hashlib
import itertools
import logging
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from deepclust import files, mapped
from deepclust.datasets._base import Dataset
from deepclust.datasets._own.content import TABLES, TEXTS, Read, fault_of, files_of, format_of
from deepclust.errors import UserError
from deepclust.graph.adjacency import edge_weights

__all__ = [
    "TABLES",
    "TEXTS",
    "copy",
    "digests",
    "fault_of",
    "files_of",
    "format_of",
    "more",
    "prepare",
]

_log = logging.getLogger(__name__)

_ROWS = 4096  # looked at together
_TINY = 1e-15  # largest value below which squares of differences in float32 are 0
_VALUES = 1 << 25  # or fewer rows, where they hold more


def digests(path: Path | str) -> dict[str, str]:
    """Return the hex SHA-256 of every file of a data set by its place beside `path`; hidden files do not count."""
    path = Path(path)
    if fault := fault_of(path):
        raise UserError(fault)
    found = files_of(path)
    if not found:
        raise UserError(f"{path} holds no files; correct the path")
    folders = {folder for parent in {file.parent for file in found} for folder in (parent, *parent.parents)}
    if links := sorted(folder for folder in folders if path in folder.parents and folder.is_symlink()):
        _log.warning(
            "%s: %d of the folders below it are links, the first is %s; DVC does not look behind them: after a change "
            "there, run dvc repro --force with the stage own@NAME",
            *(path, len(links), links[0]),
        )
    return {file.relative_to(path.parent).as_posix(): files.sha256(file) for file in found}


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
    n_clusters: int | None,
    scale: Literal["feature", "global", "none"] | None = None,
    columns: Sequence[str] | None = None,
    array: str | None = None,
    edges: bool = False,
    labels: str | None = None,
    index: bool | str = False,
    header: bool | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    compression: Literal["gzip", "bz2", "xz", "zip", "none"] | None = None,
    image_shape: Sequence[int] | None = None,
) -> Dataset:
    """Return the data set at `path`; constant columns and repeated rows are logged as warnings and kept.

    Parameters
    ----------
    name : str
        The name of the data set; messages begin with `own.NAME`.
    path : path of a `.csv`, `.tsv`, `.parquet`, `.npy` or `.npz` file, a folder of `.npy` files, or one of images
    n_clusters : int, K
        In [1, N], and where there are labels as many as these name classes. None: as many, or 1 without labels.
    scale : how values come to lie in [0, 1]; not for images, whose 8-bit values are divided by 255
        "feature": each feature by its own minimum and maximum, a constant one becoming 0; "global": all by those of the
        whole array, as pixels need; "none": they do already.
    columns : names of a table's features; all columns but the labels' and the index's where left out
    array : the features' name in a `.npz` file, or their file in a folder; one of images has none
    edges : whether the array is sparse edge weights (N, N) between the samples, which have no features
    labels : a table's column, the array or file beside `array`, or "folders": an image's label is the first folder
        below `path` on the way to it
    index : a table's column that names the samples, or True for the first one
    header : whether a text file's first row names the columns, which are "1", "2", ... where it does not
        None: it does, and must not be all numbers.
    separator, encoding, compression : of a text file; None is a comma, or a tab in `.tsv`; UTF-8; as the name says
    image_shape : (channels, height, width)
        The shape of the image that a row of a table or an array is. Images of a folder are brought to this shape; where
        it is left out all must have the same.

    Raises
    ------
    UserError
        One line naming file, row and column: values that are no finite numbers, fewer than two rows, K out of range,
        images of several shapes or unreadable, those of an array of another than `image_shape`, labels missing, of
        another number than the rows or of other classes; whatever may not be what it seems: an index among the
        features, a header of numbers, images that hold more than would be read.
    """
    at = f"own.{name}"
    shape = tuple(image_shape) if image_shape else None
    text = (header, separator, encoding, compression)
    found = _read(at, path, columns, array, labels, index, text, shape, edges=edges)
    is_images = path.is_dir() and array is None
    own_shape = found.image_shape or shape
    if shape not in (None, own_shape):
        raise UserError(
            f"{at}.image_shape: {shape} is not the shape of the images in {path.name}, {own_shape} (channels, height, "
            "width); leave image_shape out, or save np.moveaxis(X, 3, 1) where the channels come last"
        )
    if n_clusters is None:
        n_clusters = len(found.labels[0]) if found.labels else 1
    N = found.parts[0].shape[0]
    if N < 2:
        raise UserError(f"{at}: {path.name} has {N} row{'' if N else 's'}; at least 2 are needed, give more samples")
    graph = bounds = None
    if is_images:
        X = np.asarray(found.parts[0])
    elif edges:
        X, graph = np.empty((N, 0), np.float32), edge_weights(found.parts[0], N, f"{at}: {path.name}")
    else:
        X, bounds = _scaled(f"{at}: {path.name}", found.parts, found.names, scale)
    if not 1 <= n_clusters <= N:
        raise UserError(f"{at}.n_clusters must be in [1, N={N}], the rows of {path.name}, got {n_clusters}; lower it")
    if not edges:
        _warn(f"{at}: {path.name}", X)
    if found.ignored:
        shown = ", ".join(found.ignored[:10]) + (", ..." if len(found.ignored) > 10 else "")
        _log.info("%s: %d files that are no images were left out: %s", at, len(found.ignored), shown)
    y = None
    if found.labels is not None:
        classes, y = found.labels
        if len(classes) != n_clusters:
            shown = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
            raise UserError(
                f"{at}.n_clusters={n_clusters}, but its labels ({labels}) name {len(classes)} classes: {shown}; "
                f"set n_clusters: {len(classes)}, or leave labels out to run it as unlabelled data"
                + (", and list the features under columns, or the labels are one of them" if found.names else "")
            )
        y = y.astype(np.int64)
    return Dataset(
        name=name,
        X=X,
        y=y,
        n_clusters=n_clusters,
        image_shape=own_shape,  # type: ignore[arg-type]  # of three, as the Dataset checks
        source=f"own data, {path.name}",
        samples=found.samples,
        ignored=found.ignored,
        graph=graph,
        columns=tuple(found.names),
        bounds=bounds,
    )


def more(
    name: str,
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    array: str | None = None,
    index: bool | str = False,
    header: bool | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    compression: Literal["gzip", "bz2", "xz", "zip", "none"] | None = None,
    image_shape: Sequence[int] | None = None,
    n_features: int,
    bounds: tuple[Any, Any] | None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return more samples (M, D), float32, like those of a `Dataset` of `prepare`, and their names if they have any.

    M may be 1. Values are scaled by the bounds of that data set, and lie outside [0, 1] where they are beyond these.
    Columns that are not that data set's are not read.

    Raises
    ------
    UserError
        As `prepare`; and where there are not D features.
    """
    at = f"own.{name}"
    where = f"{at}: {path.name}"
    shape = tuple(image_shape) if image_shape else None
    text = (header, separator, encoding, compression)
    found = _read(at, path, columns, array, None, index, text, shape)
    if not found.parts[0].shape[0]:
        raise UserError(f"{where} has 0 rows; give samples")
    if (D := sum(part.shape[1] for part in found.parts)) != n_features:
        raise UserError(f"{where} has {D} features, and the samples of the fit have {n_features}; bring the same ones")
    if path.is_dir() and array is None:
        return np.asarray(found.parts[0]), found.samples
    _bounds(where, found.parts, found.names, "feature" if bounds else "none")
    low, high = (bound if isinstance(bound, list) else [bound] * D for bound in bounds or (0, 1))
    X, first = np.empty((found.parts[0].shape[0], D), np.float32), 0
    for part in found.parts:
        columns_of = slice(first, first := first + part.shape[1])
        for start, rows in _rows(part, _ROWS):
            X[start : start + len(rows), columns_of] = _placed(rows, low[columns_of], high[columns_of])
    return X, found.samples


def _read(
    at: str,
    path: Path,
    columns: Sequence[str] | None,
    array: str | None,
    labels: str | None,
    index: bool | str,
    text: tuple[Any, ...],
    shape: tuple[int, ...] | None,
    *,
    edges: bool = False,
) -> Read:
    """Return what is at a path as the reader of its kind has it; `text` are the settings of a text file."""
    if path.is_dir() and array is None:
        from deepclust.datasets._own import images

        return images.read(at, path, shape, by_folder=labels is not None)
    if format_of(path) in TABLES:
        from deepclust.datasets._own import tables  # pandas takes half a second

        return tables.read(at, path, columns, labels, index, tables.Text(*text))
    from deepclust.datasets._own import arrays

    return arrays.read(at, path, array, labels, edges=edges)


# ----------------------------------------------------------------------------------------------------- scale and checks


def _bounds(
    where: str, parts: Sequence[np.ndarray | sp.csr_matrix], names: Sequence[str], scale: str | None
) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return the smallest and the largest value of each column of each part; one that cannot be scaled is named."""

    def refuse(wrong: np.ndarray, rows: np.ndarray, start: int, first: int, remedy: str) -> None:
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            name = repr(names[first + column]) if names else first + column + 1
            raise UserError(f"{where}, row {start + row + 1}, column {name}: {rows[row, column]} {remedy}")

    firsts = np.cumsum([0, *(part.shape[1] for part in parts)]).tolist()
    size = max(1, min(_ROWS, _VALUES // firsts[-1]))
    lows: list[list[Any]] = []
    highs: list[list[Any]] = []
    for part, first in zip(parts, firsts, strict=False):
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for start, rows in _rows(part, size):
            if rows.dtype.kind == "f":
                remedy = "is missing or infinite; fill it in, or drop the row or the column"
                refuse(~np.isfinite(rows), rows, start, first, remedy)
            if scale == "none":
                refuse((rows < 0) | (rows > 1), rows, start, first, "is not in [0, 1]; set scale to feature or global")
            found.append((rows.min(axis=0), rows.max(axis=0)))
        lows.append(np.min([low for low, _ in found], axis=0).tolist())
        highs.append(np.max([high for _, high in found], axis=0).tolist())
    if scale == "none" and 0 < (largest := max(map(max, highs))) < _TINY:
        raise UserError(
            f"{where}: all values are below {_TINY}, the largest is {largest}; set scale to feature or global"
        )
    return lows, highs


def _scaled(
    where: str, parts: Sequence[np.ndarray | sp.csr_matrix], names: Sequence[str], scale: str | None
) -> tuple[np.ndarray, tuple[Any, Any] | None]:
    """Return finite values (N, D) in [0, 1], in float16 where they are and none is below 0, else float32; their bounds.

    Values below 0 rise by the least of them, and would lose the digits that float16 has near 0. A value that cannot be
    scaled is named. `parts` are columns side by side. Whole numbers become floats above their minimum: none beyond 2^53
    is rounded before. For values in a file the result is in a file without a name, which is gone with it.
    """
    lows, highs = _bounds(where, parts, names, scale)
    firsts = np.cumsum([0, *(part.shape[1] for part in parts)]).tolist()
    size = max(1, min(_ROWS, _VALUES // firsts[-1]))
    half = parts[0].dtype == np.float16 and min(map(min, lows)) >= 0
    bounds: tuple[Any, Any] | None = tuple([*itertools.chain(*ends)] for ends in (lows, highs))  # type: ignore[assignment]
    if scale != "feature":
        ends = (0, 1) if scale == "none" else (min(map(min, lows)), max(map(max, highs)))
        lows, highs = ([[end] * len(low) for low in lows] for end in ends)
        bounds = None if scale == "none" else ends
    X = _room(parts[0], firsts[-1], half=half)
    for part, first, low, high in zip(parts, firsts, lows, highs, strict=False):
        base, span, factor = _base_and_span(part.dtype, low, high)
        columns = slice(first, first + len(span))
        for (_, rows), room in zip(_rows(part, size), mapped.chunks(X, size), strict=True):
            above = rows.astype(base.dtype)
            if factor != 1:
                above *= factor
            above -= base
            room[:, columns] = above.astype(span.dtype, copy=False) / span
    return X, bounds


def _placed(rows: np.ndarray, low: Sequence[Any], high: Sequence[Any]) -> np.ndarray:
    """Return (rows - low) / (high - low), float64; in a column that was constant, rows - low."""
    kind: Any = np.float64
    factor = 1.0
    if rows.dtype.kind == "O" or (rows.dtype.kind in "iu" and rows.dtype.itemsize == 8):  # in either byte order
        rows, kind, factor = rows.astype(object), object, 1  # Python's whole numbers have all digits, and either sign
    elif any(math.isinf(float(b) - float(a)) for a, b in zip(low, high, strict=True)):
        factor = 0.5
    span = np.array([b * factor - a * factor for a, b in zip(low, high, strict=True)], np.float64)
    rows, base = rows.astype(kind) * factor, np.array(low, kind) * factor
    above: np.ndarray = (rows - base).astype(np.float64)
    return above / np.where(span > 0, span, 1)


def _rows(part: np.ndarray | sp.csr_matrix, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield rows of a part with the number of the first, `size` at a time, sparse ones made dense."""
    starts = range(0, part.shape[0], size)
    if isinstance(part, np.ndarray):
        yield from zip(starts, mapped.chunks(part, size), strict=True)
    else:
        yield from ((start, part[start : start + size].toarray()) for start in starts)


def _base_and_span(dtype: np.dtype, low: list[Any], high: list[Any]) -> tuple[np.ndarray, np.ndarray, float]:
    """Return minima, ranges (1 for a constant) and the factor of both, in types in which a subtraction is right.

    Whole numbers stay whole: 64 bits without sign are enough for differences below 2^64, whatever the signs. Where a
    range is beyond float64, all is halved.
    """
    pairs = list(zip(low, high, strict=True))
    is_wide = any(math.isinf(float(b) - float(a)) for a, b in pairs)
    if dtype.kind in "iuO" and not is_wide and all(a == int(a) for a in low):
        span = np.array([b - a if b > a else 1 for a, b in pairs], np.float64)
        if dtype.kind == "O" or span.max() >= 2**64:
            return np.array(list(map(int, low)), dtype=object), span, 1
        return np.array([int(a) % 2**64 for a in low], np.uint64), span, 1
    kind, factor = np.float64 if dtype.kind == "O" else np.result_type(dtype, np.float64), 0.5 if is_wide else 1
    base = np.array(low, kind) * factor
    span = np.array(high, kind) * factor - base
    return base, np.where(span > 0, span, 1), factor


def _room(values: np.ndarray | sp.csr_matrix, n_columns: int, *, half: bool) -> np.ndarray:
    """Return an array of as many rows as `values` to write to: in memory, or in a file where they are in one."""
    dtype, shape = np.dtype(np.float16 if half else np.float32), (values.shape[0], n_columns)
    if not isinstance(values, np.ndarray) or mapped.mapping_of(values) is None:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(dir=".") as file:  # on the disk of the project: others may be in memory
        return np.memmap(file, dtype, "w+", shape=shape)


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
