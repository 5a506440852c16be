"""Atomic, pickle-free files: every write goes to a temporary name in the same folder, is flushed, then renamed."""

import contextlib
import hashlib
import json
import os
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy.sparse as sp

from deepclust.errors import UserError
from deepclust.mapped import chunks, mapping_of

MAPPED = 1 << 30


@contextlib.contextmanager
def atomic(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file that becomes `path` when the block ends without an error, and vanishes otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        text = "b" not in mode
        with open(temporary, mode, encoding="utf-8" if text else None, newline="" if text else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.add_note(f"while writing {path}")  # a full disk's error names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    with atomic(path, "w") as file:
        file.write(text)


def to_json(value: Any) -> str:
    """Return sorted, indented JSON with a final newline; NaN and infinity are refused, as JSON has none.

    A number or truth value of NumPy is written as Python's.
    """
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON")


def write_json(path: Path | str, value: Any) -> None:
    """Write what `to_json` returns."""
    write_text(path, to_json(value))


def read_json(path: Path | str) -> Any:
    """Return the content of a JSON file; what is none, as after a merge with conflicts, is a `UserError`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}; restore it, or let its stage write it anew") from None


def read_yaml(path: Path | str) -> Any:
    """Return the plain content of a YAML 1.2 file; a key given twice is an error, as it is to DVC."""
    from ruamel.yaml import YAML  # of the extra `pipeline`
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run from the project's root") from None
    except DuplicateKeyError as error:
        begins, again = error.context_mark.line + 1, error.problem_mark.line + 1
        name = str(error.problem).split('"')[1]
        raise UserError(
            f"{path}, line {again}: {name!r} stands twice in the section that begins in line {begins}; rename one, or "
            "merge them"
        ) from None
    except (YAMLError, ValueError) as error:  # of bytes that are no text, or of 2024-02-30, which YAML takes for a date
        raise UserError(f"{path} is not YAML in UTF-8: {' '.join(str(error).split())}") from None


def write_array(path: Path | str, array: np.ndarray) -> None:
    """Write a `.npy` file in C order, without pickle."""
    with atomic(path) as file:
        if mapping_of(array) is None:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
            return
        descr = np.lib.format.dtype_to_descr(array.dtype)
        facts = {"descr": descr, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, facts)
        for rows in chunks(array):
            file.write(np.ascontiguousarray(rows).data)


def read_array(path: Path | str, *, mmap: bool = False) -> np.ndarray:
    """Return a `.npy` file's array; with `mmap` it stays in the file, read-only."""
    array: np.ndarray = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    return array


def read_samples(path: Path | str) -> np.ndarray:
    """Return X (N, D), which stays in its file where that is larger than `MAPPED` bytes."""
    return read_array(path, mmap=Path(path).stat().st_size > MAPPED)


def write_sparse(path: Path | str, matrix: sp.csr_matrix) -> None:
    """Write a `.npz` sparse matrix, the same bytes by every version of Python.

    Uncompressed: float weights do not compress, and zlib versions differ in bytes.
    """
    with atomic(path, "w+b") as file:
        sp.save_npz(file, matrix, compressed=False)
        _with_zip64_headers(file)


def _with_zip64_headers(file: IO[bytes]) -> None:
    """Give a zip file's entries the headers that Python writes since 3.11.4, where NumPy asks for ZIP64.

    Before, sizes and version in the headers were those of a small file, and DVC took equal graphs for different ones.
    """
    with zipfile.ZipFile(file) as content:
        entries, place = content.infolist(), content.start_dir
    for entry in entries:
        for at in (entry.header_offset + 4, place + 4, place + 6):  # the version, in the entry and in the directory
            file.seek(at)
            file.write(bytes([zipfile.ZIP64_VERSION]))
        file.seek(entry.header_offset + 18)
        file.write(b"\xff" * 8)  # both sizes, which stand behind the name
        place += 46 + len(entry.filename.encode()) + len(entry.extra) + len(entry.comment)


def read_sparse(path: Path | str) -> sp.csr_matrix:
    return sp.csr_matrix(sp.load_npz(path))


def sha256(path: Path | str) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
