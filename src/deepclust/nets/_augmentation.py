"""Random affine maps of image batches: every image has its own map, in one interpolation."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from deepclust.settings import Augmentation

ROTATED_AND_SHIFTED = Augmentation(rotation=10.0, shift=0.1, crop=0.0)  # as in the released codes of ASPC-DA and DynAE


def augment(
    images: Tensor, settings: Augmentation, generator: torch.Generator, image_shape: tuple[int, int, int]
) -> Tensor:
    """Return randomly rotated, shifted and cropped copies of flat images.

    torchvision's v2 transforms draw one map for a whole batch, and a loop over images would cost more than the training
    step. The same maps (rotation and shift of `v2.functional.affine`, cropping as a zoom) are drawn here for all images
    at once. A test holds them equal to torchvision's, image by image.

    Parameters
    ----------
    images : Tensor of shape (B, C*H*W)
    settings : largest angle (degrees), shift and crop (shares of the side), fill
    generator : source of the maps, on the generator's device
    image_shape : (C, H, W)
    """
    draws = torch.rand(4, len(images), generator=generator, device=generator.device).to(images.device)
    angle = settings.rotation * (2 * draws[0] - 1)
    shift = settings.shift * (2 * draws[1:3] - 1)
    zoom = 1 / (1 - settings.crop * draws[3])
    return affine(images, angle, shift, zoom, image_shape, settings.fill)


def affine(
    images: Tensor,
    angle: Tensor,
    shift: Tensor,
    zoom: Tensor,
    image_shape: tuple[int, int, int],
    fill: Literal["zeros", "border"] = "zeros",
) -> Tensor:
    """Return each image rotated clockwise by `angle` (B,) degrees and enlarged by `zoom` (B,) about its centre, then
    moved by `shift` (2, B), shares of width and height. Interpolation is bilinear; the outside of an image is 0, or for
    `border` as the nearest pixel of its border.
    """
    _, height, width = image_shape
    radians = angle * (math.pi / 180)
    cos, sin = torch.cos(radians) / zoom, torch.sin(radians) / zoom
    x, y = shift[0] * width, shift[1] * height  # in pixels: the sides may differ
    # the output pixel p shows the input at R^-1 (p - shift) / zoom; coordinates run over [-1, 1] on both sides
    half_width, half_height = width / 2, height / 2
    inverse = torch.stack(
        [
            torch.stack([cos, sin * half_height / half_width, -(cos * x + sin * y) / half_width], dim=1),
            torch.stack([-sin * half_width / half_height, cos, (sin * x - cos * y) / half_height], dim=1),
        ],
        dim=1,
    )
    batch = images.view(-1, *image_shape)
    grid = F.affine_grid(inverse, list(batch.shape), align_corners=False)
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode=fill, align_corners=False).flatten(1)
