"""What methods on an autoencoder's code share: getting the network, encoding, and labelling new samples."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.metrics import pairwise_distances_argmin
from torch import Tensor

from deepclust.errors import NotApplicable, SeedFailed
from deepclust.graph.partition import partition
from deepclust.methods._readouts import neighbour_graph
from deepclust.methods.base import Clusterer
from deepclust.nets.autoencoder import Autoencoder, build
from deepclust.nets.settings import Augmentation
from deepclust.runs import require_ok
from deepclust.seeding import derive_seed
from deepclust.training.augment import augment
from deepclust.training.checkpoint import load_tensors
from deepclust.training.loop import in_chunks
from deepclust.training.pretrain import pretrain, read_settings
from deepclust.training.rows import on_device
from deepclust.training.runtime import Runtime, side_by_side

_LARGEST_GRAPH = 200_000


class DeepClusterer(Clusterer):
    """A method that reads a pretrained autoencoder, or pretrains its own with the settings `pretraining`.

    `pretraining` is a block as in params.yaml's `networks` (None: the paper's d-500-500-2000-10, 50 epochs), merged
    over the method's own `network_settings`.
    """

    network_settings: ClassVar[dict[str, Any]] = {}

    reads: ClassVar[tuple[str, ...]] = ("mlp",)
    libraries: ClassVar[tuple[str, ...]] = (*Clusterer.libraries, "torch")
    not_in_params: ClassVar[tuple[str, ...]] = (*Clusterer.not_in_params, "pretraining")
    network_: Autoencoder

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Clusterer._parameter_constraints,
        "pretraining": [dict, None],
    }

    def _start(self, X: np.ndarray, network: Autoencoder | None) -> Tensor:
        """Set `network_`, a copy of the one given or a new one, and return X on the device in float32."""
        data = on_device(X, self.device)
        self.device_ = data.device.type
        if network is None:
            settings = read_settings(self.network_settings | (self.pretraining or {}))
            network, _ = pretrain(data, settings, seed=derive_seed(self._seed, "pretrain"))
        self.network_ = copy.deepcopy(network).to(data.device)
        return data

    def _encode(self, data: Tensor) -> Tensor:
        codes = in_chunks(self.network_.encode, self.network_, data)
        if not bool(codes.isfinite().all()):  # finite weights can be too large for any code
            raise SeedFailed("the network's code is not finite; lower the learning rate")
        return codes

    def _codes(self, X: np.ndarray) -> np.ndarray:
        codes: np.ndarray = self._encode(on_device(X, self.device_)).cpu().numpy()
        return codes

    def _augmenter(self, wanted: bool) -> Callable[[Tensor, torch.Generator], Tensor]:
        """Return what a batch goes through before it is encoded: random affine maps where `wanted`, else nothing."""
        shape = self.network_.image_shape
        if not wanted:
            return lambda x, _: x
        if shape is None:
            raise NotApplicable("augmentation needs images, and this data set has no image shape")
        return lambda x, generator: augment(x, Augmentation(), generator, shape)

    def _modularity(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Return as `modularity` the labels (N,) of the highest on the graph of 10 nearest neighbours of codes (N, P).

        Beyond `_LARGEST_GRAPH` samples there is none: the exact graph takes a time of N^2.
        """
        if len(codes) < 2:
            return {"modularity": np.zeros(len(codes), dtype=np.int64)}
        if len(codes) > _LARGEST_GRAPH:
            return {}
        graph = neighbour_graph(codes, 10, device=self.device_)
        return {"modularity": partition(graph, self.n_clusters, random_state=self._seed).labels}

    @classmethod
    def read_network(cls, folder: Path) -> Autoencoder:
        """Return one seed's network as the pretrain stage wrote it, or raise what ended that seed's pretraining."""
        return _rebuild(require_ok(folder), load_tensors(folder / "weights.safetensors")[0])

    def _kept(self) -> dict[str, Any]:
        weights = {name: value.cpu().numpy() for name, value in self.network_.state_dict().items()}
        return super()._kept() | {"network_": weights, "architecture": self.network_.facts}

    def _keep(self, fitted: dict[str, Any]) -> None:
        weights = {name: torch.from_numpy(value) for name, value in fitted.pop("network_").items()}
        network = _rebuild(fitted.pop("architecture"), weights)
        super()._keep(fitted)
        if not torch.cuda.is_available():
            self.device_ = "cpu"
        self.network_ = network.to(self.device_)

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, threads: int, precision: str, checkpoints: Path | None = None, progress: bool = False
    ) -> Iterator[None]:
        with Runtime(threads, precision, checkpoints, progress).open():  # type: ignore[arg-type]
            yield

    @classmethod
    def at_once(cls, X: np.ndarray, device: str, n_seeds: int) -> int:
        return side_by_side(X, device, n_seeds)


class CodeReader(DeepClusterer):
    """A method that fits a mixture (a mixin of `_mixtures`) to the code and leaves the network as it is."""

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
        labels: np.ndarray = pairwise_distances_argmin(codes, self.cluster_centers_)
        return labels

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return self._nearest(self._codes(X))


def _rebuild(facts: dict[str, Any], weights: Mapping[str, Tensor]) -> Autoencoder:
    """Return the network of these `Autoencoder.facts` and weights."""
    shape = tuple(facts["image_shape"]) if facts["image_shape"] else None
    network = build(read_settings(facts["settings"]), facts["n_features"], shape, torch.Generator())
    network.load_state_dict(weights)
    return network
