"""The hybrid's network: the fully connected one with BatchNorm, whose statistics the method freezes."""

from deepclust.nets.mlp import MLP
from deepclust.settings import setting


class MLPBN(MLP):
    """Fully connected d-500-500-2000-P with BatchNorm in the hidden layers, mirrored in the decoder."""

    batch_norm: bool = setting("BatchNorm in hidden layers", default=True)
