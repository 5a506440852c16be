"""Shared code of methods on an autoencoder's code: getting the network, encoding, and labelling new samples."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from deepclust import nets
from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.graph.partition import partition
from deepclust.methods._flat_clustering import nearest_center
from deepclust.methods._graph_cuts import neighbour_graph
from deepclust.methods.base import Clusterer
from deepclust.nets._augmentation import augment
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.settings import Augmentation, Augmenting, LengthOrZero, setting
from deepclust.training.loop import Terms, failing_the_seed, in_chunks, train
from deepclust.training.pretrain import pretrain
from deepclust.training.rows import on_device
from deepclust.training.runtime import progress, resolve_device

_LARGEST_GRAPH = 200_000


class DeepClusterer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Clusterer):
    """A method that reads a pretrained autoencoder, or pretrains its own with the settings `pretraining`.

    `transform` gives the code of new samples, as scikit-learn's transformers do.

    `pretraining` holds settings as under `networks` in params.yaml. The key `network` names the network, by default the
    method's own; rows of X have no image shape, so that the default for a method on images is `mlp`. None stands for
    the network as its file declares it.
    """

    default_network: ClassVar[str] = "mlp"
    rows_encoded: ClassVar[int] = 4096  # at a time
    sparse_samples: ClassVar[str] = "made dense"  # as the other layers are anyway
    libraries: ClassVar[tuple[str, ...]] = (*Clusterer.libraries, "torch")
    not_in_params: ClassVar[tuple[str, ...]] = (*Clusterer.not_in_params, "pretraining")

    pretraining: dict[str, Any] | None = setting("of the network that `fit` pretrains if given none", default=None)

    def _check_network(self, network: Any, n_features: int) -> None:
        if not isinstance(network, Autoencoder):
            raise UserError(
                "network must be an Autoencoder, as `pretrain` returns it or a fitted method has it in `network_`, "
                f"got {type(network).__name__}; leave it out, and fit pretrains one"
            )
        if (found := network.facts["n_features"]) != n_features:
            raise UserError(
                f"network must take rows of {n_features} features, as X has, got one for {found}; pretrain one on "
                "this X, or leave it out"
            )

    @contextmanager
    def _guard(self) -> Iterator[None]:
        with failing_the_seed(type(self).__name__), progress() if self.verbose else nullcontext():
            try:
                yield
            except TypeError as error:
                if "MPS" not in str(error):
                    raise
                raise UserError(
                    f"{type(self).__name__} computes in float64, which torch does not have on mps; use device='cpu'"
                ) from error

    def transform(self, X: Any) -> np.ndarray:
        """Return the code (M, P) of new samples X (M, D), in float32; that of the fit's samples is `embedding_`.

        The network computes in float64: a sample's code does not depend on the samples beside it.
        """
        check_is_fitted(self)
        return self._transform(self._validated(X, reset=False)).astype(np.float32)

    def _transform(self, X: np.ndarray) -> np.ndarray:
        return self._exact_codes(X)

    def _exact_codes(self, X: np.ndarray) -> np.ndarray:
        """Return the codes (M, P) computed in float64, from samples in float32 as in the fit."""
        device = "cpu" if self.device_ == "mps" else self.device_
        network = copy.deepcopy(self.network_).to(device, torch.float64)
        data, size = on_device(X, device), self.rows_encoded
        found: np.ndarray = in_chunks(lambda x: network.encode(x.double()), network, data, size=size).cpu().numpy()
        return found

    @property
    def _n_features_out(self) -> int:
        return int(self.embedding_.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # codes are in float32
        return tags

    def _start(self, X: np.ndarray, network: Autoencoder | None) -> Tensor:
        """Set `network_`, a copy of the given network or a new one, and return X on the device in float32."""
        data = on_device(X, self.device)
        self.device_ = str(resolve_device(self.device))
        if network is None:
            own = "mlp" if nets.load(self.default_network).needs_images else self.default_network
            given = {"network": own} | (self.pretraining or {})
            settings = nets.make(given.pop("network"), given)
            network, _ = pretrain(data, settings, seed=derive_seed(self._seed, "pretrain"))
        self.network_: Autoencoder = copy.deepcopy(network).to(data.device, torch.float32)
        return data

    def _learn(
        self: Any,
        state: nn.Module,
        data: Tensor,
        terms: Terms,
        optimizer: torch.optim.Optimizer,
        *,
        epochs: LengthOrZero | None = None,
        **more: Any,
    ) -> None:
        """Train `state` by the settings `epochs` and `batch_size`, and set `trace_`, `n_iter_` and `converged_`.

        `epochs` is another length than the setting's; `more` is for `train`: `subset`, `refresh`, `steps`. Without a
        refresh there is no stop rule, and `converged_` is True.
        """
        outcome = train(
            state,
            data,
            terms,
            optimizer=optimizer,
            epochs=self.epochs if epochs is None else epochs,
            batch_size=self.batch_size,
            seed=derive_seed(self._seed, "batches"),
            phase="cluster",
            **more,
        )
        self.trace_, self.n_iter_ = outcome.trace, outcome.n_iter
        self.converged_ = outcome.converged or "refresh" not in more

    def _encode(self, data: Tensor) -> Tensor:
        codes = in_chunks(self.network_.encode, self.network_, data, size=self.rows_encoded)
        if not bool(codes.isfinite().all()):  # finite weights can be too large for any code
            raise SeedFailed("the network's code is not finite; lower the learning rate")
        return codes

    def _codes(self, X: np.ndarray) -> np.ndarray:
        codes: np.ndarray = self._encode(on_device(X, self.device_)).cpu().numpy()
        return codes

    def _augmenter(
        self, wanted: Augmenting | None, usual: Augmentation | None = None
    ) -> Callable[[Tensor, torch.Generator], Tensor]:
        """Return the map of a batch before it is encoded: random affine maps if `wanted`, else the identity.

        None wants them of images, and of nothing else. `usual` are those of a plain True or None.
        """
        shape = self.network_.image_shape
        if wanted is False or (wanted is None and shape is None):
            return lambda x, _: x
        if shape is None:
            raise NotApplicable("augmentation needs images, and this data set has no image shape; leave `augment` out")
        plain = isinstance(wanted, bool | None)
        settings = usual or Augmentation() if plain else Augmentation.model_validate(wanted)
        return lambda x, generator: augment(x, settings, generator, shape)

    def _modularity(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Return, as `modularity`, the labels (N,) of highest modularity on the 10-neighbour graph of codes (N, P).

        Beyond `_LARGEST_GRAPH` samples nothing is returned: the exact graph takes time in proportion to N^2.
        """
        if len(codes) < 2:
            return {"modularity": np.zeros(len(codes), dtype=np.int64)}
        if len(codes) > _LARGEST_GRAPH:
            return {}
        graph = neighbour_graph(codes, 10, device=self.device_)
        return {"modularity": partition(graph, self.n_clusters, random_state=self._seed).labels}

    def _state(self) -> dict[str, Any]:
        weights = {name: value.cpu().numpy() for name, value in self.network_.state_dict().items()}
        return super()._state() | {"network_": weights, "architecture": self.network_.facts}

    def _restore(self, fitted: dict[str, Any]) -> None:
        weights = {name: torch.from_numpy(value) for name, value in fitted.pop("network_").items()}
        network = nets.rebuild(fitted.pop("architecture"), weights)
        super()._restore(fitted)
        try:
            resolve_device(self.device_)
        except UserError:  # fitted on another machine
            self.device_ = "cpu"
        self.network_ = network.to(self.device_)


class CodeReader(DeepClusterer):
    """A method that fits a mixture (a mixin of `_flat_clustering`) to the code and leaves the network as it is."""

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        self.embedding_ = self._encode(self._start(X, network)).cpu().numpy()
        self._cluster(self.embedding_)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        labels: np.ndarray = self._assign(self._codes(X))
        return labels


class CentroidClusterer(DeepClusterer):
    """A method whose clusters are those nearest to centroids `cluster_centers_` (K, P) of the code."""

    def _nearest(self, codes: np.ndarray) -> np.ndarray:
        """Return the labels (N,) of codes (N, P)."""
        return nearest_center(codes, self.cluster_centers_)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return self._nearest(self._codes(X))
