"""The network that IIC and CC start from: convolutions with a wide code, with initial weights."""

from typing import Literal

from deepclust.nets.conv import Conv
from deepclust.settings import Augmentation, Count, LengthOrZero, setting


class WideConv(Conv):
    """DECS' convolutions with a code of 128 features, under Glorot's initial weights, not pretrained."""

    n_embedding: Count = setting("P, features of the code", default=128)
    initial: Literal["fan_in", "glorot"] = setting("scheme of the initial weights", default="glorot")
    epochs: LengthOrZero = setting("of the reconstruction; 0 leaves the initial weights", default=0)
    augmentation: Augmentation | None = setting("random affine maps, of input and target alike", default=None)
