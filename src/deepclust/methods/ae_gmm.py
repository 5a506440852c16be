"""Gaussian mixture on the code of a pretrained autoencoder."""

from typing import Any, ClassVar

from deepclust.methods._deep import CodeReader
from deepclust.methods._mixtures import GMMReadout


class AEGMM(GMMReadout, CodeReader):
    """Gaussian mixture on a pretrained autoencoder's code; the network is left as it is."""

    paper: ClassVar[str] = "baseline of DC-GMM (deepcluster_admm, Table 2)"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CodeReader._parameter_constraints,
        **GMMReadout.readout_constraints,
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        covariance: str = "full",
        regularization: float = 1e-6,
        n_init: int = 5,
        pretraining: dict[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.covariance = covariance
        self.regularization = regularization
        self.n_init = n_init
        self.pretraining = pretraining
        self.random_state = random_state
        self.device = device

    def _memory(self, n_samples: int, n_features: int) -> int:
        return 24 * n_samples * self.n_clusters  # responsibilities in float64, their logarithms, and a copy
