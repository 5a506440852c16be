"""Improved Deep Embedded Clustering with local structure preservation (Guo, Gao, Liu and Yin, IJCAI 2017)."""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from deepclust.methods._self_training import SelfTraining
from deepclust.methods.base import WEIGHT


class IDEC(SelfTraining):
    """Reconstruction error plus `gamma` KL(P || Q); the decoder keeps the code from losing the data.

    The reconstruction is the mean over batch and features of the squared error, the divergence the mean over the
    batch, which is the balance of the published code; the paper prints sums for both (Eq. (8)-(9)).
    """

    paper: ClassVar[str] = "Guo, Gao, Liu and Yin 2017"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SelfTraining._parameter_constraints,
        "gamma": WEIGHT,
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        gamma: float = 0.1,
        alpha: float = 1.0,
        normalize: bool = True,
        update_interval: int | None = 140,
        tolerance: float = 1e-3,
        epochs: int = 50,
        batch_size: int = 256,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        n_init: int = 20,
        pretraining: dict[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.gamma = gamma
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
        return {
            "reconstruction": F.mse_loss(self.network_.decode(z), x),
            "clustering": self.gamma * divergence,
        }
