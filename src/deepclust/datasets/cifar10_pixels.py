"""CIFAR-10: 60,000 colour photographs of 10 kinds of things, 50,000 training images followed by 10,000 test images.

The published binary archive is stored as it is, since its own SHA-256 is what others publish. The papers' `cifar10` is
another data set: features of a network that was trained without labels (MoCo), which docs/own-data.md says how to make.
"""

import tarfile
from pathlib import Path

import numpy as np

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._sources import PublishedFile, Source

_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with tarfile.open(path) as archive:
        members = [archive.extractfile(f"cifar-10-batches-bin/{name}.bin") for name in _BATCHES]
        content = b"".join(member.read() for member in members if member)
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)  # a label, then red, green and blue by rows
    return rows[:, 1:].astype(np.float32) / 255, rows[:, 0]


SPEC = DatasetSpec(
    n_clusters=10,
    image_shape=(3, 32, 32),
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    files=(
        PublishedFile(
            "cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            (Source("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),),
        ),
    ),
    read=_read,
    mirror_folder="cifar10",
)
