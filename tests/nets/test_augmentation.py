"""Random affine maps: torchvision's, but one for every image, from a generator of our own."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from torch import Tensor

from deepclust.nets import _augmentation as augmentation
from deepclust.nets._augmentation import affine, augment
from deepclust.settings import Augmentation

SHAPES = [(1, 28, 28), (3, 20, 32), (1, 17, 16), (2, 9, 5)]
NONE = Augmentation(rotation=0, shift=0, crop=0)
SOME = Augmentation(rotation=10, shift=0.1, crop=0.1)


def images(count: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    return torch.rand(count, math.prod(shape), generator=torch.Generator().manual_seed(seed))


def constant(
    count: int, angle: float = 0, shift: tuple[float, float] = (0, 0), zoom: float = 1
) -> tuple[Tensor, Tensor, Tensor]:
    x, y = shift
    return torch.full((count,), angle), torch.tensor([[x] * count, [y] * count]), torch.full((count,), zoom)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_affine_equals_torchvisions_image_by_image(shape: tuple[int, int, int]) -> None:
    from torchvision.transforms import InterpolationMode, v2  # seconds, which every worker would wait for above

    count = 12
    batch, generator = images(count, shape), torch.Generator().manual_seed(1)
    angle = 180 * (2 * torch.rand(count, generator=generator) - 1)
    shift = 0.4 * (2 * torch.rand(2, count, generator=generator) - 1)
    zoom = 0.7 + torch.rand(count, generator=generator)
    found = affine(batch, angle, shift, zoom, shape)
    _, height, width = shape
    for i in range(count):
        expected = v2.functional.affine(
            batch[i].view(shape),
            angle=angle[i].item(),
            translate=[shift[0, i].item() * width, shift[1, i].item() * height],
            scale=zoom[i].item(),
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(found[i].view(shape), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("fill", "mode"), [("zeros", "grid-constant"), ("border", "nearest")])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outside_of_an_image_is_scipys(shape: tuple[int, int, int], fill: Any, mode: Any) -> None:
    batch, angle, shift, zoom = images(3, shape) + 1, (-33.0, 7.0, 160.0), (0.4, -0.25), (0.6, 1.0, 1.3)
    shifts = torch.tensor([[share] * 3 for share in shift])
    found = affine(batch, torch.tensor(angle), shifts, torch.tensor(zoom), shape, fill)
    _, height, width = shape
    centre = np.array([height - 1, width - 1]) / 2
    for i in range(3):
        t = math.radians(angle[i])
        back = np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]]) / zoom[i]  # of (down, right)
        offset = centre - back @ (centre + np.array([shift[1] * height, shift[0] * width]))
        for channel, image in zip(found[i].view(shape), batch[i].view(shape), strict=True):
            expected = affine_transform(image.numpy().astype(float), back, offset, order=1, mode=mode)
            np.testing.assert_allclose(channel.numpy(), expected, atol=1e-4)


def test_border_brings_in_no_zeros() -> None:
    settings = Augmentation(rotation=40, shift=0.5, crop=0, fill="border")
    bright = images(20, (1, 9, 7)) + 1
    assert augment(bright, settings, torch.Generator().manual_seed(0), (1, 9, 7)).min() > 0.999
    zeros = settings.model_copy(update={"fill": "zeros"})
    assert augment(bright, zeros, torch.Generator().manual_seed(0), (1, 9, 7)).min() < 0.5


def test_quarter_turn_is_clockwise() -> None:
    shape = (2, 6, 6)
    batch = images(3, shape)
    turned = affine(batch, *constant(3, angle=90), shape).view(3, *shape)
    torch.testing.assert_close(turned, torch.rot90(batch.view(3, *shape), -1, dims=(2, 3)), atol=1e-5, rtol=0)


def test_shift_moves_right_and_down_by_shares_of_the_sides_and_brings_in_zeros() -> None:
    shape = (1, 4, 10)
    batch = images(2, shape)
    moved = affine(batch, *constant(2, shift=(0.2, 0.25)), shape).view(2, *shape)
    expected = torch.zeros(2, *shape)
    expected[:, :, 1:, 2:] = batch.view(2, *shape)[:, :, :-1, :-2]
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_zoom_enlarges_about_the_centre() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[:, :, 3:5, 3:5] = 1
    zoomed = affine(image.flatten(1), *constant(1, zoom=2), (1, 8, 8)).view(8, 8)
    assert zoomed.sum() == pytest.approx(4 * 4, rel=1e-4)  # the area of a 2 x 2 square, twice as wide and high
    torch.testing.assert_close(zoomed, zoomed.flip(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(zoomed, zoomed.flip(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_settings_of_zero_are_the_identity(shape: tuple[int, int, int]) -> None:
    batch = images(5, shape)
    torch.testing.assert_close(augment(batch, NONE, torch.Generator(), shape), batch, atol=1e-5, rtol=0)


def test_generator_alone_decides_the_maps() -> None:
    shape = (1, 12, 12)
    batch, before = images(5, shape), torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    first, second = augment(batch, SOME, generator, shape), augment(batch, SOME, generator, shape)
    assert torch.equal(first, augment(batch, SOME, torch.Generator().manual_seed(3), shape))
    assert (first - second).abs().amax(dim=1).min() > 1e-3
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("setting", ["rotation", "shift", "crop"])
def test_every_image_of_a_batch_gets_its_own_map(setting: str) -> None:
    settings = NONE.model_copy(update={setting: getattr(SOME, setting)})
    shape = (1, 12, 12)
    copies = augment(images(1, shape).expand(6, -1), settings, torch.Generator().manual_seed(3), shape)
    distances = (copies[:, None] - copies).abs().amax(dim=2) + torch.eye(6)
    assert distances.min() > 1e-4


def test_maps_fill_the_ranges_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []

    def note(batch: Tensor, angle: Tensor, shift: Tensor, zoom: Tensor, *_: object) -> Tensor:
        drawn.extend([angle, *shift, 1 - 1 / zoom])
        return batch

    monkeypatch.setattr(augmentation, "affine", note)
    augment(images(2000, (1, 2, 2)), Augmentation(rotation=20, shift=0.3, crop=0.4), torch.Generator(), (1, 2, 2))
    for values, low, high in zip(drawn, [-20, -0.3, -0.3, 0], [20, 0.3, 0.3, 0.4], strict=True):
        room = 0.02 * (high - low)
        assert low - 1e-6 <= values.min() < low + room
        assert high - room < values.max() <= high + 1e-6
        assert abs(values.mean().item() - (low + high) / 2) < 2 * room
