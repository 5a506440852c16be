"""Deep Embedded Clustering (Xie, Girshick and Farhadi, ICML 2016)."""

from typing import Any, ClassVar

from torch import Tensor

from deepclust.methods._self_training import SelfTraining


class DEC(SelfTraining):
    """Encoder and centroids trained by KL(P || Q) alone; the decoder is dropped.

    Paper says / we do / because: "SGD, learning rate 0.01" / SGD with momentum 0.9, as its solver had; the
    divergence is summed (Eq. (2)) / averaged over the batch, so that the rate does not depend on its size; data scaled
    to mean square 1 / the code's distances scaled by as much, so that one pretrained network serves all methods.
    """

    paper: ClassVar[str] = "Xie, Girshick and Farhadi 2016"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        alpha: float = 1.0,
        normalize: bool = True,
        update_interval: int | None = 140,
        tolerance: float = 1e-3,
        epochs: int = 50,
        batch_size: int = 256,
        optimizer: str = "sgd",
        learning_rate: float = 0.01,
        n_init: int = 20,
        pretraining: dict[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.alpha = alpha
        self.normalize = normalize
        self.update_interval = update_interval
        self.tolerance = tolerance
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.n_init = n_init
        self.pretraining = pretraining
        self.random_state = random_state
        self.device = device

    def _terms(self, x: Tensor, z: Tensor, divergence: Tensor) -> dict[str, Tensor]:
        return {"clustering": divergence}
