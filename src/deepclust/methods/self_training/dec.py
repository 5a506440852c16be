"""Deep Embedded Clustering (Xie, Girshick and Farhadi, ICML 2016)."""

from typing import ClassVar

from torch import Tensor

from deepclust.methods.self_training._scheme import SelfTraining


class DEC(SelfTraining):
    """Encoder and centroids trained by KL(P || Q) alone; the decoder is dropped.

    Paper says / we do / because: "SGD, learning rate 0.01" / SGD with momentum 0.9, as its solver had; the
    divergence is summed (Eq. (2)) / averaged over the batch, so that the rate does not depend on its size; data scaled
    to mean square 1 / the code's distances scaled by as much, so that one pretrained network serves all methods.
    """

    paper: ClassVar[str] = "Xie, Girshick and Farhadi 2016"

    def _terms(self, x: Tensor, z: Tensor, divergence: Tensor) -> dict[str, Tensor]:
        return {"clustering": divergence}
