"""The part that every method shares: validation, seeds, the label wall and the read-out of results."""

import math
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Self, SupportsIndex

import numpy as np
import psutil
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.graph.adjacency import edge_weights
from deepclust.methods import _saving
from deepclust.methods._samples import read_samples
from deepclust.settings import Count, Device, Natural, Settings, as_plain, checked, setting


def _can_predict(method: "Clusterer") -> bool:
    if method.why_no_predict:
        raise AttributeError(f"{type(method).__name__} cannot label new samples: {method.why_no_predict}")
    return True


def _is_soft(method: "Clusterer") -> bool:
    if not hasattr(method, "_predict_proba"):
        raise AttributeError(f"{type(method).__name__} defines no soft assignments")
    return True


class Clusterer(ClusterMixin, BaseEstimator, Settings):
    """A scikit-learn clusterer with declared settings and inputs; subclasses write `_fit` and, if defined, `_predict`.

    `_fit` receives validated X (N, D), CSR where the class declares that it keeps a sparse one, and the inputs that the
    class declares, and never sees y. `_fit` sets `labels_` (N,) in [0, K) and, where the method has them, `embedding_`
    (N, P), `cluster_centers_` (K, P), `trace_` (a dict an epoch), `n_iter_`, `converged_`, `network_`, `readouts_`
    (name -> other labels (N,) read off the same fit, each a row of the tables) and `extras_` (name -> array, sparse
    matrix or table that a figure needs).

    `_predict_proba`, where the paper defines soft assignments, returns them (M, K) for new samples; rows sum to 1. Like
    `_predict` it reads settings and attributes whose names end in `_`: arrays, dictionaries of arrays, numbers, words
    and `network_`. These attributes are what `save` keeps.
    """

    reads_graph: ClassVar[bool] = False  # whether `fit` takes a graph
    needs_samples: ClassVar[bool] = True  # whether `fit` reads X where a graph is handed in
    default_network: ClassVar[str] = ""  # the file of nets/ whose network `fit` takes; empty for methods without one
    paper: ClassVar[str] = ""  # where the algorithm comes from
    why_no_predict: ClassVar[str] = ""  # for methods that cannot label new samples
    sparse_samples: ClassVar[str] = "refused"  # what becomes of a sparse X: refused, kept or made dense
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "scikit-learn")  # whose versions decide the result
    not_in_params: ClassVar[tuple[str, ...]] = ("n_clusters", "random_state", "device", "verbose")  # the pipeline's

    n_clusters: Count = setting("K, the number of clusters", default=8, kw_only=False)
    random_state: Any = setting("seed, RandomState or None, as in scikit-learn", default=None)
    device: Device = setting("auto: CUDA where there is one, else the CPU; cpu, cuda, cuda:N, mps", default="auto")
    verbose: bool | Natural = setting("show a bar on stderr for every phase of training", default=False)

    def fit(self, X: Any, y: Any = None, **inputs: Any) -> Self:
        """Cluster the rows of X (N, D), dense, or sparse where `sparse_samples` says so; y is ignored.

        A method takes as keywords what it declares: `graph`, a symmetric (N, N) matrix of edge weights > 0, 0 for no
        edge, sparse in any format of SciPy's or dense, and `network`, a pretrained `Autoencoder` for rows of D
        features. Neither is changed. The method makes what is left out or None. Where a graph is all that the method
        reads (`needs_samples`), X may be of shape (N, 0).

        Raises UserError for a setting out of its range, a graph or a network that is none or not of this X, and
        NotApplicable where a fit would need more memory than is free, before it starts, or features that X lacks.
        """
        for name, value in self.get_params(deep=False).items():
            try:
                checked(type(self), name, value)
            except UserError as error:
                raise UserError(f"{type(self).__name__}: {error}") from None
        min_features = int(self.needs_samples or inputs.get("graph") is None)
        X = self._validated(X, min_features=min_features)
        n_stored = X.shape[1] if isinstance(X, np.ndarray) else -(-X.nnz // X.shape[0])
        n_samples, n_features = X.shape
        accepted = {name for name, taken in (("graph", self.reads_graph), ("network", self.default_network)) if taken}
        if unknown := set(inputs) - accepted:
            raise TypeError(f"{type(self).__name__}.fit takes {sorted(accepted) or 'no inputs'}, got {sorted(unknown)}")
        if inputs.get("graph") is not None:
            inputs["graph"] = self._checked_graph(inputs["graph"], n_samples)
        if inputs.get("network") is not None:
            self._check_network(inputs["network"], n_features)
        if n_samples < self.n_clusters:
            raise UserError(f"n_clusters must be in [1, n_samples={n_samples}], got {self.n_clusters}")
        self._require(self._memory(n_samples, n_stored), X.shape)
        try:
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        except ValueError:
            raise UserError(
                f"random_state must be an integer in [0, 2^32), a NumPy RandomState or None, got {self.random_state!r}"
            ) from None
        with self._guard():
            self._fit(X, **inputs)
        self._check_labels(n_samples)
        self._check_embedding(n_samples)
        return self

    @available_if(_can_predict)  # type: ignore[untyped-decorator]
    def predict(self, X: Any) -> np.ndarray:
        """Return the labels (M,) of new samples X (M, D) under the fitted clustering."""
        check_is_fitted(self)
        return self._predict(self._validated(X, reset=False))

    @available_if(_is_soft)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the soft assignments (M, K) of new samples X (M, D) to the clusters; rows sum to 1."""
        check_is_fitted(self)
        found: np.ndarray = self._predict_proba(self._validated(X, reset=False))
        return found

    def _check_labels(self, n_samples: int) -> None:
        """Raise UserError where `_fit` left labels or read-outs that are none: a fault of the method."""
        readouts = {f"readouts_[{name!r}]": found for name, found in getattr(self, "readouts_", {}).items()}
        for name, found in {"labels_": getattr(self, "labels_", None), **readouts}.items():
            labels = np.asarray(found)
            if labels.shape != (n_samples,) or labels.dtype.kind not in "iu":
                raise UserError(
                    f"{type(self).__name__} must set {name} to integers of shape ({n_samples},), got {labels.dtype} of "
                    f"shape {labels.shape}"
                )
        low, high = np.min(self.labels_), np.max(self.labels_)
        if not 0 <= low <= high < self.n_clusters:
            raise UserError(
                f"{type(self).__name__} must set labels_ in [0, K={self.n_clusters}), got {low} to {high}; labels of "
                "another number of clusters are a read-out"
            )
        if odd := [name for name in getattr(self, "readouts_", {}) if not re.fullmatch(r"\w+", name)]:
            raise UserError(f"{type(self).__name__} has the read-out {odd[0]!r}; name it with letters, digits and _")

    def _check_embedding(self, n_samples: int) -> None:
        """Raise UserError where `_fit` left an embedding that is none, and SeedFailed where it is not finite."""
        found = np.asarray(getattr(self, "embedding_", np.empty((n_samples, 0))))
        if found.ndim != 2 or len(found) != n_samples or found.dtype.kind != "f":
            raise UserError(
                f"{type(self).__name__} must set embedding_ to floats of shape ({n_samples}, P), got {found.dtype} of "
                f"shape {found.shape}"
            )
        if n_bad := int((~np.isfinite(found).all(axis=1)).sum()):
            raise SeedFailed(f"the embedding is not finite in {n_bad} of {n_samples} rows")

    def _require(self, n_bytes: int, shape: tuple[int, int]) -> None:
        """Raise NotApplicable where there is less memory than X of this shape needs."""
        free = psutil.virtual_memory().available
        if n_bytes > free:
            raise NotApplicable(
                f"{type(self).__name__} needs some {n_bytes / 2**30:,.0f} GiB of memory for {shape[0]:,} samples of "
                f"{shape[1]:,} features in {self.n_clusters:,} clusters, and {free / 2**30:,.0f} GiB are free; take "
                "fewer samples, or a method that reads them in batches"
            )

    def _validated(self, X: Any, *, reset: bool = True, min_features: int = 1) -> Any:
        """Return X as `read_samples` does, and a sparse one as an array where the method wants that and has room."""
        found = read_samples(self, X, reset=reset, min_features=min_features)
        if isinstance(found, np.ndarray) or self.sparse_samples != "made dense":
            return found
        self._require(found.dtype.itemsize * math.prod(found.shape), found.shape)
        return found.toarray()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.sparse_samples != "refused"
        return tags

    def _checked_graph(self, graph: Any, n_samples: int) -> sp.csr_matrix:
        """Return the edge weights of a graph of so many nodes that has edges, or raise UserError."""
        W = edge_weights(graph, n_samples)
        if not W.nnz:
            raise UserError("graph must have an edge, got none; leave it out, and fit makes one of nearest neighbours")
        return W

    def _check_network(self, network: Any, n_features: int) -> None:
        """Raise UserError for what is no network for rows of so many features."""
        raise NotImplementedError

    def _guard(self) -> AbstractContextManager[None]:
        """Return what `_fit` runs in."""
        return nullcontext()

    def _fit(self, X: np.ndarray, **inputs: Any) -> None:
        raise NotImplementedError

    def _predict(self, X: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _memory(self, n_samples: int, n_features: int) -> int:
        """Return the bytes that `_fit` holds beyond X: those that grow faster than a code of a few numbers a sample."""
        return 0

    def save(self, folder: Path | str) -> None:
        """Write the fitted method into a folder, as `model.json` and `model.safetensors`; `methods.restore` reads them.

        All fitted attributes are kept but `extras_`; a `random_state` that is a generator is not, and becomes None.
        """
        check_is_fitted(self)
        package, _, name = type(self).__module__.rpartition(".")
        if not package.startswith("deepclust.methods."):
            raise UserError(f"{type(self).__name__} is not a file of deepclust.methods, where restore looks; add one")
        parameters = {name: as_plain(value) for name, value in self.get_params(deep=False).items()}
        if not isinstance(self.random_state, SupportsIndex):
            parameters["random_state"] = None
        facts = {"method": name, "class": type(self).__name__, "parameters": parameters}
        _saving.write(Path(folder), facts | {"versions": _saving.versions(*self.libraries)}, self._state())

    def _state(self) -> dict[str, Any]:
        """Return the fitted attributes that `save` writes: arrays, dictionaries of arrays, or what JSON holds."""
        return {name: value for name, value in vars(self).items() if name.endswith("_") and name != "extras_"}

    def _restore(self, fitted: dict[str, Any]) -> None:
        """Set the attributes that `_state` returned."""
        if "feature_names_in_" in fitted:
            fitted["feature_names_in_"] = np.array(fitted["feature_names_in_"], dtype=object)
        for name, value in fitted.items():
            setattr(self, name, value)
