"""Improved Deep Embedded Clustering with local structure preservation (Guo, Gao, Liu and Yin, IJCAI 2017)."""

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from deepclust.methods.self_training._scheme import SelfTraining
from deepclust.settings import Positive, Weight, setting


class IDEC(SelfTraining):
    """Reconstruction error plus `gamma` KL(P || Q); the decoder keeps the code from losing the data.

    The reconstruction is the mean over batch and features of the squared error, the divergence the mean over the
    batch, as in the published code; the paper prints sums for both (Eq. (8)-(9)).

    Difference from the published code: with `normalize` the error is in units of the data's mean square, on all data.
    The published code's MNIST has a mean square of 2.9 and its USPS one of 0.86, so that our divergence weighs 2.9 and
    0.86 times as much. In units of data in [0, 1] it would weigh 26 and 4 times as much.
    """

    paper: ClassVar[str] = "Guo, Gao, Liu and Yin 2017"

    gamma: Weight = setting("weight of KL(P || Q) against the reconstruction error", default=0.1)
    optimizer: Literal["sgd", "adam"] = setting("SGD has momentum 0.9", default="adam")
    learning_rate: Positive = setting("of the optimizer", default=1e-3)

    def _terms(self, x: Tensor, z: Tensor, divergence: Tensor) -> dict[str, Tensor]:
        return {
            "reconstruction": F.mse_loss(self.network_.decode(z), x) / self._unit**2,
            "clustering": self.gamma * divergence,
        }
