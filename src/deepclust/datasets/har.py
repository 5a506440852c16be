"""HAR: 10,299 windows of a smartphone's motion, 561 features each, in 6 activities; training windows, then test ones.

The archive of the UCI repository is stored as it is, since its own SHA-256 is what others publish. Features lie in
[-1, 1] there and are moved to [0, 1] by (x + 1) / 2.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._sources import PublishedFile, Source


def _inner(raw: bytes) -> bytes:
    return zipfile.ZipFile(io.BytesIO(raw)).read("UCI HAR Dataset.zip")


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        parts = [
            [np.loadtxt(archive.open(f"UCI HAR Dataset/{split}/{name}_{split}.txt")) for name in ("X", "y")]
            for split in ("train", "test")
        ]
    X, y = map(np.concatenate, zip(*parts, strict=True))
    return (X + 1) / 2, y


SPEC = DatasetSpec(
    n_clusters=6,
    image_shape=None,
    source="https://archive.ics.uci.edu/dataset/240/human+activity+recognition+using+smartphones",
    files=(
        PublishedFile(
            "uci_har.zip",
            "2045e435c955214b38145fb5fa00776c72814f01b203fec405152dac7d5bfeb0",
            (
                Source(
                    "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip",
                    _inner,
                ),
                Source("https://archive.ics.uci.edu/ml/machine-learning-databases/00240/UCI%20HAR%20Dataset.zip"),
            ),
        ),
    ),
    read=_read,
)
