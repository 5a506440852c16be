"""Deep Embedded Clustering (Xie, Girshick and Farhadi, ICML 2016)."""

from typing import ClassVar

from torch import Tensor

from deepclust.methods.self_training._scheme import SelfTraining


class DEC(SelfTraining):
    """Encoder and centroids trained by KL(P || Q) alone; the decoder is dropped.

    Differences from the paper, and why:

    - "SGD, learning rate 0.01": SGD has momentum 0.9, as in the authors' program; the paper gives the rate alone.
    - Eq. (2) sums the divergence: ours is averaged over the batch, so that the rate does not depend on the batch size.
    - The paper's data are scaled to mean square 1: ours are not, but the code's distances are scaled by as much. One
      pretrained network thus serves all methods.
    """

    paper: ClassVar[str] = "Xie, Girshick and Farhadi 2016"

    def _terms(self, x: Tensor, z: Tensor, divergence: Tensor) -> dict[str, Tensor]:
        return {"clustering": divergence}
