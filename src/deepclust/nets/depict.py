"""DEPICT's network: two convolutions of stride 2, pretrained to restore every layer from noise."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from deepclust.nets._augmentation import augment
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._layerwise import passes
from deepclust.nets._strided import strided
from deepclust.nets.base import ImageShape, Network, Phase, Through
from deepclust.settings import Augmentation, Count, LengthOrZero, Natural, Rate, Share, Weight, setting


class Depict(Network):
    """Convolutions of stride 2 with leaky ReLU and a dense code of tanh units, mirrored, for images (DEPICT).

    The layers see images in [-1, 1]: data in [0, 1] are mapped there and back inside the network. Pretraining minimises
    the error of the reconstruction, in units of [-1, 1], plus `layer_weight` times the errors of the hidden layers,
    each a mean over samples and units of squared differences: from a noisy pass through encoder and decoder to a clean
    one through the encoder. The paper's P is the number of clusters; `n_embedding` has to be set for other than ten.

    The lengths are fixed. The released code holds out a tenth of the samples, stratified by their true labels, and
    stops after 100 epochs without a smaller error on them, 4000 at most.
    """

    needs_images: ClassVar[bool] = True

    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = setting("of the layers", default=(50, 50))
    kernels: Annotated[tuple[Count, ...], Field(min_length=1)] = setting("sides, one a layer", default=(4, 5))
    paddings: Annotated[tuple[Natural, ...], Field(min_length=1)] = setting("zeros on each side", default=(0, 2))
    corruption: Share = setting("share of inputs and hidden units zeroed in the noisy pass", default=0.1)
    layer_weight: Weight = setting("of the hidden layers' errors", default=0.1)
    initial: Literal["fan_in", "glorot"] = setting("scheme of the initial weights", default="glorot")
    epochs: LengthOrZero = setting("of the reconstruction; 0 leaves the initial weights", default=300)
    batch_size: Count = setting("rows of a batch", default=100)
    learning_rate: Rate = setting("of the optimizer; of AdaDelta a factor of its own steps", default=1e-4)

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        """Return encoder and decoder on flat images (B, C*H*W); raise NotApplicable for images that are too small."""
        assert image_shape is not None, "build has asked"
        n_channels, *sides = image_shape
        paddings = [(padding, padding) for padding in self.paddings]
        down, up, inner = strided((n_channels, *self.channels), self.kernels, paddings, (sides[0], sides[1]))
        n_flat = self.channels[-1] * inner[0] * inner[1]

        encoder: list[nn.Module] = [_Affine(2, -1), nn.Unflatten(1, image_shape)]
        for convolution in down:
            encoder += [convolution, nn.LeakyReLU(0.01)]
        encoder += [nn.Flatten(), nn.Linear(n_flat, self.n_embedding), nn.Tanh()]
        decoder: list[nn.Module] = [nn.Linear(self.n_embedding, n_flat), nn.LeakyReLU(0.01)]
        decoder.append(nn.Unflatten(1, (self.channels[-1], *inner)))
        for transposed in up:
            decoder += [transposed, nn.LeakyReLU(0.01)]
        decoder[-1:] = [nn.Tanh(), nn.Flatten(), _Affine(0.5, 0.5)]
        return nn.Sequential(*encoder), nn.Sequential(*decoder)

    def phases(self, network: Autoencoder, X: Tensor, image_shape: ImageShape, through: Through) -> Iterator[Phase]:
        maps = None if self.augmentation is None else Augmentation.model_validate(self.augmentation)

        def terms(x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            if maps is not None and image_shape is not None:
                x = augment(x, maps, generator, image_shape)
            found = passes(network, x, self.corruption, generator)
            return {"reconstruction": found.data, "layers": self.layer_weight * found.hidden}

        yield Phase("pretrain", network, X, terms, self.epochs, ("batches",))


class _Affine(nn.Module):
    """The map x -> scale x + shift."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift
