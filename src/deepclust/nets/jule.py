"""JULE's network: unpadded 5 x 5 convolutions of 50 channels and a dense code of 160 features, with initial weights."""

import itertools
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from deepclust.errors import NotApplicable
from deepclust.nets.base import ImageShape, Network
from deepclust.settings import Count, Natural, setting

_KERNEL = 5


class Jule(Network):
    """5 x 5 convolutions of 50-50 channels and a dense code of 160 features, for images, not pretrained (JULE).

    Encoder: convolution without padding, BatchNorm, ReLU, 2 x 2 max pooling that rounds up; then a dense layer. After
    the first convolution, a further convolution or pooling is left out where it would leave a side of less than 5. By
    this rule the released code's networks come out for 16 x 16 (one convolution, pooled), 28 x 28 (two, the first one
    pooled) and 32 x 32 (two, both pooled). Decoder: the same backwards, with nearest pixels in place of pooling; the
    paper has none.
    """

    needs_images: ClassVar[bool] = True

    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = setting("of the layers, at most", default=(50, 50))
    n_embedding: Count = setting("P, features of the code", default=160)
    initial: Literal["fan_in", "glorot", "normal"] = setting("scheme of the initial weights", default="normal")
    epochs: Natural = setting("of the reconstruction; 0 leaves the initial weights", default=0)

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        """Return encoder and decoder on flat images (B, C*H*W); raise NotApplicable for images of less than 5 pixels a
        side.
        """
        assert image_shape is not None, "build has asked"
        widths, sides = [image_shape[0], *self.channels], image_shape[1:]
        if min(sides) < _KERNEL:
            raise NotApplicable(
                f"images of {sides[0]} x {sides[1]} are too small for a convolution of 5 x 5; use another network"
            )
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for depth, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
            inner = (sides[0] - _KERNEL + 1, sides[1] - _KERNEL + 1)
            if depth and min(inner) < _KERNEL:
                break
            down += [nn.Conv2d(n_in, n_out, _KERNEL), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
            up[:0] = [nn.ConvTranspose2d(n_out, n_in, _KERNEL)] + [nn.BatchNorm2d(n_in), nn.ReLU(inplace=True)] * (
                depth > 0
            )
            sides, n_maps = inner, n_out
            pooled = (-(-inner[0] // 2), -(-inner[1] // 2))
            if min(pooled) >= _KERNEL:
                down.append(nn.MaxPool2d(2, ceil_mode=True))
                up.insert(0, nn.Upsample(size=inner))
                sides = pooled
        n_flat = n_maps * sides[0] * sides[1]
        encoder = [nn.Unflatten(1, image_shape), *down, nn.Flatten(), nn.Linear(n_flat, self.n_embedding)]
        decoder = [nn.Linear(self.n_embedding, n_flat), nn.ReLU(inplace=True), nn.Unflatten(1, (n_maps, *sides)), *up]
        return nn.Sequential(*encoder), nn.Sequential(*decoder, nn.Flatten())
