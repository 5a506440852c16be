"""The network that DeepCluster starts from: convolutions and a wide code, with initial weights."""

from deepclust.nets.conv import Conv
from deepclust.settings import Augmentation, Count, LengthOrZero, setting


class UntrainedConv(Conv):
    """3 x 3 convolutions of 32-64-128-256 channels and a dense code of 128 features, for images, not pretrained."""

    n_embedding: Count = setting("P, features of the code", default=128)
    epochs: LengthOrZero = setting("of the reconstruction; 0 leaves the initial weights", default=0)
    augmentation: Augmentation | None = setting("random affine maps, of input and target alike", default=None)
