"""Arrays of the user's own: whole numbers and ranges of any size, sparse matrices, and files that are none."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import scipy.sparse as sp

from deepclust import files
from deepclust.datasets import Dataset, _own
from deepclust.errors import UserError


def read(path: Path, n_clusters: int = 2, **settings: Any) -> Dataset:
    return _own.prepare("mine", path, n_clusters=n_clusters, **{"scale": "feature"} | settings)


def save(folder: Path, X: np.ndarray) -> Path:
    np.save(folder / "x.npy", X)
    return folder / "x.npy"


# -------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (
            1_700_000_000_000_000_000 + np.arange(4)[:, None] * np.array([[10, 20]]),
            [[0, 0], [1 / 3, 1 / 3], [2 / 3, 2 / 3], [1, 1]],
        ),
        (np.array([[2**63, 1], [2**63 + 7, 2], [2**63 + 99, 3]], np.uint64), [[0, 0], [7 / 99, 0.5], [1, 1]]),
        (np.array([[-(2**63), 2**63 - 1], [2**63 - 1, 2**63 - 2], [0, 2**63 - 3]]), [[0, 1], [1, 0.5], [0.5, 0]]),
        (np.array([[-128, 127], [127, 0], [0, -128]], np.int8), [[0, 1], [1, 128 / 255], [128 / 255, 0]]),
        (np.array([[1.7e308, 0], [-1.7e308, 1], [0, 2]]), [[1, 0], [0, 0.5], [0.5, 1]]),
        (np.array([[3e-320, 1], [1e-320, 1], [2e-320, 2]]), [[1, 0], [0, 0], [0.5, 1]]),
    ],
    ids=["nanoseconds", "uint64", "int64", "int8", "beyond_float64", "denormal"],
)
def test_whole_numbers_and_ranges_of_any_size_are_scaled_right(
    tmp_path: Path, X: np.ndarray, expected: list[list[float]], in_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "MAPPED", 0 if in_file else 1 << 30)
    path, rtol = save(tmp_path, X), 1e-3 if X.max() < 1e-300 else 1e-7
    data = read(path)
    np.testing.assert_allclose(data.X, expected, rtol=rtol)
    again, names = _own.more("mine", path, n_features=data.X.shape[1], bounds=data.bounds)
    np.testing.assert_allclose(again, expected, rtol=rtol)
    assert names == ()


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (2**60 + np.array([[0, 3], [1, 4], [2, 2]]), [[0, 0.75], [0.25, 1], [0.5, 0.5]]),
        (np.array([[1.7e308, 0], [-1.7e308, 1.7e308], [0, 0]]), [[1, 0.5], [0, 1], [0.5, 0.5]]),
    ],
)
def test_one_scale_for_all_is_right_too(tmp_path: Path, X: np.ndarray, expected: list[list[float]]) -> None:
    data = read(save(tmp_path, X), scale="global")
    assert data.X.tolist() == expected
    assert _own.more("mine", tmp_path / "x.npy", n_features=2, bounds=data.bounds)[0].tolist() == expected


def test_more_samples_are_scaled_by_given_bounds_and_lie_beyond_them(tmp_path: Path) -> None:
    path = save(tmp_path, np.array([[2.0**40 - 4, 5], [2.0**40 + 8, 7]]))
    bounds = ([2**40, 6.0], [2**40 + 4, 6.0])
    assert _own.more("mine", path, n_features=2, bounds=bounds)[0].tolist() == [[-1, -1], [2, 1]]
    whole = save(tmp_path, np.array([[2**60 - 4], [2**60 + 8]]))
    assert _own.more("mine", whole, n_features=1, bounds=(2**60, 2**60 + 4))[0].tolist() == [[-1], [2]]
    with pytest.raises(UserError, match=r"^own.mine: x.npy has 1 features, and the samples of the fit have 3; "):
        _own.more("mine", whole, n_features=3, bounds=None)
    with pytest.raises(UserError, match=r"^own.mine: x.npy, row 1, column 1: .* is not in \[0, 1\]; set scale"):
        _own.more("mine", whole, n_features=1, bounds=None)
    with pytest.raises(UserError, match=r"^own.mine: x.npy has 0 rows; give samples$"):
        _own.more("mine", save(tmp_path, np.empty((0, 2))), n_features=2, bounds=None)


def test_a_whole_number_beyond_one_is_shown_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^own.mine: x.npy, row 2, column 1: 9223372036854775807 is not in \[0, 1\]; set"
    ):
        read(save(tmp_path, np.array([[0, 1], [2**63 - 1, 0]])), scale="none")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 3), "x.npy has 0 rows; at least 2"),
        ((0, 3, 2, 2), "x.npy has 0 rows; at least 2"),
        ((3, 0), r"must hold real numbers of shape .*, got float64 of shape \(3, 0\)"),
    ],
)
def test_an_empty_array_is_refused(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=f"^own.mine: .*{message}"):
        read(save(tmp_path, np.zeros(shape)))


# ----------------------------------------------------------------------------------------------------- images in arrays


@pytest.mark.parametrize(
    ("shape", "warned"),
    [((2, 5, 6, 3), True), ((2, 5, 6, 1), True), ((2, 8, 6, 4), True), ((2, 3, 6, 4), False), ((2, 3, 5, 6), False)],
)
def test_channels_that_come_last_are_warned_of(
    tmp_path: Path, shape: tuple[int, ...], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    X = np.arange(np.prod(shape)).reshape(shape)
    with caplog.at_level(logging.WARNING, "deepclust"):
        assert read(save(tmp_path, X), scale="global").image_shape == shape[1:]
    assert [
        f"x.npy has shape {shape}, which looks like (N, height, width, channels)" in m for m in caplog.messages
    ] == ([True] if warned else [])
    if warned:
        assert caplog.messages[0].endswith("save np.moveaxis(X, 3, 1) instead")


@pytest.mark.parametrize("shape", [(6, 8, 8, 3), (6, 8, 24)])
def test_a_shape_that_contradicts_the_images_of_an_array_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path, np.random.default_rng(0).random(shape))
    with pytest.raises(UserError, match=r"^own\.mine\.image_shape: \(3, 8, 8\) is not .*; leave image_shape out, or"):
        read(path, image_shape=[3, 8, 8])
    as_it_is = (1, *shape[1:])[-3:]
    assert read(path, image_shape=list(as_it_is)).image_shape == read(path).image_shape == as_it_is
    rows = save(tmp_path, np.random.default_rng(0).random((6, 192)))
    assert read(rows, image_shape=[3, 8, 8]).image_shape == (3, 8, 8)


@pytest.mark.parametrize("labels", [["a", "", "b"], [1, np.nan, 2]], ids=["text", "numbers"])
def test_a_label_that_is_missing_in_an_array_is_named(tmp_path: Path, labels: list[Any]) -> None:
    np.savez(tmp_path / "x.npz", X=np.eye(3), y=labels)
    with pytest.raises(UserError, match=r"^own\.mine: x\.npz, y, row 2: the label is missing; add it$"):
        read(tmp_path / "x.npz", array="X", labels="y")


def test_arrays_among_images_are_asked_for_by_name(tmp_path: Path) -> None:
    save(tmp_path, np.eye(3))
    with pytest.raises(UserError, match=r"^own\.mine: x\.npy is no readable image .*, or say under array whi"):
        read(tmp_path)


# ------------------------------------------------------------------------------------------------------ sparse matrices


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("scale", ["feature", "global"])
def test_a_sparse_matrix_is_read_like_the_dense_one(tmp_path: Path, kind: str, array: bool, scale: str) -> None:
    dense = sp.random(12, 7, 0.3, random_state=0).toarray().round(2) - 0.2 * (np.arange(7) == 3)
    sp.save_npz(tmp_path / "x.npz", getattr(sp, f"{kind}_{'array' if array else 'matrix'}")(dense))
    assert read(tmp_path / "x.npz", scale=scale).digest == read(save(tmp_path, dense), scale=scale).digest


def test_large_whole_numbers_of_a_sparse_matrix_stay_apart(tmp_path: Path) -> None:
    dense = np.array([[2**60, 0], [2**60 + 2, 1], [2**60 + 1, 4]])
    sp.save_npz(tmp_path / "x.npz", sp.csr_matrix(dense))
    assert read(tmp_path / "x.npz").X.tolist() == [[0, 0], [1, 0.25], [0.5, 1]]


def test_edges_are_weights_between_samples_without_features(tmp_path: Path) -> None:
    W = sp.csr_matrix(np.array([[0, 2, 0], [2, 0, 0.5], [0, 0.5, 0]]))
    sp.save_npz(tmp_path / "edges.npz", W.tocoo())
    np.save(tmp_path / "y.npy", ["b", "a", "b"])
    data = read(tmp_path, array="edges.npz", labels="y.npy", edges=True)
    assert data.X.shape == (3, 0)
    assert data.graph is not None
    assert np.array_equal(data.graph.toarray(), W.toarray())
    assert data.y is not None
    assert data.y.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (sp.csr_matrix(np.array([[0.0, 1], [2, 0]])), "x.npz must be symmetric"),
        (sp.csr_matrix(np.array([[0.0, -1], [-1, 0]])), "x.npz must store finite weights > 0, got -1"),
        (sp.csr_matrix(np.eye(2)), "x.npz must have an empty diagonal"),
        (sp.csr_matrix(np.ones((2, 3))), r"x.npz must have shape \(N, N\) = \(2, 2\)"),
        (sp.csr_matrix((2, 2)), "graph must have an edge"),
    ],
)
def test_edges_of_no_graph_are_refused(tmp_path: Path, matrix: sp.csr_matrix, message: str) -> None:
    sp.save_npz(tmp_path / "x.npz", matrix)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "x.npz", edges=True)


def test_edges_that_are_dense_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", W=1 - np.eye(3))
    with pytest.raises(UserError, match=r"x\.npz must be a sparse matrix of edge weights; save it with scipy"):
        read(tmp_path / "x.npz", edges=True)


def test_labels_lie_beside_a_sparse_matrix(tmp_path: Path) -> None:
    dense = np.array([[0, 2], [1, 0], [0, 1]])
    sp.save_npz(tmp_path / "x.npz", sp.csr_matrix(dense))
    np.save(tmp_path / "y.npy", [5, 3, 5])
    data = read(tmp_path, array="x.npz", labels="y.npy")
    assert data.X.tolist() == [[0, 1], [1, 0], [0, 0.5]]
    assert data.y is not None
    assert data.y.tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"^own.mine: x.npz holds the features alone; make path the folder of both"):
        read(tmp_path / "x.npz", labels="y")


def test_a_sparse_matrix_that_is_too_large_when_dense_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sp.save_npz(tmp_path / "x.npz", sp.csr_matrix(([1.0, 2.0], ([0, 5], [3, 10**12])), shape=(6, 10**13)))
    with pytest.raises(UserError, match=r"^own.mine: x.npz: 6 rows of 10,000,000,000,000 values take 223,517.4 GiB in"):
        read(tmp_path / "x.npz")
    sp.save_npz(tmp_path / "x.npz", sp.csr_matrix(np.eye(6)))
    free = SimpleNamespace(available=4 * 36)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert read(tmp_path / "x.npz").X.shape == (6, 6)
    free.available -= 1
    with pytest.raises(UserError, match=r"it is sparse, and made dense: take fewer rows or columns$"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"indices": np.array([0, 7])}, "x.npz, a sparse matrix, cannot be read: "),
        ({"indptr": np.array([0, 9, 2])}, "x.npz, a sparse matrix, cannot be read: "),
        ({"format": np.array("lil")}, "x.npz, a sparse matrix, cannot be read: "),
        ({"data": np.array([1j, 2])}, r"must hold real numbers of shape .*, got complex128 of shape \(2, 3\)"),
        ({"data": np.array([1, None])}, "x.npz, a sparse matrix, cannot be read without pickle"),
        ({"data": np.array([1, np.nan])}, "x.npz, row 2, column 2: nan is missing or infinite"),
    ],
)
def test_a_damaged_sparse_matrix_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    parts = {"format": np.array("csr"), "shape": np.array([2, 3]), "data": np.array([1.0, 2.0])}
    parts |= {"indices": np.array([0, 1]), "indptr": np.array([0, 1, 2])}
    np.savez(tmp_path / "x.npz", **parts | changed)
    with pytest.raises(UserError, match=f"^own.mine: .*{message}"):
        read(tmp_path / "x.npz")


# ------------------------------------------------------------------------------------------------ what is no NumPy file


def objects(path: Path) -> None:
    np.save(path, np.array([[1, None]], dtype=object))


def archive(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, X=np.eye(3))


def array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.eye(3))


def huge(path: Path) -> None:
    with open(path, "wb") as file:
        facts = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)}
        np.lib.format.write_array_header_1_0(file, facts)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        (
            "x.npy",
            lambda path: path.write_text("1,2\n3,4\n"),
            "x.npy is no NumPy file, or not a whole one; save it with np.save or np.savez",
        ),
        ("x.npy", lambda path: path.write_bytes(b""), "x.npy is no NumPy file"),
        ("x.npy", objects, "x.npy cannot be read without pickle, since it holds Python objects; save numbers or text"),
        ("x.npy", archive, "x.npy is a .npz file by its content; name it so"),
        ("x.npz", array, "x.npz is a .npy file by its content; name it so"),
        (
            "x.npz",
            lambda path: path.write_bytes(b"PK\x03\x04 and no more"),
            "x.npz is no NumPy file, or not a whole one",
        ),
        ("x.npy", lambda path: path.write_bytes(b"\x93NUMPY and no more"), "x.npy cannot be read: "),
        ("x.npy", huge, "x.npy cannot be read: "),
    ],
)
def test_what_is_no_array_is_refused_without_advice_to_unpickle(
    tmp_path: Path, name: str, write: Any, message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(UserError) as error:
        read(tmp_path / name)
    assert str(error.value).startswith(f"own.mine: {message}")
    assert "allow_pickle" not in str(error.value)


def test_a_cut_off_archive_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", X=np.random.default_rng(0).normal(size=(50, 3)))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[100:140] = bytes(40)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"^own.mine: x.npz, array 'X' cannot be read: "):
        read(tmp_path / "x.npz")
