"""Shared code of methods on an autoencoder's code: getting the network, encoding, and labelling new samples."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from deepclust import nets
from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.graph.partition import partition
from deepclust.methods._flat_clustering import nearest_center
from deepclust.methods._graph_cuts import neighbour_graph
from deepclust.methods.base import Clusterer
from deepclust.nets._augmentation import augment
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.settings import Augmentation, Augmenting, setting
from deepclust.training.loop import failing_the_seed, in_chunks
from deepclust.training.pretrain import pretrain
from deepclust.training.rows import on_device

_LARGEST_GRAPH = 200_000


class DeepClusterer(Clusterer):
    """A method that reads a pretrained autoencoder, or pretrains its own with the settings `pretraining`.

    `pretraining` holds settings as under `networks` in params.yaml. The key `network` names the network, by default the
    method's own; rows of X have no image shape, so that the default for a method on images is `mlp`. None stands for
    the network as its file declares it.
    """

    default_network: ClassVar[str] = "mlp"
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

    def _guard(self) -> AbstractContextManager[None]:
        return failing_the_seed(type(self).__name__)

    def _start(self, X: np.ndarray, network: Autoencoder | None) -> Tensor:
        """Set `network_`, a copy of the given network or a new one, and return X on the device in float32."""
        data = on_device(X, self.device)
        self.device_ = data.device.type
        if network is None:
            own = "mlp" if nets.load(self.default_network).needs_images else self.default_network
            given = {"network": own} | (self.pretraining or {})
            settings = nets.make(given.pop("network"), given)
            network, _ = pretrain(data, settings, seed=derive_seed(self._seed, "pretrain"))
        self.network_: Autoencoder = copy.deepcopy(network).to(data.device, torch.float32)
        return data

    def _encode(self, data: Tensor) -> Tensor:
        codes = in_chunks(self.network_.encode, self.network_, data)
        if not bool(codes.isfinite().all()):  # finite weights can be too large for any code
            raise SeedFailed("the network's code is not finite; lower the learning rate")
        return codes

    def _codes(self, X: np.ndarray) -> np.ndarray:
        codes: np.ndarray = self._encode(on_device(X, self.device_)).cpu().numpy()
        return codes

    def _augmenter(self, wanted: Augmenting) -> Callable[[Tensor, torch.Generator], Tensor]:
        """Return the map of a batch before it is encoded: random affine maps if `wanted`, else the identity."""
        shape = self.network_.image_shape
        if wanted is False:
            return lambda x, _: x
        if shape is None:
            raise NotApplicable("augmentation needs images, and this data set has no image shape")
        settings = Augmentation() if wanted is True else Augmentation.model_validate(wanted)
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
        if not torch.cuda.is_available():
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
