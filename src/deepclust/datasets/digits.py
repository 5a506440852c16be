"""Digits: 1,797 handwritten digits of 8x8 pixels, read without a download from the copy inside scikit-learn."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._sources import PublishedFile, Source


def _shipped() -> Source:
    package = find_spec("sklearn")  # found without importing it, which takes a second
    if package is None or package.origin is None:
        raise ModuleNotFoundError("scikit-learn is not installed")
    return Source((Path(package.origin).parent / "datasets/data/digits.csv.gz").as_uri(), gzip.decompress)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = np.loadtxt(path, delimiter=",")
    return table[:, :-1] / 16, table[:, -1]


SPEC = DatasetSpec(
    n_clusters=10,
    image_shape=(1, 8, 8),
    source="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    files=(
        PublishedFile("digits.csv", "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8", (_shipped(),)),
    ),
    read=_read,
)
