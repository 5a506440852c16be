"""NumPy's files: an array, an archive of arrays or a folder of them, and SciPy's sparse matrices."""

import logging
import math
import zipfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from deepclust import files
from deepclust.datasets._own.content import Read, require_memory
from deepclust.errors import UserError

_log = logging.getLogger(__name__)

_CHANNELS = (1, 3, 4)  # that an image has
_SPARSE = {"format", "shape", "data"}  # in every file of scipy.sparse.save_npz


def read(at: str, path: Path, array: str | None, labels: str | None, *, edges: bool = False) -> Read:
    """Return the features at a path as one part (N, D), a row's image with its shape, and the labels.

    With `edges` the part is a sparse matrix, which stays one.
    """
    X: np.ndarray | sp.csr_matrix
    file = path / str(array) if path.is_dir() else path
    content = _load(at, file)
    if isinstance(content, np.ndarray):
        X = content
    elif set(content.files) >= _SPARSE:
        X = _sparse(at, file)
    elif path.is_dir():
        raise UserError(f"{at}: {file.name} holds several arrays; make it the path, and array the features' name in it")
    else:
        names = [name for name in content.files if name != labels]
        if array is None and len(names) != 1:
            held = ", ".join(names) or "no array"
            raise UserError(f"{at}: {path.name} holds {held}; say under array which are the features")
        X = _member(at, path, content, array or names[0])
    if X.dtype.kind not in "biuf" or X.ndim not in (2, 3, 4) or 0 in X.shape[1:]:
        raise UserError(
            f"{at}: {path.name} must hold real numbers of shape (N, D), (N, height, width) or (N, channels, height, "
            f"width), got {X.dtype} of shape {X.shape}"
        )
    classes = None if labels is None else _labels(at, path, content, labels, X.shape[0])
    if isinstance(X, sp.csr_matrix):
        if not edges:
            require_memory(f"{at}: {file.name}", *X.shape, "it is sparse, and made dense: take fewer rows or columns")
        return Read([X], classes)
    if edges:
        raise UserError(
            f"{at}: {file.name} must be a sparse matrix of edge weights; save it with scipy.sparse.save_npz"
        )
    if X.ndim == 4 and X.shape[3] in _CHANNELS and X.shape[1] not in _CHANNELS:
        _log.warning(
            "%s: %s has shape %s, which looks like (N, height, width, channels) and is read as (N, channels, height, "
            "width); if so, save np.moveaxis(X, 3, 1) instead",
            *(at, file.name, X.shape),
        )
    shape = (1, *X.shape[1:]) if X.ndim == 3 else X.shape[1:] if X.ndim == 4 else None
    return Read([X.reshape(len(X), math.prod(X.shape[1:]))], classes, image_shape=shape)


def _labels(
    at: str, path: Path, content: "np.ndarray | np.lib.npyio.NpzFile", name: str, N: int
) -> tuple[np.ndarray, np.ndarray]:
    if path.is_dir():
        y = _load(at, path / name)
    elif isinstance(content, np.ndarray) or set(content.files) >= _SPARSE:
        raise UserError(
            f"{at}: {path.name} holds the features alone; make path the folder of both, array and labels "
            "their names in it"
        )
    else:
        y = _member(at, path, content, name)
    if not isinstance(y, np.ndarray) or y.ndim != 1 or len(y) != N:
        got = y.shape if isinstance(y, np.ndarray) else "an archive"
        raise UserError(f"{at}: {name} in {path.name} must be one label a row, shape ({N},), got {got}")
    if y.dtype.kind not in "biufU":
        raise UserError(f"{at}: {name} in {path.name} must hold numbers or text, got {y.dtype}")
    missing = y == "" if y.dtype.kind == "U" else np.isnan(y)
    if missing.any():
        raise UserError(f"{at}: {path.name}, {name}, row {missing.argmax() + 1}: the label is missing; add it")
    return np.unique(y, return_inverse=True)


def _load(at: str, path: Path) -> "np.ndarray | np.lib.npyio.NpzFile":
    """Return what a `.npy` file holds, or a `.npz` file, whose arrays are read when asked for."""
    try:
        with open(path, "rb") as file:
            is_array = file.read(6) == b"\x93NUMPY"
        if not (is_array or zipfile.is_zipfile(path)):
            raise UserError(f"{at}: {path.name} is no NumPy file, or not a whole one; save it with np.save or np.savez")
        if path.suffix.lower() == (".npz" if is_array else ".npy"):
            right = ".npy" if is_array else ".npz"
            raise UserError(f"{at}: {path.name} is a {right} file by its content; name it so")
        content: np.ndarray | np.lib.npyio.NpzFile = files.read_samples(path)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{at}: {path.name} is not in {path.parent.name}; correct array or labels") from None
    except Exception as error:  # readers of damaged files raise anything
        raise UserError(f"{at}: {path.name} {_fault(error)}") from None
    return content


def _member(at: str, path: Path, content: "np.lib.npyio.NpzFile", name: str) -> np.ndarray:
    try:
        array = content[name]
    except KeyError:
        raise UserError(f"{at}: {path.name} has no array {name!r}; it has {', '.join(content)}") from None
    except Exception as error:  # readers of damaged files raise anything
        raise UserError(f"{at}: {path.name}, array {name!r} {_fault(error)}") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{at}: {path.name}, {name!r} is no array; save it with np.savez")
    return array


def _sparse(at: str, path: Path) -> sp.csr_matrix:
    try:
        matrix = sp.load_npz(path)
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)  # an index out of range would be read from outside of the memory
        return sp.csr_matrix(matrix)
    except Exception as error:
        raise UserError(f"{at}: {path.name}, a sparse matrix, {_fault(error)}") from None


def _fault(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "allow_pickle" in text:  # NumPy advises it, and a pickle may run anything
        return "cannot be read without pickle, since it holds Python objects; save numbers or text"
    return f"cannot be read: {text}"
