"""The network of DC-Kmeans, DC-GMM and DAEC: sigmoid units throughout, and a start layer by layer."""

import itertools
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from deepclust.errors import NotApplicable, UserError
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._rbm import INITIAL, Units, machines
from deepclust.nets.base import ImageShape, Phase, Through
from deepclust.nets.mlp import MLP
from deepclust.settings import Count, LengthOrZero, Rate, Share, setting


class Sigmoid(MLP):
    """Fully connected d-500-500-2000-P of sigmoid units, code and reconstruction among them; the data lie in [0, 1].

    The start is layer by layer. `autoencoders` restore the layer below without corruption; the whole network then
    learns at 3e-4, since the code's units saturate at 1e-3. `rbm` is the paper's: restricted Boltzmann machines by one
    step of contrastive divergence, unrolled into encoder and mirrored decoder (Hinton and Salakhutdinov 2006). A
    machine's weights start from N(0, 0.1^2), the momentum is 0.5 for five epochs and 0.9 after, the weight cost 2e-4,
    all as in Hinton's published program. From this start the whole network may learn at 1e-3.

    `code: linear` leaves out the sigmoid of the code, `output: linear` that of the reconstruction, for data of any
    scale. The machine of such a layer has Gaussian units of variance 1 there, and a rate of its own.
    """

    activation: Literal["sigmoid"] = setting("of the hidden layers", default="sigmoid")
    code: Literal["sigmoid", "linear"] = setting("units of the code", default="sigmoid")
    output: Literal["sigmoid", "linear"] = setting("units of the reconstruction", default="sigmoid")
    initial: Literal["fan_in", "glorot"] = setting("scheme of the initial weights", default="glorot")
    start: Literal["autoencoders", "rbm"] = setting("the start, layer by layer", default="autoencoders")
    layerwise_epochs: LengthOrZero = setting("epochs a layer of the start; 0 for none", default=10)
    corruption: Share = setting("share of inputs zeroed in the start by autoencoders", default=0.0)
    learning_rate: Rate = setting("of the optimizer; of AdaDelta a factor of its own steps", default=3e-4)
    rbm_learning_rate: Rate = setting("of machines with binary units", default=0.1)
    gaussian_learning_rate: Rate = setting("of machines with Gaussian units", default=1e-3)
    rbm_batch_size: Count = setting("rows of a batch of a machine", default=100)

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        encoder, decoder = super().layers(n_features, image_shape)
        return (
            encoder[:-1] if self.code == "linear" else encoder,
            decoder[:-1] if self.output == "linear" else decoder,
        )

    def build(self, n_features: int, image_shape: ImageShape, generator: torch.Generator) -> Autoencoder:
        if self._by_machines and self.batch_norm:
            raise UserError("start: rbm is for layers without BatchNorm; use batch_norm: false, or start: autoencoders")
        network = super().build(n_features, image_shape, generator)
        if self._by_machines:
            for layer in _linear(network.encoder):
                nn.init.normal_(layer.weight, std=INITIAL, generator=generator)
        return network

    def layerwise(self, network: Autoencoder, X: Tensor, through: Through) -> Iterator[Phase]:
        if not self._by_machines:
            yield from super().layerwise(network, X, through)
            return
        if self.output == "sigmoid":
            extremes = through(lambda x: torch.stack(x.aminmax(dim=1), dim=1), network, X)
            low, high = float(extremes.min()), float(extremes.max())
            if low < 0 or high > 1:
                raise NotApplicable(
                    f"binary units of a restricted Boltzmann machine need data in [0, 1], got values from {low:g} to "
                    f"{high:g}; rescale the data, or use output: linear"
                )
        pairs = list(zip(_linear(network.encoder), _linear(network.decoder)[::-1], strict=True))
        names: dict[str, Units] = {"sigmoid": "binary", "linear": "gaussian"}
        hidden: list[Units] = ["binary"] * (len(pairs) - 1)
        units = [names[self.output], *hidden, names[self.code]]
        gaussian = ["gaussian" in both for both in itertools.pairwise(units)]
        rates = [self.gaussian_learning_rate if some else self.rbm_learning_rate for some in gaussian]
        length, batch_size = self.layerwise_epochs, self.rbm_batch_size
        yield from machines(pairs, units, rates, X, through, epochs=length, batch_size=batch_size)

    @property
    def _by_machines(self) -> bool:
        return self.start == "rbm" and self.layerwise_epochs != 0


def _linear(stack: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in stack if isinstance(layer, nn.Linear)]
