"""COIL-20: 1,440 photographs of 20 objects, 72 views of each, processed and scaled to 32x32 by Deng Cai."""

from pathlib import Path

import numpy as np
import scipy.io

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._sources import PublishedFile, Source


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = scipy.io.loadmat(path)
    images = content["fea"].reshape(-1, 32, 32).transpose(0, 2, 1)  # stored column by column
    return images.reshape(-1, 1024), content["gnd"].ravel()


SPEC = DatasetSpec(
    n_clusters=20,
    image_shape=(1, 32, 32),
    source="http://www.cad.zju.edu.cn/home/dengcai/Data/MLData.html",
    files=(
        PublishedFile(
            "COIL20.mat",
            "2a35c105dbb327492b90389e55612bcbf39187bc7c408252239903e4ce7d6958",
            (Source("http://www.cad.zju.edu.cn/home/dengcai/Data/COIL20/COIL20.mat"),),
        ),
    ),
    read=_read,
)
