"""The IDX format of MNIST and the data sets published like it: two files a split, images and labels."""

import gzip
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deepclust.datasets._sources import PublishedFile, Source


def idx_split(split: str, bases: Iterable[str], *, images: str, labels: str) -> tuple[PublishedFile, PublishedFile]:
    """Return the image and the label file of a split, given the base URLs that hold both and their SHA-256s."""
    image_name, label_name = f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"
    return (
        PublishedFile(image_name, images, tuple(Source(f"{base}{image_name}.gz", gzip.decompress) for base in bases)),
        PublishedFile(label_name, labels, tuple(Source(f"{base}{label_name}.gz", gzip.decompress) for base in bases)),
    )


def read_idx(*paths: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, D) as float32 in [0, 1] and labels (N,), given image and label files in turn, concatenated."""
    images = np.concatenate([_array(path) for path in paths[::2]])
    labels = np.concatenate([_array(path) for path in paths[1::2]])
    return images.reshape(len(images), -1).astype(np.float32) / 255, labels


def _array(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    n_axes = raw[3]  # the header: 0, 0, a type code, the number of axes, then their lengths in big-endian
    shape = np.frombuffer(raw, ">u4", count=n_axes, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * n_axes).reshape(shape)
