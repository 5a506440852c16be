"""k-means on the code of a pretrained autoencoder: the start of most deep methods, and their first baseline."""

from typing import Any, ClassVar

import numpy as np

from deepclust.methods._deep import DeepClusterer
from deepclust.methods._mixtures import KMeansReadout
from deepclust.nets.autoencoder import Autoencoder


class AEKMeans(KMeansReadout, DeepClusterer):
    """k-means on a pretrained autoencoder's code; the network is left as it is."""

    paper: ClassVar[str] = "baseline of DEC (Xie et al. 2016) and of all five papers"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DeepClusterer._parameter_constraints,
        **KMeansReadout.readout_constraints,
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_init: int = 20,
        pretraining: dict[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.pretraining = pretraining
        self.random_state = random_state
        self.device = device

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        self.embedding_ = self._encode(data).cpu().numpy()
        self._cluster(self.embedding_)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return self._assign(self._codes(X))
