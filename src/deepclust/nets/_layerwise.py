"""A noisy and a clean pass through an autoencoder, and the error of every layer's reconstruction (DEPICT)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets.mlp import drop

_WEIGHTED = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
_UNIT = 4.0  # square of the width of [-1, 1], where the paper's data lie, over that of [0, 1]


@dataclass(frozen=True)
class Passes:
    """The codes (B, P) of both passes, and errors: each a mean over samples and units of squared differences."""

    noisy: Tensor
    clean: Tensor
    data: Tensor  # of the reconstruction against x, in units of data that fill [-1, 1]
    hidden: Tensor  # of the decoder's hidden layers against the clean encoder's, summed over the layers


def passes(network: Autoencoder, x: Tensor, corruption: float, generator: torch.Generator) -> Passes:
    """Encode x (B, D) with and without noise, and decode the noisy code.

    Noise sets inputs and units of all hidden layers but the last to zero with probability `corruption`, and scales the
    others up. The decoder's layers are compared with the layers of the clean encoder that they mirror; gradients flow
    through both.
    """
    down, up = _blocks(network.encoder), _blocks(network.decoder)
    noisy = clean = down[0](x)
    mirrored = []
    for depth, block in enumerate(down[1:]):
        if depth < max(1, len(down) - 2):
            noisy = drop(noisy, corruption, generator)
        mirrored.append(clean)
        noisy, clean = block(noisy), block(clean)
    hidden, decoded = torch.zeros((), device=x.device), up[0](noisy)
    for block, layer in zip(up[1:-1], mirrored[:0:-1], strict=True):
        decoded = block(decoded)
        hidden = hidden + F.mse_loss(decoded.flatten(1).float(), layer.flatten(1).float())
    data = _UNIT * F.mse_loss(up[-1](decoded).float(), x)
    return Passes(noisy, clean, data, hidden)


def _blocks(stack: nn.Sequential) -> list[nn.Sequential]:
    """Return the stack cut before every layer with weights; what comes before the first is a block, perhaps empty."""
    cuts = [place for place, layer in enumerate(stack) if isinstance(layer, _WEIGHTED)]
    return [stack[start:end] for start, end in zip([0, *cuts], [*cuts, len(stack)], strict=True)]
