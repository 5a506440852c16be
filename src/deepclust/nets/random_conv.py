"""The network that PC-X starts from on Fashion-MNIST and YTF: convolutions that stride, with initial weights."""

import itertools
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from deepclust.nets.base import ImageShape, Network
from deepclust.nets.mlp import ACTIVATIONS
from deepclust.settings import Count, Natural, setting


class RandomConv(Network):
    """3 x 3 convolutions of 16-32-32-16 channels and dense 256-P, for images, under Glorot's weights, not pretrained.

    Encoder: convolutions with padding 1, every second one with stride 2 (PC-X, A.7), each with BatchNorm and activation
    after it; then dense layers, the activation between them and nothing after the code. Decoder: the same backwards, by
    transposed convolutions, nothing after the last. Stride 2 makes ceil(s / 2) of a side s, and the decoder restores
    both parities: images may have any size.
    """

    needs_images: ClassVar[bool] = True

    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = setting("of the layers", default=(16, 32, 32, 16))
    hidden: tuple[Count, ...] = setting("sizes of dense layers before the code", default=(256,))
    activation: Literal["relu", "leaky_relu"] = setting("of hidden layers", default="relu")
    initial: Literal["fan_in", "glorot"] = setting("scheme of the initial weights", default="glorot")
    epochs: Natural = setting("of the reconstruction; 0 leaves the initial weights", default=0)

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        assert image_shape is not None, "build has asked"
        n_channels, height, width = image_shape
        widths, strides = [n_channels, *self.channels], [1 + i % 2 for i in range(len(self.channels))]
        sides = [(height, width)]  # of the images between layers
        for stride in strides:
            sides.append((-(-sides[-1][0] // stride), -(-sides[-1][1] // stride)))
        dense = [widths[-1] * sides[-1][0] * sides[-1][1], *self.hidden, self.n_embedding]
        active = ACTIVATIONS[self.activation]

        encoder: list[nn.Module] = [nn.Unflatten(1, image_shape)]
        for i, stride in enumerate(strides):
            encoder += [nn.Conv2d(widths[i], widths[i + 1], 3, stride, padding=1), nn.BatchNorm2d(widths[i + 1])]
            encoder.append(active())
        encoder.append(nn.Flatten())
        for n_in, n_out in itertools.pairwise(dense):
            encoder += [nn.Linear(n_in, n_out), active()]

        decoder: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(dense[::-1]):
            decoder += [nn.Linear(n_in, n_out), active()]
        decoder.append(nn.Unflatten(1, (widths[-1], *sides[-1])))
        for i, stride in reversed(list(enumerate(strides))):
            rest = tuple((stride - 1) * (1 - side % 2) for side in sides[i])  # an even side is 2 s, an odd one 2 s - 1
            decoder.append(nn.ConvTranspose2d(widths[i + 1], widths[i], 3, stride, 1, rest))  # type: ignore[arg-type]
            decoder += [nn.BatchNorm2d(widths[i]), active()] * (i > 0)
        return nn.Sequential(*encoder[:-1]), nn.Sequential(*decoder, nn.Flatten())
