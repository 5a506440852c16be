"""Convolutions of stride 2, and transposed ones that retrace their sizes, for image sides of any parity."""

import itertools
from collections.abc import Sequence

from torch import nn

from deepclust.errors import NotApplicable, UserError

Sides = tuple[int, int]  # (H, W)


def strided(
    channels: Sequence[int], kernels: Sequence[int], paddings: Sequence[Sides], sides: Sides
) -> tuple[list[nn.Conv2d], list[nn.ConvTranspose2d], Sides]:
    """Return convolutions from images of `sides`, the transposed ones back, innermost first, and the innermost sides.

    channels : those of the images, then those of each layer; kernels : sides of the square kernels, a number a layer;
    paddings : zeros around an image of (H, W), a pair a layer.

    Raises
    ------
    UserError
        There are not as many kernels or paddings as layers.
    NotApplicable
        An image is smaller than a kernel.
    """
    depth = len(channels) - 1
    if len(kernels) != depth or len(paddings) != depth:
        raise UserError(
            f"kernels and paddings must be as many as channels, {depth}, got {len(kernels)} and {len(paddings)}; give "
            "one a layer"
        )
    down: list[nn.Conv2d] = []
    up: list[nn.ConvTranspose2d] = []
    now = sides
    for (n_in, n_out), kernel, padding in zip(itertools.pairwise(channels), kernels, paddings, strict=True):
        room = [side + 2 * pad - kernel for side, pad in zip(now, padding, strict=True)]
        if min(room) < 0:
            raise NotApplicable(
                f"images of {sides[0]} x {sides[1]} are too small for {depth} convolutions of stride 2 with kernels of "
                f"{', '.join(map(str, kernels))}; shorten `channels` and `kernels`"
            )
        rest = (room[0] % 2, room[1] % 2)  # rows and columns that the last stride leaves over
        down.append(nn.Conv2d(n_in, n_out, kernel, stride=2, padding=padding))
        up.insert(0, nn.ConvTranspose2d(n_out, n_in, kernel, stride=2, padding=padding, output_padding=rest))
        now = (room[0] // 2 + 1, room[1] // 2 + 1)
    return down, up, now
