"""Restricted Boltzmann machines as the start of an autoencoder, layer by layer (Hinton and Salakhutdinov 2006)."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepclust.nets.base import Phase, Through
from deepclust.settings import LengthOrZero

Units = Literal["binary", "gaussian"]
INITIAL = 0.1  # standard deviation of the initial weights
_MOMENTA = 0.5, 0.9  # for the first five epochs, and from then on
_WEIGHT_COST = 2e-4  # of the weights, not of the biases


class Machine(nn.Module):
    """One machine: weights W (H, V) and hidden biases b of the encoder's layer, visible biases a of the decoder's.

        E(v, h) = -a'v - b'h - h'Wv,   p(h = 1 | v) = sigmoid(Wv + b),   p(v = 1 | h) = sigmoid(W'h + a)

    Gaussian units have variance 1, the mean without the sigmoid, and (v - a)^2 / 2 (or h^2 / 2 - b h) in the energy.
    """

    epochs: Tensor

    def __init__(self, down: nn.Linear, up: nn.Linear, visible: Units, hidden: Units) -> None:
        super().__init__()
        self.down, self.up = down, up
        self.visible, self.hidden = visible, hidden
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))  # begun; on the CPU, where it is read

    def free_energy(self, v: Tensor) -> Tensor:
        """Return -ln sum_h exp(-E(v, h)) of each row of v (B, V), up to a constant."""
        inputs = self.down(v).float()
        hidden = F.softplus(inputs) if self.hidden == "binary" else inputs.square() / 2
        visible = -v * self.up.bias if self.visible == "binary" else (v - self.up.bias).square() / 2
        return visible.sum(dim=1) - hidden.sum(dim=1)

    @torch.no_grad()
    def reconstruct(self, v: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean of the visible units given hidden units drawn at v (B, V)."""
        inputs = self.down(v).float()
        draw = torch.rand if self.hidden == "binary" else torch.randn
        noise = draw(inputs.shape, generator=generator, device=generator.device).to(inputs.device)
        h = (noise < inputs.sigmoid()).float() if self.hidden == "binary" else inputs + noise
        means = F.linear(h, self.down.weight.T, self.up.bias).float()
        return means.sigmoid() if self.visible == "binary" else means

    def terms(self, x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the mean free energy of a batch less that of its reconstructions.

        The gradient, with the reconstructions fixed, is CD-1's: minus <h v'> at the data, plus <h v'> at the
        reconstructions, h its mean given v.
        """
        energies = self.free_energy(torch.cat([x, self.reconstruct(x, generator)]))  # one product, one rounding
        data, reconstruction = energies.split(len(x))
        return {"contrastive_divergence": data.mean() - reconstruction.mean()}


def machines(
    pairs: Sequence[tuple[nn.Linear, nn.Linear]],
    units: Sequence[Units],
    rates: Sequence[float],
    X: Tensor,
    through: Through,
    *,
    epochs: LengthOrZero,
    batch_size: int,
) -> Iterator[Phase]:
    """Yield the training of each pair's machine on the means of the one below, then unroll it: `up` gets W'.

    `pairs` are mirrored layers (encoder's, decoder's), the first on X (N, D); `units` are those of X and of each code.
    SGD with `rates`, momentum and weight cost of Hinton's published program. The state of a machine is its layers', so
    that a checkpoint of the phase has it.
    """
    below = X
    for depth, ((down, up), rate) in enumerate(zip(pairs, rates, strict=True), start=1):
        machine = Machine(down, up, units[depth - 1], units[depth])
        decayed: dict[str, Any] = {"params": [down.weight], "weight_decay": _WEIGHT_COST}
        optimizer = torch.optim.SGD([decayed, {"params": [down.bias, up.bias]}], lr=rate, fused=True)

        def before(machine: Machine = machine, optimizer: torch.optim.SGD = optimizer) -> None:
            for group in optimizer.param_groups:
                group["momentum"] = _MOMENTA[int(machine.epochs) >= 5]
            machine.epochs += 1

        yield Phase(
            f"rbm{depth}",
            machine,
            below,
            machine.terms,
            epochs,
            ("batches", str(depth)),
            optimizer=optimizer,
            batch_size=batch_size,
            before=before,
        )
        with torch.no_grad():
            up.weight.copy_(down.weight.T)
        means = nn.Sequential(down, nn.Sigmoid()) if machine.hidden == "binary" else down
        below = through(means, means, below)
