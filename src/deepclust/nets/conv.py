"""The convolutional autoencoder of DECS: 3 x 3 convolutions of 32-64-128-256 channels and a dense code.

The paper prints stride 2 *and* max pooling after every layer; four such layers leave nothing of a 28 x 28 image. The
released code uses stride 1 and pools after all layers but the last, and so do we.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from deepclust.errors import NotApplicable
from deepclust.nets.base import ImageShape, Network
from deepclust.settings import Augmentation, Count, setting


class Conv(Network):
    """3 x 3 convolutions and a dense code, for images, pretrained with augmentation (DECS, Sections 3.2, 4.4).

    Encoder: convolution (stride 1, padding 1), ReLU, BatchNorm, 2 x 2 max pooling after all but the last; then a dense
    layer to the code. Decoder: a dense layer, then transposed convolutions that retrace the sizes, the last without
    activation.

    The paper says nothing of padding. `padding: valid` is the released code's: where a side is no multiple of
    2^(layers - 1), the last convolution has none. On 28 x 28 the map before the dense layer is then 1 x 1 and not
    3 x 3; the decoder retraces that as well.
    """

    needs_images: ClassVar[bool] = True

    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = setting("of the layers", default=(32, 64, 128, 256))
    batch_norm: bool = setting("BatchNorm after each convolution", default=True)
    padding: Literal["same", "valid"] = setting("of the last convolution, on sides that halving rounds", default="same")
    augmentation: Augmentation | None = setting("random affine maps, of input and target alike", default=Augmentation())

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        """Return encoder and decoder on flat images (B, C*H*W).

        Raises
        ------
        NotApplicable
            An image is halved to nothing before the last layer, or to less than a convolution without padding needs.
        """
        assert image_shape is not None, "build has asked"
        channels, n_embedding, batch_norm = self.channels, self.n_embedding, self.batch_norm
        n_channels, height, width = image_shape
        depth = len(channels)
        if min(height, width) >> (depth - 1) < 1:
            raise NotApplicable(
                f"images of {height} x {width} are too small for {depth} convolutional layers: "
                f"each side must be at least {2 ** (depth - 1)}; shorten `channels`"
            )
        sizes = [(height >> i, width >> i) for i in range(depth)]
        widths = [n_channels, *channels]
        valid = self.padding == "valid" and any(side % 2 ** (depth - 1) for side in (height, width))
        if valid and min(sizes[-1]) < 3:
            raise NotApplicable(
                f"images of {height} x {width} are too small for {depth} convolutions, the last without padding: "
                f"each side must be at least {3 * 2 ** (depth - 1)}; use padding: same, or shorten `channels`"
            )
        paddings = [1] * (depth - 1) + [0 if valid else 1]
        lowest = [side - 2 * valid for side in sizes[-1]]
        n_flat = channels[-1] * lowest[0] * lowest[1]

        encoder: list[nn.Module] = [nn.Unflatten(1, image_shape)]
        for i in range(depth):
            encoder += [nn.Conv2d(widths[i], widths[i + 1], 3, padding=paddings[i]), nn.ReLU(inplace=True)]
            encoder += [nn.BatchNorm2d(widths[i + 1])] * batch_norm
            if i < depth - 1:
                encoder.append(nn.MaxPool2d(2))
        encoder += [nn.Flatten(), nn.Linear(n_flat, n_embedding)]

        decoder: list[nn.Module] = [
            nn.Linear(n_embedding, n_flat),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (channels[-1], *lowest)),
        ]
        for i in reversed(range(depth)):
            decoder.append(
                nn.ConvTranspose2d(widths[i + 1], widths[i], 3, padding=paddings[i])
                if i == depth - 1
                else _doubling(widths[i + 1], widths[i], sizes[i])
            )
            if i > 0:
                decoder += [nn.ReLU(inplace=True)] + [nn.BatchNorm2d(widths[i])] * batch_norm
        decoder.append(nn.Flatten())
        return nn.Sequential(*encoder), nn.Sequential(*decoder)


def _doubling(n_in: int, n_out: int, size: tuple[int, int]) -> nn.ConvTranspose2d:
    """Return the transposed convolution that undoes a 2 x 2 pooling of an image of `size`, odd sides included.

    Output side = 2s + 1 - 2 padding + output_padding for pooled side s: even sides want (1, 1), odd ones (0, 0).
    """
    even = tuple(1 - side % 2 for side in size)
    return nn.ConvTranspose2d(n_in, n_out, 3, stride=2, padding=even, output_padding=even)  # type: ignore[arg-type]
