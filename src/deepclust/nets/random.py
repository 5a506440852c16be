"""The network that PC-X starts from: fully connected, with initial weights."""

from typing import Literal

from deepclust.nets.mlp import MLP
from deepclust.settings import LengthOrZero, setting


class Random(MLP):
    """Fully connected d-500-500-2000-P under Glorot's initial weights, not pretrained."""

    initial: Literal["fan_in", "glorot"] = setting("scheme of the initial weights", default="glorot")
    epochs: LengthOrZero = setting("of the reconstruction; 0 leaves the initial weights", default=0)
