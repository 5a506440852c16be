"""Published data sets by name: `names` lists them, `fetch` verifies files, `prepare` reads them, `load` does both.

A data set is a module of this folder that defines `SPEC`; its file name is its name everywhere. Modules whose name
starts with an underscore are shared code. Modules are imported only when their data set is asked for.
"""

import importlib
import os
import pkgutil
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from deepclust.datasets._base import Dataset, DatasetSpec
from deepclust.datasets._sources import fetch_file
from deepclust.errors import UserError

__all__ = ["Dataset", "DatasetSpec", "fetch", "hint", "load", "names", "prepare", "spec"]

_UNVERIFIABLE = ("cifar10", "imagenet", "imagenet10", "ytf")  # names of the papers' tables


def names() -> list[str]:
    """Return the names of all data sets, sorted: the public modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def spec(name: str) -> DatasetSpec:
    """Return what the module of data set `name` declares; an unknown name raises a UserError listing the valid ones."""
    if name not in names():
        raise UserError(
            f"dataset must be one of {', '.join(names())}; got {name!r}; see docs/adding-a-dataset.md{hint(name)}"
        )
    module = importlib.import_module(f"{__name__}.{name}")
    declared = getattr(module, "SPEC", None)
    if not isinstance(declared, DatasetSpec):
        raise UserError(f"{module.__file__} must define SPEC, a DatasetSpec; see docs/adding-a-dataset.md")
    return declared


def hint(name: str) -> str:
    """Return what to do about a data set of the papers' tables of which no file can be verified, or nothing."""
    if name not in _UNVERIFIABLE:
        return ""
    return f"; no public file of {name} can be verified: docs/own-data.md says how to bring it as your own"


def fetch(name: str, folder: Path | str, mirror: Path | str | None = None) -> None:
    """Put the published files of data set `name` into `folder`, each decompressed and verified by its SHA-256.

    Files that are already there and verify are kept, others are replaced. Nothing unverified is ever written.

    Parameters
    ----------
    name : str
        One of `names()`.
    folder : path
        Created where missing.
    mirror : path, base URL or None
        Searched before the public sources, laid out as `MIRROR/NAME/FILE`. None reads the environment variable
        DEEPCLUST_MIRROR; unset or empty, there is no mirror.

    Raises
    ------
    UserError
        The name is unknown, or no source gave the expected content of a file.
    """
    declared = spec(name)
    mirror = mirror or os.environ.get("DEEPCLUST_MIRROR") or None
    for file in declared.files:
        fetch_file(file, Path(folder), mirror=mirror, mirror_folder=declared.mirror_folder or name)


def prepare(name: str, folder: Path | str) -> Dataset:
    """Return data set `name`, read from the files that `fetch` put into `folder`.

    Labels become 0..K-1 in the sorted order of the published ones.
    """
    declared = spec(name)
    found, y = declared.read(*(Path(folder) / file.name for file in declared.files))
    graph = found if sp.issparse(found) else None
    return Dataset(
        name=name,
        X=np.ascontiguousarray(found if graph is None else np.empty((found.shape[0], 0)), dtype=np.float32),
        y=None if y is None else np.unique(y, return_inverse=True)[1].astype(np.int64),
        n_clusters=declared.n_clusters,
        image_shape=declared.image_shape,
        source=declared.source,
        graph=graph,
    )


def load(name: str, root: Path | str, mirror: Path | str | None = None) -> Dataset:
    """Return data set `name`, fetching missing files into `root/raw/NAME`; see `fetch`."""
    folder = Path(root) / "raw" / name
    fetch(name, folder, mirror)
    return prepare(name, folder)
