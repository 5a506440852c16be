"""TELL's network: PC-X's convolutions with an output of sigmoid units, under initial weights."""

from typing import Literal

from torch import nn

from deepclust.nets.base import ImageShape
from deepclust.nets.random_conv import RandomConv
from deepclust.settings import setting


class Tell(RandomConv):
    """3 x 3 convolutions of 16-32-32-16 channels and dense 256-P, for images in [0, 1], not pretrained (TELL).

    The layers are those of `random_conv`, with a sigmoid after the reconstruction, and nothing between the decoder's
    last dense layer and its first convolution, as in the released code.
    """

    initial: Literal["fan_in", "glorot"] = setting("scheme of the initial weights", default="fan_in")

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        encoder, decoder = super().layers(n_features, image_shape)
        unflatten = next(i for i, layer in enumerate(decoder) if isinstance(layer, nn.Unflatten))
        return encoder, nn.Sequential(*decoder[: unflatten - 1], *decoder[unflatten:], nn.Sigmoid())
