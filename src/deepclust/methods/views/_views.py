"""Random views of a batch, and training on them: shared by IIC and CC."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from deepclust.methods._softmax import SoftmaxClusterer
from deepclust.nets.base import ImageShape
from deepclust.nets.mlp import drop
from deepclust.settings import Augmentation, Augmenting, Count, Length, Positive, Share, setting

View = Callable[[Tensor, torch.Generator], Tensor]
"""(rows (B, D), generator) -> random views of them (B, D)."""

_AREA, _ASPECT = (0.02, 0.33), (0.3, 3.3)  # of an erased rectangle: torchvision's RandomErasing


class TwoViews(SoftmaxClusterer):
    """A head on the code learns from views of a sample.

    A view of an image is a random affine map of it. A view of a row that is no image has entries zeroed.
    """

    default_network: ClassVar[str] = "wide_conv"

    augment: Augmenting | None = setting("affine maps of the views; None: of what has an image shape", default=None)
    corruption: Share = setting("share of the entries zeroed in a view without affine maps", default=0.2)
    epochs: Length = setting("epochs; there is no other end", default=200)
    batch_size: Count = setting("rows of a batch", default=256)
    learning_rate: Positive = setting("of Adam", default=3e-4)

    def _view(self, usual: Augmentation) -> View:
        """Return the map of a batch to a random view of it; `usual` are the maps of a plain True or None."""
        if self.augment is False or (self.augment is None and self.network_.image_shape is None):
            return lambda x, generator: drop(x, self.corruption, generator)
        return self._augmenter(self.augment, usual)


def erase(images: Tensor, share: float, generator: torch.Generator, image_shape: ImageShape) -> Tensor:
    """Return flat images (B, C*H*W), in a random `share` of which a random rectangle is 0.

    The rectangle has 2 % to 33 % of the area, evenly drawn, and a ratio of height to width between 0.3 and 3.3, evenly
    drawn in its logarithm, and any place within the image. A rectangle that is too long is cut to the side.
    """
    assert image_shape is not None
    _, height, width = image_shape
    draws = torch.rand(5, len(images), 1, 1, generator=generator, device=generator.device).to(images.device)
    area = _AREA[0] + (_AREA[1] - _AREA[0]) * draws[0]
    ratio = torch.exp(math.log(_ASPECT[0]) + math.log(_ASPECT[1] / _ASPECT[0]) * draws[1])
    sides = (area * ratio).sqrt().clamp(max=1) * height, (area / ratio).sqrt().clamp(max=1) * width
    first = draws[2] * (height - sides[0]), draws[3] * (width - sides[1])
    y = torch.arange(height, device=images.device).view(1, -1, 1) + 0.5  # of a pixel's middle
    x = torch.arange(width, device=images.device).view(1, 1, -1) + 0.5
    inside = (y > first[0]) & (y < first[0] + sides[0]) & (x > first[1]) & (x < first[1] + sides[1])
    kept = ~(inside & (draws[4] < share))
    return (images.view(-1, *image_shape) * kept.unsqueeze(1)).flatten(1)
