"""A method reads X, value by value, and leaves X as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from deepclust.consensus import consensus
from deepclust.errors import UserError
from deepclust.files import read_array, write_array
from deepclust.graph.adjacency import edge_weights
from deepclust.methods._samples import read_samples
from deepclust.methods.baselines.kmeans import KMeans
from deepclust.methods.graph.ac_gdl import ACGDL
from deepclust.metrics import accuracy
from deepclust.selection import suggest_n_clusters

DENSE = np.random.default_rng(0).integers(0, 9, size=(12, 5)).astype(np.float64)


def read(X: Any) -> Any:
    return read_samples(KMeans(), X, reset=True, min_features=1)


def frozen(X: Any) -> Any:
    """Return a sparse X whose arrays cannot be written."""
    for array in (X.data, X.indices, X.indptr):
        array.flags.writeable = False
    return X


def shuffled() -> sp.csr_array:
    """Return DENSE as CSR with the entries of every row in descending order, the first row's twice and halved."""
    found = sp.csr_array(DENSE)
    for start, end in zip(found.indptr[:-1], found.indptr[1:], strict=True):
        found.indices[start:end], found.data[start:end] = found.indices[start:end][::-1], found.data[start:end][::-1]
    n = found.indptr[1]
    data, indices = (np.concatenate([part[:n], part]) for part in (found.data, found.indices))
    data[: 2 * n] /= 2
    return sp.csr_array((data, indices, np.concatenate([[0], found.indptr[1:] + n])), shape=DENSE.shape)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("order", ["C", "F"])
def test_dense_samples_are_read_value_by_value(kind: Any, order: Any) -> None:
    X = np.asarray(DENSE.astype(kind), order=order)
    found = read(X)
    np.testing.assert_array_equal(found, X)
    assert found.dtype == (np.float32 if kind == np.float32 else np.float64)
    assert found.flags.c_contiguous


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_matrix, sp.coo_array, sp.lil_array])
def test_sparse_samples_become_canonical_and_stay_as_they_are(kind: Any) -> None:
    found = read(kind(DENSE))
    assert found.has_canonical_format
    np.testing.assert_array_equal(found.toarray(), DENSE)


@pytest.mark.parametrize("method", [KMeans, ACGDL])  # one keeps sparse samples, the other makes them dense
def test_entries_of_a_sparse_x_stay_where_they_are(method: Any) -> None:
    X = frozen(shuffled())
    before = [array.copy() for array in (X.data, X.indices, X.indptr)]
    expected = method(3, random_state=0).fit_predict(DENSE)
    np.testing.assert_array_equal(method(3, random_state=0).fit_predict(X), expected)
    for array, kept in zip((X.data, X.indices, X.indptr), before, strict=True):
        np.testing.assert_array_equal(array, kept)
    assert not X.has_sorted_indices


def test_reversed_rows_of_a_file_are_read(tmp_path: Path) -> None:
    write_array(tmp_path / "X.npy", DENSE)
    X = read_array(tmp_path / "X.npy", mmap=True)
    assert read(X) is X
    for reversed_view in (X[::-1], X[:, ::-1]):
        found = read(reversed_view)
        assert min(found.strides) > 0
        np.testing.assert_array_equal(found, reversed_view)


def test_masked_entries_are_refused_wherever_they_come() -> None:
    masked = np.ma.masked_equal([0, 0, -9, 1], -9)
    square = np.ma.masked_equal(np.ones((4, 4)) - np.eye(4) - 9 * (np.arange(4) == 2), -9)
    calls: dict[str, Callable[[], Any]] = {
        "labels": lambda: accuracy([0, 0, 1, 1], masked),
        "labelings": lambda: consensus([[0, 0, 1, 1], masked]),
        "graph": lambda: edge_weights(np.ma.masked_less(np.ones((4, 4)), 2), 4),
        "X": lambda: suggest_n_clusters(square),
    }
    for name, call in calls.items():
        with pytest.raises(UserError, match=rf"^{name} must have no masked entries, got \d+; fill them or drop"):
            call()


@pytest.mark.parametrize("state", [np.random.default_rng(0), "0", -1, 2**32])
def test_a_random_state_that_is_none_is_refused(state: Any) -> None:
    with pytest.raises(UserError, match=r"^random_state must be an integer in \[0, 2\^32\), a NumPy RandomSt"):
        KMeans(2, random_state=state).fit(DENSE)


def test_canonical_samples_are_not_copied() -> None:
    X = frozen(sp.csr_array(DENSE))
    assert np.shares_memory(read(X).data, X.data)


def test_masked_entries_are_refused_and_an_empty_mask_is_none() -> None:
    X = np.ma.masked_less(DENSE, 2)
    with pytest.raises(UserError, match=rf"^X must have no masked entries, got {(DENSE < 2).sum()}; fill them or drop"):
        KMeans(2).fit(X)
    np.testing.assert_array_equal(read(np.ma.masked_less(DENSE, -1)), DENSE)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_samples_whose_squares_do_not_fit_are_refused(make: Any) -> None:
    for scale in (1e101, 1e-102):
        with pytest.raises(UserError, match=r"^X must have entries of about 1, and none beyond 1e100, got .*rescale"):
            read(make(scale * DENSE))
