"""USPS: 9,298 digits of 16x16 pixels, the 7,291 training images followed by the 2,007 test images.

Pixels have 2,001 levels: three decimals in [0, 2] in RWTH's `.jf` files, in [-1, 1] in the book page's and LIBSVM's
copies. The copies are rewritten as the `.jf` file, whose digest then proves that they hold the same images in one
order.
"""

import bz2
import gzip
import io
from pathlib import Path

import numpy as np

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._sources import PublishedFile, Source


def _as_jf(labels: np.ndarray, pixels: np.ndarray) -> bytes:
    """Return the `.jf` text of images in [-1, 1]: classes and features, a row an image, and a closing -1."""
    levels, index = np.unique(np.round(pixels + 1, 3) + 0.0, return_inverse=True)  # + 0.0 makes a -0 a 0
    words = np.array([f"{level:g}" for level in levels])[index].reshape(pixels.shape)
    rows = (f"{label:g} {' '.join(row)}" for label, row in zip(labels, words, strict=True))
    return "\n".join(("10 256", *rows, "-1\n")).encode()


def _from_zip(raw: bytes) -> bytes:
    table = np.loadtxt(io.BytesIO(gzip.decompress(raw)), ndmin=2)
    return _as_jf(table[:, 0], table[:, 1:])


def _from_libsvm(raw: bytes) -> bytes:
    from sklearn.datasets import load_svmlight_file

    pixels, labels = load_svmlight_file(io.BytesIO(bz2.decompress(raw)), n_features=256)
    return _as_jf(labels - 1, pixels.toarray())  # LIBSVM's classes 1..10 are the digits 0..9


def _file(split: str, libsvm_name: str, sha256: str) -> PublishedFile:
    sources = (
        Source(f"http://www-i6.informatik.rwth-aachen.de/~keysers/usps_{split}.jf.gz", gzip.decompress),
        Source(f"https://hastie.su.domains/ElemStatLearn/datasets/zip.{split}.gz", _from_zip),
        Source(f"https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/{libsvm_name}", _from_libsvm),
    )
    return PublishedFile(f"usps_{split}.jf", sha256, sources)


def _read(*paths: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = [np.fromfile(path, sep=" ")[2:-1].reshape(-1, 257) for path in paths]
    labels, pixels = np.split(np.concatenate(rows), [1], axis=1)
    return pixels / 2, labels.ravel()


SPEC = DatasetSpec(
    n_clusters=10,
    image_shape=(1, 16, 16),
    source="http://www-i6.informatik.rwth-aachen.de/~keysers/usps.html",
    files=(
        _file("train", "usps.bz2", "a8e1df2a0da5984447d3de7c7067ec4b9bcd0a6bb956e2276718d96d904bd0bc"),
        _file("test", "usps.t.bz2", "f802e6ba3fbc8778cdea6a105311fb4a1a8251eb706b77882bb1966116bf87d2"),
    ),
    read=_read,
)
