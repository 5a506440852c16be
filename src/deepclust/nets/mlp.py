"""The fully connected autoencoder d-500-500-2000-P of DEC and IDEC."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets.base import ImageShape, Network, Phase, Terms, Through
from deepclust.settings import Count, LengthOrZero, Share, setting

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "sigmoid": nn.Sigmoid,
}


class MLP(Network):
    """Fully connected d-500-500-2000-P (DEC, Section 4.2), mirrored in the decoder.

    `relu` stands between layers, nothing after the code and after the reconstruction (DEC, Section 3.2: the code keeps
    its full information, and the data may be of any sign); `leaky_relu` stands there, too, with the slope 0.01 below 0,
    as in PC-X's released code. `sigmoid` follows every layer, code and reconstruction too, as in DC-Kmeans' released
    code: codes lie in (0, 1), and the data must lie in [0, 1]. BatchNorm, where asked for, sits before the activation
    of hidden layers.

    `layerwise_epochs` first trains each pair of mirrored layers to restore the layer below from a corrupted copy
    (DEC, Eq. (4)-(7)): inputs and hidden units are both dropped with probability `corruption`, but for the data and the
    code, which stay whole, as in the published program. The first pair restores the data and the last makes the code,
    so these two outputs have no activation.
    """

    hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = setting("of the encoder", default=(500, 500, 2000))
    activation: Literal["relu", "leaky_relu", "sigmoid"] = setting(
        "sigmoid: after code and reconstruction, too", default="relu"
    )
    batch_norm: bool = setting("BatchNorm in hidden layers", default=False)
    layerwise_epochs: LengthOrZero = setting("epochs a layer of the denoising start; 0 for none", default=0)
    corruption: Share = setting("share of inputs zeroed in the denoising start", default=0.2)

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        sizes = [n_features, *self.hidden, self.n_embedding]
        return self._stack(sizes), self._stack(sizes[::-1])

    @property
    def gain(self) -> float:
        return 4 if self.activation == "sigmoid" else 1  # Glorot and Bengio's factor for the sigmoid

    def phases(self, network: Autoencoder, X: Tensor, image_shape: ImageShape, through: Through) -> Iterator[Phase]:
        yield from self.layerwise(network, X, through)
        yield from super().phases(network, X, image_shape, through)

    def layerwise(self, network: Autoencoder, X: Tensor, through: Through) -> Iterator[Phase]:
        """Yield the trainings of the start, one a layer."""
        below = X
        pairs = zip(_blocks(network.encoder), _blocks(network.decoder)[::-1], strict=True)
        for depth, (down, up) in enumerate(pairs if self.layerwise_epochs else (), start=1):
            input_is_hidden, output_is_hidden = depth > 1, depth <= len(self.hidden)
            terms = _denoising(down, up, self.corruption * input_is_hidden, self.corruption * output_is_hidden)
            pair = nn.ModuleList([down, up])
            yield Phase(f"layer{depth}", pair, below, terms, self.layerwise_epochs, ("batches", str(depth)))
            below = through(down, down, below)

    def _stack(self, sizes: Sequence[int]) -> nn.Sequential:
        modules: list[nn.Module] = []
        for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
            modules.append(nn.Linear(n_in, n_out))
            hidden = i < len(sizes) - 2
            modules += [nn.BatchNorm1d(n_out)] * (self.batch_norm and hidden)
            modules += [ACTIVATIONS[self.activation]()] * (hidden or self.activation == "sigmoid")
        return nn.Sequential(*modules)


def _denoising(down: nn.Module, up: nn.Module, of_input: float, of_hidden: float) -> Terms:
    def terms(x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        hidden = drop(down(drop(x, of_input, generator)), of_hidden, generator)
        return {"denoising": F.mse_loss(up(hidden), x)}

    return terms


def _blocks(stack: nn.Sequential) -> list[nn.Sequential]:
    """Return the stack cut before every linear layer, so that a block keeps its normalisation and activation."""
    blocks: list[list[nn.Module]] = []
    for layer in stack:
        if isinstance(layer, nn.Linear):
            blocks.append([])
        blocks[-1].append(layer)
    return [nn.Sequential(*block) for block in blocks]


def drop(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Return x with entries zeroed with `probability`, the others scaled up to keep the mean, as dropout does."""
    kept = torch.rand(x.shape, generator=generator, device=generator.device).to(x.device) >= probability
    return x * kept / (1 - probability)
