"""The network of ULHE-DC: pretraining draws its codes to the unit sphere."""

from torch import Tensor

from deepclust.losses.hypersphere import norm_penalty
from deepclust.nets.mlp import MLP
from deepclust.settings import Weight, setting


class Sphere(MLP):
    """Fully connected d-500-500-2000-P whose pretraining also minimises the mean over samples of (||f(x)|| - 1)^2.

    `norm_weight` weighs it against ||x - g(f(x))||^2 summed over features (ULHE-DC, Eq. (1)-(3)); both are divided by
    D, as the reconstruction error is a mean over features.
    """

    norm_weight: Weight = setting("of mean (||z|| - 1)^2 against ||x - x'||^2", default=1.0)

    def losses(self, x: Tensor, z: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        norm = self.norm_weight / x.shape[1] * norm_penalty(z)
        return super().losses(x, z, reconstruction) | {"norm": norm}
