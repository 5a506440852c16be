"""The convolutional autoencoder of DCEC: strides instead of pooling."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from deepclust.nets._strided import strided
from deepclust.nets.base import ImageShape, Network
from deepclust.settings import Count, setting


class Strided(Network):
    """Convolutions of stride 2 with ReLU and a dense code, mirrored in the decoder, for images (DCEC).

    Images are padded so that a layer halves their sides, rounded up. The last layer does so only along sides that are
    multiples of 2^layers, and has no padding along others, as in the released code: 28 -> 14 -> 7 -> 3. Padding is
    alike on both sides of an image; the released code's framework puts the odd zero at the end.
    """

    needs_images: ClassVar[bool] = True

    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = setting("of the layers", default=(32, 64, 128))
    kernels: Annotated[tuple[Count, ...], Field(min_length=1)] = setting("sides, one a layer", default=(5, 5, 3))
    initial: Literal["fan_in", "glorot"] = setting("scheme of the initial weights", default="glorot")

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        """Return encoder and decoder on flat images (B, C*H*W); raise NotApplicable for images that are too small."""
        assert image_shape is not None, "build has asked"
        n_channels, height, width = image_shape
        paddings = [(kernel // 2, kernel // 2) for kernel in self.kernels]
        whole = [side % 2 ** len(self.channels) == 0 for side in (height, width)]
        paddings[-1] = (paddings[-1][0] * whole[0], paddings[-1][1] * whole[1])
        down, up, sides = strided((n_channels, *self.channels), self.kernels, paddings, (height, width))
        n_flat = self.channels[-1] * sides[0] * sides[1]

        encoder: list[nn.Module] = [nn.Unflatten(1, image_shape)]
        for convolution in down:
            encoder += [convolution, nn.ReLU(inplace=True)]
        encoder += [nn.Flatten(), nn.Linear(n_flat, self.n_embedding)]
        decoder: list[nn.Module] = [nn.Linear(self.n_embedding, n_flat), nn.ReLU(inplace=True)]
        decoder.append(nn.Unflatten(1, (self.channels[-1], *sides)))
        for transposed in up:
            decoder += [transposed, nn.ReLU(inplace=True)]
        decoder[-1] = nn.Flatten()  # nothing after the reconstruction
        return nn.Sequential(*encoder), nn.Sequential(*decoder)
