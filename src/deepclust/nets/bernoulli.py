"""VaDE's network: fully connected, with an output that is a distribution's mean: Bernoulli's for images."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepclust.errors import NotApplicable
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets.base import ImageShape, Network, Phase, Through
from deepclust.nets.mlp import MLP
from deepclust.settings import setting


class Bernoulli(MLP):
    """Fully connected d-500-500-2000-P whose reconstruction is a distribution's mean (VaDE, Section 3).

    `sigmoid`: a Bernoulli distribution for every feature of data in [0, 1]. A sigmoid stands after the reconstruction
    alone, and pretraining minimises the cross-entropy -x ln x' - (1 - x) ln(1 - x'), natural log, the mean over samples
    and features. `linear`: a Gaussian distribution, by the squared error. Left out, images have the one and other data
    the other. The start layer by layer, where asked for, is by squared errors.
    """

    activation: Literal["relu"] = setting("of the hidden layers", default="relu")
    output: Literal["sigmoid", "linear"] | None = setting(
        "units of the reconstruction; None: sigmoid for images, else linear", default=None
    )
    initial: Literal["fan_in", "glorot"] = setting("scheme of the initial weights", default="glorot")

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        encoder, decoder = super().layers(n_features, image_shape)
        if self._units(image_shape) == "sigmoid":
            decoder.append(nn.Sigmoid())
        return encoder, decoder

    def phases(self, network: Autoencoder, X: Tensor, image_shape: ImageShape, through: Through) -> Iterator[Phase]:
        yield from self.layerwise(network, X, through)
        if self._units(image_shape) == "sigmoid":
            require_unit_interval(X, network, through)
            network = Autoencoder(network.encoder, logits(network), network.facts)  # the same layers but the sigmoid
        yield from Network.phases(replace(self, output=self._units(image_shape)), network, X, image_shape, through)

    def losses(self, x: Tensor, z: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy, `reconstruction` being logits, or for linear units the squared error."""
        if self.output == "linear":
            return super().losses(x, z, reconstruction)
        return {"cross_entropy": F.binary_cross_entropy_with_logits(reconstruction.float(), x)}

    def _units(self, image_shape: ImageShape) -> Literal["sigmoid", "linear"]:
        return self.output or ("linear" if image_shape is None else "sigmoid")


def logits(network: Autoencoder) -> nn.Sequential:
    """Return the decoder without its last layer, a sigmoid: cross-entropies of logits are exact where that saturates.

    The layers are the network's own, not copies.
    """
    return network.decoder[:-1]


def require_unit_interval(X: Tensor, network: Autoencoder, through: Through) -> None:
    """Raise NotApplicable for data X (N, D) outside [0, 1], whose cross-entropy has no lower bound."""
    extremes = through(lambda x: torch.stack(x.aminmax(dim=1), dim=1), network, X)
    low, high = float(extremes.min()), float(extremes.max())
    if low < 0 or high > 1:
        raise NotApplicable(
            f"a Bernoulli distribution needs data in [0, 1], got values from {low:g} to {high:g}; rescale the data, or "
            "use a network with output: linear"
        )
