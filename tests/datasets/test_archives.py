"""Readers of published archives that no mirror may hold, on small archives of the same layout."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from sklearn.datasets import _rcv1, dump_svmlight_file

from deepclust import datasets
from deepclust.datasets import reuters10k_rcv1
from deepclust.datasets._sources import PublishedFile, Source, fetch_file
from deepclust.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.datasets.conftest import Site


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_har_joins_training_and_test_windows_in_their_order(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (5, 4))
    labels, parts = np.array([5, 1, 6, 2, 1]), {"train": slice(0, 3), "test": slice(3, 5)}
    files = {}
    for split, rows in parts.items():
        text = "\n".join("  ".join(f"{value:.7e}" for value in row) for row in values[rows])
        files[f"UCI HAR Dataset/{split}/X_{split}.txt"] = f"  {text}\n".encode()
        files[f"UCI HAR Dataset/{split}/y_{split}.txt"] = "\n".join(map(str, labels[rows])).encode()
    (tmp_path / "uci_har.zip").write_bytes(zipped(**files, **{"__MACOSX/._UCI HAR Dataset": b"aside"}))
    X, y = datasets.spec("har").read(tmp_path / "uci_har.zip")
    assert pytest.approx((values + 1) / 2, abs=1e-7) == X
    assert y is not None
    assert y.tolist() == labels.tolist()


def test_har_is_taken_out_of_the_archive_around_it() -> None:
    (around, alone) = datasets.spec("har").files[0].sources
    inner = zipped(data=b"content")
    assert around.decode(zipped(**{"UCI HAR Dataset.names": b"aside", "UCI HAR Dataset.zip": inner})) == inner
    assert alone.decode(inner) == inner


OTHER = zipped(other=b"content")


@pytest.mark.parametrize(
    "page", [b"<html>Please log in</html>", OTHER[:-30], OTHER], ids=["page", "half_archive", "other_archive"]
)
def test_an_archive_that_is_none_or_another_is_a_failed_source(tmp_path: Path, site: Site, page: bytes) -> None:
    file = datasets.spec("har").files[0]
    site.pages["/har.zip"] = page
    broken = PublishedFile(file.name, file.sha256, (Source(f"{site.url}/har.zip", file.sources[0].decode),))
    with pytest.raises(UserError, match=r"har/uci_har.zip: no source has the expected content"):
        fetch_file(broken, tmp_path, mirror=None, mirror_folder="har")


def test_cifar10_is_colour_planes_by_rows_training_images_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels, images = rng.integers(0, 10, (6, 2)), rng.integers(0, 256, (6, 2, 3, 32, 32))
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        # the published order of members is not that of the batches
        for place, name in [(5, "test_batch"), *((i, f"data_batch_{i + 1}") for i in reversed(range(5)))]:
            content = b"".join(
                bytes([label]) + image.astype(np.uint8).tobytes()
                for label, image in zip(labels[place], images[place], strict=True)
            )
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    X, y = datasets.spec("cifar10_pixels").read(tmp_path / "cifar-10-binary.tar.gz")
    assert X.dtype == np.float32
    assert np.array_equal(np.asarray(X).reshape(-1, 3, 32, 32), images.reshape(-1, 3, 32, 32).astype(np.float32) / 255)
    assert y is not None
    assert y.tolist() == labels.ravel().tolist()


def test_neighbours_are_edges_in_both_directions_and_labels_are_apart(tmp_path: Path) -> None:
    (tmp_path / "edges.txt").write_text("0 2\n0 1\n1 0\n2 3\n3 1\n")
    (tmp_path / "labels.txt").write_text("5\n1\n5\n1\n")
    edges, y = datasets.spec("har_graph").read(tmp_path / "edges.txt", tmp_path / "labels.txt")
    assert sp.issparse(edges)
    assert edges.toarray().tolist() == [[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]]
    assert y is not None
    assert y.tolist() == [5, 1, 5, 1]


@pytest.mark.parametrize("column", [True, False])
def test_reuters10k_is_in_proportion_to_the_published_weights(tmp_path: Path, column: bool) -> None:
    weights, labels = np.random.default_rng(0).uniform(0, 7, (6, 5)), np.array([0, 3, 1, 2, 0, 0])
    scipy.io.savemat(tmp_path / "reuters10k.mat", {"X": weights, "Y": labels[:, None] if column else labels[None]})
    X, y = datasets.spec("reuters10k").read(tmp_path / "reuters10k.mat")
    assert pytest.approx(weights / weights.max()) == X
    assert y is not None
    assert y.tolist() == labels.tolist()


def test_rcv1_files_are_those_of_scikit_learn() -> None:
    ours = {(file.sources[0].url, file.sha256, file.name) for file in datasets.spec("reuters10k_rcv1").files}
    published = [*_rcv1.XY_METADATA, _rcv1.TOPICS_METADATA]
    assert ours == {(each.url, each.checksum, each.filename) for each in published}


def test_rcv1_is_drawn_by_the_stated_rule(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = np.array([30, 12, 7, 25, 3, 18, 21, 9, 40, 33])
    topics = {30: "C15 CCAT", 12: "ECAT", 7: "GCAT CCAT", 25: "MCAT M11", 3: "GCAT", 18: "C11"}
    topics |= {21: "ECAT E1", 9: "MCAT", 40: "CCAT C1", 33: "GCAT"}
    lines = [f"{topic} {number} 1\n" for number in sorted(topics) for topic in topics[number].split()]
    (tmp_path / "topics.gz").write_bytes(gzip.compress("".join(lines).encode()))
    weights = sp.random_array((10, 8), density=0.6, rng=rng).toarray()
    weights[:, 7] = 0
    for name, part in (("train", slice(0, 4)), ("test", slice(4, 10))):
        dump_svmlight_file(weights[part], numbers[part], str(tmp_path / name), zero_based=False)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))

    vectors = [tmp_path / "train.gz", tmp_path / "test.gz"]
    X, y = reuters10k_rcv1.draw(tmp_path / "topics.gz", vectors, n_stories=6, n_stems=3)

    kept = [number for number in sorted(topics) if number not in (7, 18)]  # of two roots, of none
    table = np.array([weights[numbers.tolist().index(number)] for number in kept])
    counts = (table > 0).sum(axis=0)
    stems = sorted(sorted(range(8), key=lambda stem: (-counts[stem], stem))[:3])
    rows = sorted(np.random.default_rng(0).choice(8, 6, replace=False))
    expected = table[rows][:, stems]
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    expected = expected / np.where(lengths > 0, lengths, 1)
    assert pytest.approx(expected / expected.max(), abs=1e-6) == X
    roots = [next(t for t in topics[kept[row]].split() if t in ("CCAT", "ECAT", "GCAT", "MCAT")) for row in rows]
    assert y.tolist() == roots
