"""Nearest neighbours against brute force, on data chosen to break float32."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.spatial.distance import pdist
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from deepclust.errors import UserError
from deepclust.files import read_array, write_array
from deepclust.graph import knn
from deepclust.graph.knn import knn_graph
from tests.references import graph as reference


def gaussian(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def assert_same(one: sp.csr_matrix, other: sp.csr_matrix) -> None:
    for name in ("indptr", "indices", "data"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def assert_brute_force(X: np.ndarray, k: int) -> None:
    graph = knn_graph(X, k)
    assert graph.shape == (len(X), len(X))
    assert graph.dtype == np.float32
    assert (np.diff(graph.indptr) == k).all()
    for i, expected in enumerate(reference.neighbors(X, k)):
        row = slice(graph.indptr[i], graph.indptr[i + 1])
        by_index = sorted(expected, key=lambda pair: pair[1])
        assert graph.indices[row].tolist() == [j for _, j in by_index], f"row {i}"
        assert graph.data[row].tolist() == [d for d, _ in by_index], f"row {i}"


HOSTILE = {
    "one far outlier": np.vstack([gaussian(150, 6), np.full((1, 6), 1e9)]),
    "large offset": gaussian(150, 6).astype(np.float64) + 1e7,
    "large offset, float32": gaussian(150, 6) + np.float32(1e5),
    "near duplicates": np.repeat(gaussian(15, 6), 10, axis=0) + np.float32(1e-6) * gaussian(150, 6, 1),
    "duplicates": np.repeat(gaussian(15, 6), 10, axis=0)[np.random.default_rng(0).permutation(150)],
    "zero vectors": np.where(np.arange(150)[:, None] % 3 > 0, 0, gaussian(150, 6)),
    "signed zeros": np.where(np.arange(60)[:, None] % 2 > 0, np.float32(-0.0), np.zeros((60, 2), np.float32)),
    "all the same": np.ones((60, 3)),
    "a lattice, all ties": np.stack(np.meshgrid(*[np.arange(5.0)] * 3), -1).reshape(-1, 3),
    "binary, uint8": np.random.default_rng(0).integers(0, 2, (200, 9)).astype(np.uint8),
    "one feature": gaussian(150, 1),
    "1e30": gaussian(150, 6).astype(np.float64) * 1e29,
    "1e-30": gaussian(150, 6).astype(np.float64) * 1e-30,
    "1e-42, where float32 runs out": gaussian(150, 6).astype(np.float64) * 1e-42,
    "large int64": np.random.default_rng(0).integers(-(10**12), 10**12, (80, 4)),
}


@pytest.mark.parametrize("n", [2, 3, 15, 16, 17, 64, 101])
@pytest.mark.parametrize("k", [1, 2, 10, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_search_is_brute_force(n: int, k: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "_BLOCK", 16)
    assert_brute_force(gaussian(n, 5).astype(dtype), min(k, n - 1))


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("k", [1, 7, 20])
def test_exact_search_is_brute_force_on_hostile_data(case: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "_BLOCK", 32)
    assert_brute_force(HOSTILE[case], k)


SPARSE = sp.random_array((300, 5000), density=0.004, rng=np.random.default_rng(0)).toarray()  # some rows are empty


@pytest.mark.parametrize("X", [SPARSE, *HOSTILE.values()], ids=["few entries", *HOSTILE])
def test_sparse_samples_have_the_neighbors_of_dense_ones(X: np.ndarray) -> None:
    expected = knn_graph(X, 7)
    for form in (sp.csr_matrix(X), sp.coo_array(X), sp.csc_array(X)):
        assert_same(knn_graph(form, 7), expected)  # type: ignore[arg-type]


def test_stored_zeros_and_duplicates_of_sparse_samples_are_what_they_stand_for() -> None:
    X = gaussian(40, 3).astype(np.float64) * (gaussian(40, 3, 1) > 0)
    rows, columns = np.indices(X.shape).reshape(2, -1)
    form = sp.coo_matrix((np.tile(X.ravel() / 2, 2), (np.tile(rows, 2), np.tile(columns, 2))), shape=X.shape)
    before = form.data.copy()
    assert_same(knn_graph(form, 5), knn_graph(X, 5))  # type: ignore[arg-type]
    assert np.array_equal(form.data, before)


def test_sparse_samples_are_never_made_dense() -> None:
    n = 200
    form = sp.csr_matrix((np.ones(n), (np.arange(n), np.arange(n) // 2)), shape=(n, 10**9))
    graph = knn_graph(form, 1)
    assert graph.indices.tolist() == [i ^ 1 for i in range(n)]
    assert not graph.data.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e31])
def test_sparse_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(UserError, match="X must be finite"):
        knn_graph(sp.csr_matrix(np.diag([1.0, value, 1.0])), 1)
    with pytest.raises(UserError, match="exact=False searches dense samples, got sparse ones"):
        knn_graph(sp.csr_matrix(np.eye(3)), 1, exact=False)


@pytest.mark.parametrize("case", HOSTILE)
def test_result_depends_on_neither_blocks_nor_threads_nor_engine(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X = HOSTILE[case]
    expected = knn_graph(X, 8)
    with threadpool_limits(1, user_api="blas"):
        assert_same(knn_graph(X, 8), expected)
    monkeypatch.setattr(knn, "_exact_search", lambda X, k, _: knn._distinct_search(X, k, "cpu"))  # the GPU's code
    monkeypatch.setattr(knn, "_DEVICE_BYTES", 4 * 50 * len(X))
    assert_same(knn_graph(X, 8), expected)
    monkeypatch.undo()
    for size in (7, 50, 10_000):
        monkeypatch.setattr(knn, "_BLOCK", size)
        monkeypatch.setattr(knn, "_PAIR_BYTES", 8 * size)
        monkeypatch.setattr(knn, "_REPEAT_BYTES", 8 * size)
        assert_same(knn_graph(X, 8), expected)


def test_second_search_is_for_ties_and_cancellation_only(monkeypatch: pytest.MonkeyPatch) -> None:
    repeated: list[int] = []
    search = knn._repeat_search

    def spy(X: np.ndarray, frame: knn._Frame, rows: np.ndarray, k: int, parallel: knn.Parallel) -> knn.Neighbors:
        repeated.append(len(rows))
        return search(X, frame, rows, k, parallel)

    monkeypatch.setattr(knn, "_repeat_search", spy)
    knn_graph(load_digits().data / 16, 10)
    assert repeated == [0]
    knn_graph(HOSTILE["a lattice, all ties"], 10)
    assert repeated[1] > 0


def test_distances_are_symmetric_and_exact_for_near_duplicates() -> None:
    X = np.repeat(1 + gaussian(20, 50).astype(np.float64), 2, axis=0)
    X[1::2, 0] += 2.0**-30  # far below what |x|^2 + |y|^2 - 2 x.y in float32 can see
    graph = knn_graph(X, 1)
    assert np.array_equal(graph.indices, np.arange(40) ^ 1)
    assert np.array_equal(graph.data, np.repeat(np.abs(X[1::2, 0] - X[::2, 0]).astype(np.float32), 2))


def test_tensors_and_arrays_give_the_same_graph() -> None:
    X = gaussian(60, 4)
    assert_same(knn_graph(torch.from_numpy(X), 5), knn_graph(X, 5))
    assert_same(knn_graph(torch.from_numpy(X).requires_grad_(), 5, device=torch.device("cpu")), knn_graph(X, 5))
    assert_same(knn_graph(np.asfortranarray(X)[::2], 5), knn_graph(X[::2].copy(), 5))
    half = torch.from_numpy(X).bfloat16()
    assert_same(knn_graph(half, 5), knn_graph(half.float(), 5))


def test_input_is_left_alone() -> None:
    X = gaussian(60, 4)
    before = X.copy()
    knn_graph(X, 5)
    assert np.array_equal(X, before)


@pytest.mark.parametrize("k", [0, 20, -1, 2.0, None])
def test_n_neighbors_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(UserError, match=r"n_neighbors must be an integer in \[1, N-1=19\]"):
        knn_graph(gaussian(20, 3), k)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_values_whose_distances_would_be_0_are_refused(make: Any) -> None:
    with pytest.raises(UserError, match=r"^X must have its largest entry in \[1e-42, 1e30\], .* got [1-9].*e-46; resc"):
        knn_graph(make(gaussian(20, 3).astype(np.float64) * 1e-46), 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e31])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    X = gaussian(20, 3)
    X[7, 1] = value
    with pytest.raises(UserError, match="in row 7"):
        knn_graph(X, 3)


@pytest.mark.parametrize("X", [np.zeros(5), np.zeros((5, 2, 2)), np.zeros((5, 0)), np.zeros((5, 2), complex)])
def test_arrays_of_other_shapes_or_kinds_are_refused(X: np.ndarray) -> None:
    with pytest.raises(UserError, match="X must be a real array"):
        knn_graph(X, 1)


def test_unusable_devices_are_refused() -> None:
    with pytest.raises(UserError, match="device must be"):
        knn_graph(gaussian(20, 3), 3, device="cuda:99")
    with pytest.raises(UserError, match="runs on the CPU only"):
        knn_graph(gaussian(20, 3), 3, exact=False, device="cuda")


@pytest.mark.parametrize("X", [load_digits().data, *HOSTILE.values()], ids=["digits", *HOSTILE])
def test_the_search_on_a_device_gives_the_same_graph(X: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "_DEVICE_BYTES", 1 << 16)  # many chunks
    expected = knn_graph(X, 8)
    if torch.cuda.is_available():
        assert_same(knn_graph(X, 8, device="cuda"), expected)
    prepared = knn._real_array(X)
    for found, other in zip(knn._exact_search(prepared, 8, "cpu"), knn._exact_search(prepared, 8, None), strict=True):
        assert np.array_equal(found, other)


def test_distances_that_a_device_may_round_otherwise_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    X, seen = gaussian(300, 40), list[int]()
    monkeypatch.setattr(knn, "_ROUNDING", 1e-9)
    distances = knn._distances

    def noting(X: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        seen.append(len(rows))
        return distances(X, rows, columns)

    monkeypatch.setattr(knn, "_distances", noting)
    knn._exact_search(X, 5, "cpu")
    assert seen[0] > 0


# ------------------------------------------------------------------------------------------------ approximate search


def test_missing_pynndescent_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynndescent", None)
    with pytest.raises(UserError, match="pip install"):
        knn_graph(gaussian(20, 3), 3, exact=False)


@pytest.fixture(scope="module")  # the tests that use it are slow: pynndescent compiles for half a minute
def approximate() -> sp.csr_matrix:
    pytest.importorskip("pynndescent", reason="needs the extra deepclust[approximate]")
    return knn_graph(digits(), 10, exact=False, random_state=1)


def digits() -> np.ndarray:
    """2,000 samples: the 1,797 digits, some of them again (duplicates), and zero vectors."""
    X = load_digits().data
    return np.vstack([X, X[:150], np.zeros((2000 - 150 - len(X), 64))])


@pytest.mark.slow
@pytest.mark.xdist_group("pynndescent")
def test_approximate_search_finds_most_neighbors(approximate: sp.csr_matrix) -> None:
    X = digits()
    exact = knn_graph(X, 10)
    assert (np.diff(approximate.indptr) == 10).all()
    assert not approximate.diagonal().any()
    assert (approximate.indices.reshape(-1, 10) != np.arange(len(X))[:, None]).all()
    # By distance: which of many identical samples is listed is no matter.
    reach = exact.data.reshape(-1, 10).max(axis=1, keepdims=True)
    recall = (approximate.data.reshape(-1, 10) <= reach).mean()
    assert recall >= 0.95
    i, j = approximate.tocoo().coords
    assert np.array_equal(approximate.data, np.linalg.norm(X[i] - X[j], axis=1).astype(np.float32))


@pytest.mark.slow
@pytest.mark.xdist_group("pynndescent")
def test_approximate_search_of_much_data_looks_at_its_principal_components(
    approximate: sp.csr_matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = (digits() / 16).astype(np.float16)
    write_array(tmp_path / "X.npy", X)
    monkeypatch.setattr(knn, "_PROJECTED_BYTES", 0)
    monkeypatch.setattr(knn, "_COMPONENTS", 30)  # of 64 pixels
    found = knn_graph(read_array(tmp_path / "X.npy", mmap=True), 10, exact=False, random_state=1)
    reach = knn_graph(X, 10).data.reshape(-1, 10).max(axis=1, keepdims=True)
    assert (found.data.reshape(-1, 10) <= reach).mean() >= 0.95
    i, j = found.tocoo().coords
    X64 = X.astype(np.float64)
    assert np.array_equal(found.data, np.linalg.norm(X64[i] - X64[j], axis=1).astype(np.float32))


def test_principal_components_keep_distances_of_data_in_as_many_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    X = (gaussian(300, 5) @ gaussian(5, 40) + 3).astype(np.float32)
    monkeypatch.setattr(knn, "_SAMPLE", 100)
    monkeypatch.setattr(knn, "_COMPONENTS", 5)
    found = knn._principal_components(X)
    assert found.shape == (300, 5)
    np.testing.assert_allclose(pdist(found), pdist(X), rtol=1e-4)


def test_exact_search_of_a_file_is_that_of_the_array(tmp_path: Path) -> None:
    X = gaussian(400, 7).astype(np.float16)
    write_array(tmp_path / "X.npy", X)
    assert_same(knn_graph(read_array(tmp_path / "X.npy", mmap=True), 10), knn_graph(X, 10))
    X[5, 3] = np.inf
    write_array(tmp_path / "X.npy", X)
    with pytest.raises(UserError, match="others in row 5"):
        knn_graph(read_array(tmp_path / "X.npy", mmap=True), 10)


@pytest.mark.slow
@pytest.mark.xdist_group("pynndescent")
def test_approximate_search_is_a_function_of_its_seed(approximate: sp.csr_matrix) -> None:
    state = str(np.random.get_state())  # noqa: NPY002
    again = knn_graph(digits(), 10, exact=False, random_state=1)
    assert str(np.random.get_state()) == state  # noqa: NPY002
    assert_same(again, approximate)


@pytest.mark.xdist_group("pynndescent")  # whose import compiles
def test_approximate_search_of_few_samples_is_exact() -> None:
    pytest.importorskip("pynndescent", reason="needs the extra deepclust[approximate]")
    assert_same(knn_graph(gaussian(50, 3), 10, exact=False), knn_graph(gaussian(50, 3), 10))
