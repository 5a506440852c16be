"""DEC's own pretraining: a stacked denoising autoencoder by SGD, its rate falling in steps, counted in iterations."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets.base import ImageShape, Phase, Through
from deepclust.nets.mlp import MLP
from deepclust.settings import Count, LengthOrZero, Positive, Rate, setting

_MOMENTUM, _BURN_IN = 0.9, 1000  # the momentum rises linearly over so many iterations


class SDAE(MLP):
    """Fully connected d-500-500-2000-P under the schedule of DEC's paper (Section 4.2) and released solver.

    Weights start from N(0, 0.01^2). Each pair of mirrored layers learns for `layerwise_epochs` to restore the layer
    below, with `corruption` as in `mlp`; then the whole network for `epochs`, with nothing dropped. In every phase the
    rate falls to a tenth after each `decay_every` batches, and the momentum rises to 0.9 over 1,000. Rate and
    momentum are set at the beginning of an epoch, by the batches so far.

    `learning_rate` is that of the released program, whose data are `scale` times ours in [0, 1] (0.02 times the grey
    level), whose loss is half the mean squared error, and whose biases learn twice as fast as its weights. ReLU layers
    scale with their data: on data in [0, 1] the weights pass through the same values, and the biases through values
    `scale` times smaller, if weights learn at scale^2 / 2 times `learning_rate`, 1.3, and biases at `learning_rate`.
    """

    activation: Literal["relu"] = setting("of the hidden layers", default="relu")
    batch_norm: Literal[False] = setting("none: normalised layers do not scale with their data", default=False)
    initial: Literal["normal"] = setting("scheme of the initial weights", default="normal")
    layerwise_epochs: LengthOrZero = setting("epochs a layer of the start; 0 for none", default="50000 iterations")
    epochs: LengthOrZero = setting("of the reconstruction; 0 leaves the initial weights", default="100000 iterations")
    decay_every: Count = setting("batches after which the rate falls to a tenth", default=20_000)
    optimizer: Literal["sgd"] = setting("SGD with a momentum that rises to 0.9", default="sgd")
    learning_rate: Rate = setting("of data `scale` times as large, under half the mean squared error", default=0.1)
    scale: Positive = setting("of the data that `learning_rate` is for, in units of ours", default=5.1)

    def phases(self, network: Autoencoder, X: Tensor, image_shape: ImageShape, through: Through) -> Iterator[Phase]:
        batches = max(1, len(X) // self.batch_size)  # of an epoch
        for phase in super().phases(network, X, image_shape, through):
            yield self._scheduled(phase, batches)

    def _scheduled(self, phase: Phase, batches: int) -> Phase:
        """Return the phase under the schedule; an epoch has `batches`."""
        counted = _Counted(phase.module)
        rates = {True: self.learning_rate * self.scale**2 / 2, False: self.learning_rate}
        parameters = list(phase.module.parameters())
        optimizer = torch.optim.SGD(
            [
                {"params": [p for p in parameters if (p.ndim > 1) == is_weight], "initial_lr": rate}
                for is_weight, rate in rates.items()
            ],
            momentum=_MOMENTUM,
            fused=True,
        )

        def before() -> None:
            seen = int(counted.batches)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * 0.1 ** (seen // self.decay_every)
                group["momentum"] = _MOMENTUM * min(1, (seen + batches / 2) / _BURN_IN)  # mean over the epoch; never 0
            counted.batches += batches

        return replace(phase, module=counted, optimizer=optimizer, before=before)


class _Counted(nn.Module):
    """The module of a phase and the number of batches begun, both of which a checkpoint must hold."""

    batches: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))  # on the CPU, where it is read
