"""k-means on the code of a pretrained autoencoder: the start of most deep methods, and their first baseline."""

from typing import Any, ClassVar

from deepclust.methods._deep import CodeReader
from deepclust.methods._mixtures import KMeansReadout


class AEKMeans(KMeansReadout, CodeReader):
    """k-means on a pretrained autoencoder's code; the network is left as it is."""

    paper: ClassVar[str] = "baseline of DEC (Xie et al. 2016) and of all five papers"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CodeReader._parameter_constraints,
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
