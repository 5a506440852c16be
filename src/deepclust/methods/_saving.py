"""Fitted methods as files: arrays in `model.safetensors`, all else in `model.json` with a digest of both; no pickle."""

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from deepclust.errors import UserError
from deepclust.files import atomic, read_json, write_text

FORMAT = 1  # version of the two files; to be raised when an older deepclust could not read them


def write(folder: Path, facts: dict[str, Any], fitted: dict[str, Any]) -> None:
    """Write facts about a method as JSON, and its fitted attributes: arrays, dictionaries of arrays, or JSON.

    Raises UserError where a file stands in the folder's place.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder, in which two files are written")
    arrays: dict[str, np.ndarray] = {}
    others: dict[str, Any] = {}
    for name, value in fitted.items():
        if _is_array(value):
            arrays[name] = value
        elif isinstance(value, dict) and value and all(map(_is_array, value.values())):
            arrays |= {f"{name}.{key}": array for key, array in value.items()}
        else:
            others[name] = value
    tensors = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    text = json.dumps({"format": FORMAT, **facts, "fitted": others}, default=_plain, allow_nan=False)
    content = json.loads(text)
    with atomic(folder / "model.safetensors") as file:
        file.write(tensors)
    write_text(folder / "model.json", json.dumps(content | {"sha256": _digest(content, tensors)}, indent=2) + "\n")


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the facts and the fitted attributes that `write` put into a folder.

    Raises UserError where a file is missing, newer than this code, or not as it was written.
    """
    try:
        tensors = (folder / "model.safetensors").read_bytes()
        content = read_json(folder / "model.json")
    except OSError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}; name a folder that a method was saved in, "
            "or one of data/runs/DATASET/CELL/seed-S whose run.json says ok"
        ) from None
    except ValueError:
        content = None
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise UserError(
            f"{folder / 'model.json'}: format must be at most {FORMAT}, got {version}: a newer deepclust saved it; "
            "update this one"
        )
    if version != FORMAT or content.pop("sha256", None) != _digest(content, tensors):
        raise UserError(
            f"{folder}: model.json and model.safetensors are not as they were saved; copy both again, or fit again"
        )
    fitted: dict[str, Any] = content.pop("fitted")
    for name, array in load(tensors).items():
        owner, _, key = name.partition(".")
        array = array.copy()  # the file's bytes are neither aligned nor writable
        if key:
            fitted.setdefault(owner, {})[key] = array
        else:
            fitted[owner] = array
    return content, fitted


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of the named distributions."""
    return {name: importlib.metadata.version(name) for name in packages}


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype != object


def _plain(value: Any) -> Any:
    """Return a NumPy number as Python's, and an array of objects (names of columns) as a list."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a fitted method is arrays, numbers and words, which {type(value).__name__} is not")


def _digest(content: dict[str, Any], tensors: bytes) -> str:
    return hashlib.sha256(json.dumps(content).encode() + tensors).hexdigest()
