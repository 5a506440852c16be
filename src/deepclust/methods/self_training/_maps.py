"""The random maps of images under which ASPC-DA and DynAE train: rotations and shifts, as in their released codes."""

from collections.abc import Callable

import torch
from torch import Tensor

from deepclust.errors import NotApplicable
from deepclust.nets._augmentation import augment
from deepclust.nets._autoencoder import Autoencoder
from deepclust.settings import Augmentation

_MAPS = Augmentation(rotation=10.0, shift=0.1, crop=0.0)


def maps_of(network: Autoencoder, wanted: bool | None) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return the map of a batch before it is encoded; the identity unless `wanted`, or, at None, for what is no image.

    Raises
    ------
    NotApplicable
        The maps are wanted, and the network's data have no image shape.
    """
    shape = network.image_shape
    if shape is not None and wanted is not False:
        return lambda x, generator: augment(x, _MAPS, generator, shape)
    if wanted:
        raise NotApplicable("augmentation needs images, and this data set has no image shape; use augment: null")
    return lambda x, _: x
