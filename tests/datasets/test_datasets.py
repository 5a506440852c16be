"""Data sets: discovered by file name, validated, and equal to what was published, to the bit."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits

from deepclust import datasets
from deepclust.datasets import Dataset
from deepclust.errors import UserError

if TYPE_CHECKING:
    from tests.datasets.conftest import Site

# Published facts: shape, samples per class, and the digest of what our readers make of the files, where we had them.
PUBLISHED: dict[str, tuple[tuple[int, int], list[int], str | None]] = {
    "cifar10_pixels": ((60000, 3072), [6000] * 10, None),
    "coil20": ((1440, 1024), [72] * 20, "1f1f29d2fecbcc5caece06df92bf81ea2130c2d189ef0cc039cef9b935ae3ddf"),
    "digits": (
        (1797, 64),
        [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
        "9563246dbbf93714c0959e00c4707f9cf623edd2e0f52c67dbc8189c8acf4867",
    ),
    "fashion": ((70000, 784), [7000] * 10, "977708f50116f74a28a17e0fb7018cc54c9aae2abef7ff9084b1193fd56fe93c"),
    "har_graph": (
        (10299, 0),
        [1722, 1544, 1406, 1777, 1906, 1944],
        "3849ee76a892f4fd1e5735e51b9a7dedaf9a049377020976017d74e65fbdb186",
    ),
    "har": ((10299, 561), [1722, 1544, 1406, 1777, 1906, 1944], None),
    "mnist": (
        (70000, 784),
        [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958],
        "fb7e26b7d34d626e5448eafe802e8c2818b870de1e67b262efdd4e9635e73f77",
    ),
    "mnist_test": (
        (10000, 784),
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        "900f787b9dead51adaa6e5ca62aa36913aa7c6917785c61c1c0b383ac00f98d7",
    ),
    "reuters10k_graph": (
        (10000, 0),
        [4312, 2403, 2471, 814],
        "dacb18545b95671685732a3af6c0327735b138936f7b0b0cb1d418683e428f59",
    ),
    "usps": (
        (9298, 256),
        [1553, 1269, 929, 824, 852, 716, 834, 792, 708, 821],
        "e378070a87c08c6c1a2aed26a8a5d9ce3c7c2bbce945ba9b9773d65c95b32609",
    ),
    "usps11k": ((11000, 256), [1100] * 10, "4c1fb4253dc1843e9f788b08cfd4e5b771775d76e5124eaf607a05cabc9cec6e"),
}

# MD5 of MNIST's uncompressed files: a second opinion on our SHA-256s, from outside this repository.
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

TOY = """
from pathlib import Path

import numpy as np

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._sources import PublishedFile, Source


def _read(images, labels):
    return np.frombuffer(images.read_bytes(), np.uint8).reshape(-1, 4) / 255, np.loadtxt(labels)


SPEC = DatasetSpec(
    n_clusters=3,
    image_shape=(1, 2, 2),
    source="a test",
    files=(
        PublishedFile("images", "{images}", (Source("{url}/images"),)),
        PublishedFile("labels", "{labels}", (Source("{url}/labels"),)),
    ),
    read=_read,
)
"""
IMAGES, LABELS = bytes(range(0, 240, 12)), b"7 -1 10 7 -1"


def fetched(name: str, mirror: Path | None, folder: Path) -> Path:
    """Return `folder` with the files of data set `name`, or skip the test where only a network could bring them."""
    declared = datasets.spec(name)
    for file in declared.files:
        places = [urlsplit(source.url) for source in file.candidates(mirror, declared.mirror_folder or name)]
        if not any(place.scheme == "file" and Path(url2pathname(place.path)).exists() for place in places):
            pytest.skip(f"no mirror holds {name}'s files: set DEEPCLUST_MIRROR to a folder that does")
    datasets.fetch(name, folder, mirror)
    return folder


@pytest.fixture(scope="module", params=datasets.names())
def raw(request: pytest.FixtureRequest, mirror: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the raw folder of each data set in turn, named after it."""
    name: str = request.param
    return fetched(name, mirror, tmp_path_factory.mktemp("raw") / name)


@pytest.fixture(scope="module")
def dataset(raw: Path) -> Dataset:
    return datasets.prepare(raw.name, raw)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, site: Site) -> Iterator[Path]:
    """Drop a module `toy` into a folder of the package, its two files on the site; return a folder for them."""
    site.pages |= {"/images": IMAGES, "/labels": LABELS}
    digests = {"images": hashlib.sha256(IMAGES).hexdigest(), "labels": hashlib.sha256(LABELS).hexdigest()}
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "toy.py").write_text(TOY.format(url=site.url, **digests))
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "modules")])
    yield tmp_path / "data"
    if sys.modules.pop("deepclust.datasets.toy", None):
        del datasets.toy  # type: ignore[attr-defined]


def ring(n: int) -> sp.csr_matrix:
    """Return a graph of n nodes, each with an edge to the next one and the last one with the first."""
    steps = sp.csr_matrix((np.ones(n), (np.arange(n), (np.arange(n) + 1) % n)), shape=(n, n))
    return sp.csr_matrix(steps + steps.T)


NODES = {"X": np.zeros((6, 0), np.float32), "image_shape": None}


def sound(**changes: object) -> Dataset:
    """Return a valid small data set with the given fields changed."""
    fields: dict[str, object] = {
        "name": "small",
        "X": np.linspace(0, 1, 24, dtype=np.float32).reshape(6, 4),
        "y": np.array([0, 1, 2, 0, 1, 2]),
        "n_clusters": 3,
        "image_shape": (1, 2, 2),
        "source": "a test",
    }
    return Dataset(**(fields | changes))  # type: ignore[arg-type]


# --- discovery and declarations


def test_names_are_the_modules_of_the_folder() -> None:
    assert datasets.names() == sorted(datasets.names())
    assert set(PUBLISHED) <= set(datasets.names())


@pytest.mark.parametrize("name", datasets.names())
def test_declaration_is_well_formed(name: str) -> None:
    assert re.fullmatch("[a-z0-9_]+", name)
    declared = datasets.spec(name)
    stored = [file.name for file in declared.files]
    assert stored
    assert len(set(stored)) == len(stored)
    for file in declared.files:
        assert Path(file.name).name == file.name
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert all(urlsplit(source.url).scheme in ("https", "http", "file") for source in file.sources)


@pytest.mark.parametrize("call", [datasets.spec, lambda name: datasets.load(name, "nowhere")])
@pytest.mark.parametrize("name", ["cifar", "", "_idx", "../mnist"])
def test_unknown_name_lists_the_valid_ones(call: Callable[[str], object], name: str) -> None:
    with pytest.raises(UserError, match=rf"dataset must be one of .*digits.*, mnist.*got {re.escape(repr(name))}"):
        call(name)


def test_data_of_the_papers_that_cannot_be_verified_are_named_with_the_way_out() -> None:
    with pytest.raises(UserError, match=r"no public file of ytf can be verified: docs/own-data\.md says how"):
        datasets.spec("ytf")


def test_a_module_that_declares_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("deepclust.datasets.digits.SPEC")
    with pytest.raises(UserError, match=r"datasets.digits\.py must define SPEC, a DatasetSpec; see docs/adding-a-data"):
        datasets.spec("digits")


def test_asking_for_one_data_set_imports_little() -> None:
    code = "import sys; from deepclust import datasets; datasets.spec('mnist'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "deepclust.datasets.mnist" in loaded
    assert not {"deepclust.datasets.usps", "sklearn", "torch", "torchvision"} & set(loaded)


# --- a module dropped into the folder


def test_dropped_module_is_found_and_loaded(toy: Path) -> None:
    assert "toy" in datasets.names()
    loaded = datasets.load("toy", toy)
    assert loaded.X.dtype == np.float32
    assert np.array_equal(loaded.X.ravel(), np.frombuffer(IMAGES, np.uint8).astype(np.float32) / 255)
    assert sorted(path.name for path in (toy / "raw" / "toy").iterdir()) == ["images", "labels"]


def test_labels_become_consecutive_in_published_order(toy: Path) -> None:
    y = datasets.load("toy", toy).y
    assert y is not None
    assert y.tolist() == [1, 0, 2, 1, 0]  # published as 7 -1 10 7 -1


def test_interrupted_fetch_resumes_with_the_missing_file(toy: Path, site: Site) -> None:
    labels = site.pages.pop("/labels")
    with pytest.raises(UserError, match="toy/labels"):
        datasets.fetch("toy", toy)
    assert [path.name for path in toy.iterdir()] == ["images"]
    site.pages["/labels"] = labels
    site.requests.clear()
    datasets.fetch("toy", toy)
    assert site.requests == ["/labels"]


def test_mirror_is_read_from_the_environment_and_overruled_by_the_argument(
    toy: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mirror in ("environment", "argument"):
        (tmp_path / mirror / "toy").mkdir(parents=True)
        (tmp_path / mirror / "toy" / "images").write_bytes(IMAGES)
        (tmp_path / mirror / "toy" / "labels").write_bytes(LABELS)
    monkeypatch.setenv("DEEPCLUST_MIRROR", str(tmp_path / "environment"))
    datasets.fetch("toy", toy / "first")
    assert site.requests == []
    (tmp_path / "environment" / "toy" / "labels").write_bytes(b"spoilt")
    datasets.fetch("toy", toy / "second", tmp_path / "argument")
    assert site.requests == []
    monkeypatch.setenv("DEEPCLUST_MIRROR", "")
    datasets.fetch("toy", toy / "third")
    assert site.requests == ["/images", "/labels"]


# --- what a Dataset refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Small-1"}, "name must match"),
        ({"X": np.zeros((6, 4))}, "float32"),
        ({"X": np.zeros(24, np.float32)}, "shape"),
        ({"X": np.zeros((0, 4), np.float32)}, "shape"),
        ({"X": np.zeros((4, 6), np.float32).T}, "C-contiguous"),
        ({"X": np.full((6, 4), np.nan, np.float32)}, "finite"),
        ({"X": np.full((6, 4), np.inf, np.float32)}, "finite"),
        ({"X": np.full((6, 4), -0.01, np.float32)}, r"\[0, 1\]"),
        ({"X": np.full((6, 4), 1.01, np.float32)}, r"\[0, 1\]"),
        ({"n_clusters": 0}, r"\[1, N=6\]"),
        ({"n_clusters": 7}, r"\[1, N=6\]"),
        ({"n_clusters": 2}, "every label 0..1 and no other, got 3 values from 0 to 2"),
        ({"n_clusters": 4}, "every label 0..3"),
        ({"y": np.array([0, 1, 2, 0, 1, 2], np.int32)}, "int64"),
        ({"y": np.array([0, 1, 2])}, "shape"),
        ({"y": np.array([1, 2, 3, 1, 2, 3])}, "every label 0..2"),
        ({"image_shape": (3, 2, 2)}, "product D=4"),
        ({"X": np.zeros((6, 0), np.float32), "image_shape": None}, "features, or none where there is a graph"),
        ({"graph": ring(6)}, "features, or none where there is a graph"),
        ({**NODES, "graph": ring(5)}, r"shape \(N, N\) = \(6, 6\)"),
        ({**NODES, "graph": sp.triu(ring(6), format="csr")}, "graph must be symmetric"),
        ({**NODES, "graph": sp.csr_matrix((6, 6))}, "graph must have an edge"),
    ],
)
def test_unsound_data_is_refused_with_the_reason(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sound(**changes)


def test_labels_and_image_shape_are_optional() -> None:
    assert sound(y=None, image_shape=None).y is None


def test_digest_tells_values_shapes_and_labels_apart() -> None:
    X, y = sound().X, np.array([0, 1, 2, 0, 1, 2])
    different = [
        sound(),
        sound(X=np.ascontiguousarray(X[::-1])),
        sound(X=np.nextafter(X, np.float32(0.5))),
        sound(X=X.reshape(4, 6), y=np.array([0, 1, 2, 0]), image_shape=None),
        sound(y=y[::-1]),
        sound(y=None),
        sound(**NODES, graph=ring(6)),
        sound(**NODES, graph=2 * ring(6)),
    ]
    assert len({data.digest for data in different}) == len(different)
    assert sound(X=X.copy(), y=y.copy(), name="other", source="elsewhere").digest == sound().digest


# --- the real data


def test_data_set_is_sound_and_varied(dataset: Dataset) -> None:
    declared = datasets.spec(dataset.name)
    assert dataset.n_clusters == declared.n_clusters
    if dataset.graph is not None:
        assert len(np.unique(np.diff(dataset.graph.indptr))) > 1
        return
    assert dataset.X.std(axis=0).max() > 0.05
    if dataset.name in PUBLISHED:
        assert (dataset.X.min(), dataset.X.max()) == (0, 1)


def test_data_set_equals_the_published_one(dataset: Dataset) -> None:
    if dataset.name not in PUBLISHED:
        pytest.skip("no published facts are pinned for this data set")
    shape, counts, digest = PUBLISHED[dataset.name]
    assert dataset.X.shape == shape
    assert dataset.y is not None
    assert np.bincount(dataset.y).tolist() == counts
    assert digest in (None, dataset.digest)


def test_raw_folder_holds_the_declared_files_and_fetching_again_keeps_them(raw: Path) -> None:
    declared = datasets.spec(raw.name)
    before = {path.name: path.stat().st_mtime_ns for path in raw.iterdir()}
    assert set(before) == {file.name for file in declared.files}
    datasets.fetch(raw.name, raw)  # without the mirror
    assert {path.name: path.stat().st_mtime_ns for path in raw.iterdir()} == before


@pytest.mark.parametrize("name", ["digits", "mnist_test", "usps", "usps11k"])
def test_digits_are_upright(name: str, mirror: Path | None, tmp_path: Path) -> None:
    data = datasets.prepare(name, fetched(name, mirror, tmp_path))
    assert data.image_shape is not None
    ones = data.X[data.y == 1].reshape(-1, *data.image_shape[1:])
    fullest_row, fullest_column = ones.sum(axis=2).max(axis=1), ones.sum(axis=1).max(axis=1)
    assert fullest_column.mean() > fullest_row.mean()  # a one is tall and narrow


def test_digits_are_scikit_learns(tmp_path: Path) -> None:
    loaded, shipped = datasets.load("digits", tmp_path), load_digits()
    assert loaded.y is not None
    assert np.array_equal(loaded.X * 16, shipped.data)
    assert np.array_equal(loaded.y, shipped.target)


def test_mnist_files_have_the_published_md5(mirror: Path | None, tmp_path: Path) -> None:
    raw = fetched("mnist", mirror, tmp_path)
    assert {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in raw.iterdir()} == MNIST_MD5


def test_mnist_test_is_the_end_of_mnist() -> None:
    assert datasets.spec("mnist_test").files == datasets.spec("mnist").files[2:]


def usps_editions(jf: bytes) -> tuple[bytes, bytes]:
    """Return the other two editions of a `.jf` file: four decimals, and sparse `index:value` with rounding noise."""
    lines = [line.split() for line in jf.decode().splitlines()[1:-1]]
    values = {word: float(word) - 1 for line in lines for word in line[1:]}
    book = "".join(f"{float(y):.4f} " + " ".join(f"{values[w]:.4f}" for w in words) + " \n" for y, *words in lines)
    sparse = "".join(
        f"{int(y) + 1} " + " ".join(f"{i}:{values[w] - 1e-7:.9g}" for i, w in enumerate(words, 1) if values[w]) + "\n"
        for y, *words in lines
    )
    return gzip.compress(book.encode()), bz2.compress(sparse.encode())


def test_usps_editions_are_rewritten_exactly() -> None:
    levels = np.random.default_rng(0).permutation(np.r_[0:1791, 2000]).reshape(7, 256)
    rows = [f"{label} " + " ".join(f"{level / 1000:g}" for level in row) for label, row in enumerate(levels)]
    jf = "\n".join(["10 256", *rows, "-1\n"]).encode()
    book, sparse = usps_editions(jf)
    original, from_book, from_sparse = datasets.spec("usps").files[0].sources
    assert original.decode(gzip.compress(jf)) == jf
    assert from_book.decode(book) == jf
    assert from_sparse.decode(sparse) == jf


def test_usps_real_files_survive_both_editions(mirror: Path | None, tmp_path: Path) -> None:
    whole = (fetched("usps", mirror, tmp_path) / "usps_test.jf").read_bytes()
    jf = b"\n".join([*whole.split(b"\n")[:501], b"-1\n"])
    _, from_book, from_sparse = datasets.spec("usps").files[1].sources
    book, sparse = usps_editions(jf)
    assert from_book.decode(book) == jf
    assert from_sparse.decode(sparse) == jf
