"""Reuters10k: 10,000 news stories in 4 topics as TF-IDF of 2,000 word stems, as VaDE's authors released DEC's recipe.

The weights are divided by the largest of all, which leaves distances in proportion. `reuters10k_rcv1` draws another
sample, from RCV1 itself.
"""

from pathlib import Path

import numpy as np
import scipy.io

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._sources import PublishedFile, Source


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = scipy.io.loadmat(path)
    return content["X"] / content["X"].max(), content["Y"].ravel()


SPEC = DatasetSpec(
    n_clusters=4,
    image_shape=None,
    source="https://github.com/slim1017/VaDE",
    files=(
        PublishedFile(
            "reuters10k.mat",
            "aa0774a824889efe0597f0d42c6a795c99f312f89819afde957746fb7f0588b1",
            (
                Source(
                    "https://raw.githubusercontent.com/slim1017/VaDE/"
                    "eca52b4b57e32a68f578de7a54eda5d39907b0fe/dataset/reuters10k/reuters10k.mat"
                ),
            ),
        ),
    ),
    read=_read,
)
