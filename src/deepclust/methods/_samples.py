"""The samples that a method reads: X as it is meant, checked, and never changed."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from sklearn import config_context
from sklearn.utils.validation import validate_data

from deepclust.errors import NotApplicable, UserError, refuse_masked
from deepclust.mapped import chunks, mapping_of

if TYPE_CHECKING:
    from deepclust.methods.base import Clusterer

_STORED = [np.float16, np.float32, np.float64]  # what an array in a file may hold
_LARGEST = 1e100  # of an entry of X, and its inverse for all of X: squares then fit float64 with digits to spare


def read_samples(method: "Clusterer", X: Any, *, reset: bool, min_features: int) -> np.ndarray | sp.csr_matrix:
    """Return X as a real array (N, D), or a sparse X as canonical CSR.

    X itself stays as it is, and in its file if it is in one (`files.read_array`): what has to be put in order is copied
    before. `reset` notes the number and names of features on the method, as scikit-learn's `validate_data` does;
    otherwise X must have those.

    Raises
    ------
    UserError
        For masked entries, whose values NumPy would bring back, a sparse X that the method does not take, and entries
        that are too large, or all too small, to be squared.
    NotApplicable
        For an X without features where the method reads them.
    ValueError
        By scikit-learn: text, NaN and what else cannot be samples.
    """
    shape: tuple[int, ...] = getattr(X, "shape", ())
    if len(shape) == 2 and shape[1] < min_features:
        raise NotApplicable(
            f"{type(method).__name__} reads samples, got 0 feature(s) (shape={shape}) while a minimum of 1 is "
            "required; for nodes of a graph take a method that cuts graphs"
        )
    if sp.issparse(X) and method.sparse_samples == "refused":
        raise UserError(f"{type(method).__name__} reads dense samples alone, got sparse ones; hand in X.toarray()")
    refuse_masked("X", X)
    with config_context(assume_finite=False):  # whatever the environment's SKLEARN_ASSUME_FINITE says
        in_file = isinstance(X, np.memmap) and mapping_of(X) is not None and X.ndim == 2 and X.dtype in _STORED
        if in_file and min(X.strides) >= 0:  # torch reads no reversed rows
            check = partial(validate_data, method, dtype=_STORED, order="C")
            check(X[:1], reset=reset)
            largest = max(_largest(check(rows, reset=False)) for rows in chunks(X))  # all at once would be a copy
            found = X
        else:
            found = validate_data(
                method,
                X,
                dtype=[np.float64, np.float32],
                order="C",
                reset=reset,
                accept_sparse="csr",
                ensure_min_features=min_features,
            )
            largest = _largest(found)
    if largest > _LARGEST or (reset and 0 < largest < 1 / _LARGEST):
        raise UserError(f"X must have entries of about 1, and none beyond 1e100, got {largest:g}; rescale it")
    return found if isinstance(found, np.ndarray) else _canonical(found)


def _largest(X: Any) -> float:
    """Return the largest of the absolute values of X, without a copy of it."""
    values = X if isinstance(X, np.ndarray) else X.data  # SciPy's max would sum duplicates within X
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def _canonical(X: Any) -> sp.csr_matrix:
    """Return a CSR of sorted entries without duplicates, which shares the arrays of X where these are so."""
    found = sp.csr_matrix((X.data, X.indices, X.indptr), shape=X.shape)
    if not found.has_canonical_format:
        found = found.copy()
        found.sum_duplicates()
    return found
