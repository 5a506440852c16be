"""USPS in its other edition: 11,000 digits of 16x16 pixels, 1,100 of each, as released with DeepCluster-ADMM."""

from pathlib import Path

import numpy as np
import scipy.io

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._sources import PublishedFile, Source


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = scipy.io.loadmat(path)
    images = content["clusterdata"].reshape(-1, 16, 16).transpose(0, 2, 1)  # stored column by column
    # One-hot columns stand for the digits 1, ..., 9, 0, in this order.
    return images.reshape(-1, 256), (content["clustertargets"].argmax(axis=1) + 1) % 10


SPEC = DatasetSpec(
    n_clusters=10,
    image_shape=(1, 16, 16),
    source="https://github.com/JennyQQL/DeepClusterADMM-Release",
    files=(
        PublishedFile(
            "uspsdata.mat",
            "5d75d54dafee23b78efd8a41b15719ae9744379b55779937a62c482f7f283dab",
            (
                Source(
                    "https://raw.githubusercontent.com/JennyQQL/DeepClusterADMM-Release/"
                    "26a4ed33fa8c2e9c50339c3ae692cbe8e8d05270/data/uspsdata.mat"
                ),
            ),
        ),
    ),
    read=_read,
)
