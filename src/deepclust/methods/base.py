"""What every method shares: validation, seeds, the label wall and the read-out of results."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, SupportsIndex

import numpy as np
import psutil
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Integral, Interval, Real, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from deepclust.errors import NotApplicable, UserError
from deepclust.files import read_sparse
from deepclust.mapped import chunks, mapping_of
from deepclust.methods import _saving
from deepclust.runs import versions

# Ranges that settings are declared with, in `_parameter_constraints`
COUNT = [Interval(Integral, 1, None, closed="left")]
WEIGHT = [Interval(Real, 0, None, closed="left")]
POSITIVE = [Interval(Real, 0, None, closed="neither")]
SHARE = [Interval(Real, 0, 1, closed="left")]

_STORED = [np.float16, np.float32, np.float64]  # what an array in a file may hold


def _can_predict(method: "Clusterer") -> bool:
    if method.transductive:
        raise AttributeError(f"{type(method).__name__} cannot label new samples: {method.transductive}")
    return True


class Clusterer(ClusterMixin, BaseEstimator):
    """A scikit-learn clusterer with declared inputs. Subclasses write `_fit` and, where defined, `_predict`.

    `_fit` receives validated X (N, D) and what `reads` names, and sets `labels_` (N,) in [0, K); where the method has
    them also `embedding_` (N, P), `cluster_centers_` (K, P), `trace_` (one dict an epoch), `n_iter_`, `converged_`,
    `network_`, `readouts_` (name -> other labels (N,) read off the same fit, each a row of the tables) and `extras_`
    (name -> array, sparse matrix or table that a figure needs). It never sees y.

    `_predict` reads settings and attributes whose names end in `_`: arrays, dictionaries of arrays, numbers, words and
    `network_`. They are what `save` keeps.
    """

    reads: ClassVar[tuple[str, ...]] = ()  # "graph" and/or a network's name
    paper: ClassVar[str] = ""  # where the algorithm comes from
    transductive: ClassVar[str] = ""  # why there is no `predict`, for methods without one
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "scikit-learn")  # whose versions decide the result
    not_in_params: ClassVar[tuple[str, ...]] = ("n_clusters", "random_state", "device")  # the pipeline sets these

    n_clusters: int
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_clusters": COUNT,
        "random_state": ["random_state"],
        "device": [StrOptions({"auto", "cpu", "cuda"})],
    }

    def fit(self, X: Any, y: Any = None, **inputs: Any) -> Self:
        """Cluster the rows of X (N, D); y is ignored.

        Keyword arguments are those of `reads`: `graph`, a symmetric sparse (N, N) matrix of edge weights, and
        `network`, a pretrained `Autoencoder` (it is copied, not changed). What is left out, `fit` makes itself.

        Raises NotApplicable where a fit would need more memory than is free, before it starts.
        """
        self._validate_params()
        X = self._validated(X)
        accepted = {"graph"} & set(self.reads) | ({"network"} if set(self.reads) - {"graph"} else set())
        if unknown := set(inputs) - accepted:
            raise TypeError(f"{type(self).__name__}.fit takes {sorted(accepted) or 'no inputs'}, got {sorted(unknown)}")
        if len(X) < self.n_clusters:
            raise UserError(f"n_clusters must be in [1, n_samples={len(X)}], got {self.n_clusters}")
        needed, free = self._memory(*X.shape), psutil.virtual_memory().available
        if needed > free:
            raise NotApplicable(
                f"{type(self).__name__} needs some {needed / 2**30:,.0f} GiB of memory for {len(X):,} samples of "
                f"{X.shape[1]:,} features in {self.n_clusters:,} clusters, and {free / 2**30:,.0f} GiB are free; take "
                "fewer samples, or a method that reads them in batches"
            )
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._fit(X, **inputs)
        return self

    @available_if(_can_predict)  # type: ignore[untyped-decorator]
    def predict(self, X: Any) -> np.ndarray:
        """Return the labels (M,) of new samples X (M, D) under the fitted clustering."""
        check_is_fitted(self)
        return self._predict(self._validated(X, reset=False))

    def _validated(self, X: Any, *, reset: bool = True) -> np.ndarray:
        """Return X as a real array (N, D); one in a file (`files.read_array`) stays there."""
        if isinstance(X, np.memmap) and mapping_of(X) is not None and X.ndim == 2 and X.dtype in _STORED:
            check = partial(validate_data, self, dtype=_STORED, order="C")
            check(X[:1], reset=reset)
            for rows in chunks(X):  # the check of all at once would copy them
                check(rows, reset=False)
            return X
        found: np.ndarray = validate_data(self, X, dtype=[np.float64, np.float32], order="C", reset=reset)
        return found

    def _fit(self, X: np.ndarray, **inputs: Any) -> None:
        raise NotImplementedError

    def _predict(self, X: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _memory(self, n_samples: int, n_features: int) -> int:
        """Return the bytes that `_fit` holds beyond X: those that grow faster than a code of a few numbers a sample."""
        return 0

    @classmethod
    def read_graph(cls, folder: Path) -> sp.csr_matrix:
        """Return the edge weights (N, N) written by the graph stage."""
        return read_sparse(folder / "weights.npz")

    def save(self, folder: Path | str) -> None:
        """Write the fitted method into a folder, as `model.json` and `model.safetensors`; `methods.restore` reads them.

        All fitted attributes are kept but `extras_`; a `random_state` that is a generator is not, and becomes None.
        """
        check_is_fitted(self)
        package, _, name = type(self).__module__.rpartition(".")
        if package != "deepclust.methods":
            raise UserError(f"{type(self).__name__} is not a file of deepclust.methods, where restore looks; add one")
        parameters = self.get_params(deep=False)
        if not isinstance(self.random_state, SupportsIndex):
            parameters["random_state"] = None
        facts = {"method": name, "class": type(self).__name__, "parameters": parameters}
        _saving.write(Path(folder), facts | {"versions": versions(*self.libraries)}, self._kept())

    def _kept(self) -> dict[str, Any]:
        """Return the fitted attributes that `save` writes: arrays, dictionaries of arrays, or what JSON holds."""
        return {name: value for name, value in vars(self).items() if name.endswith("_") and name != "extras_"}

    def _keep(self, fitted: dict[str, Any]) -> None:
        """Set the attributes that `_kept` returned."""
        if "feature_names_in_" in fitted:
            fitted["feature_names_in_"] = np.array(fitted["feature_names_in_"], dtype=object)
        for name, value in fitted.items():
            setattr(self, name, value)

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, threads: int, precision: str, checkpoints: Path | None = None, progress: bool = False
    ) -> Iterator[None]:
        """Fix what results depend on beside the settings, while a stage fits this method.

        BLAS keeps `threads`; OpenMP loops get one, since scikit-learn adds its threads' sums in order of arrival.
        """
        with threadpool_limits({"openmp": 1, "blas": threads}):
            yield

    @classmethod
    def at_once(cls, X: np.ndarray, device: str, n_seeds: int) -> int:
        """Return how many seeds a stage fits side by side, each in a thread."""
        return 1
