"""DEC's pretraining as its released program does it, in its own units: data times 5.1, half the mean squared error."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Layer = tuple[Tensor, Tensor]  # weights (out, in), biases (out,)


def relu_unless(last: bool, values: Tensor) -> Tensor:
    return values if last else values.clamp_min(0)


def descend(layers: list[Layer], restored: Callable[[], Tensor], target: Tensor, steps: int) -> None:
    """Take full-batch steps v <- momentum v + rate gradient, w <- w - v; biases have twice the rate."""
    tensors = [tensor.requires_grad_() for layer in layers for tensor in layer]
    velocity = [torch.zeros_like(tensor) for tensor in tensors]
    for step in range(steps):
        momentum = 0.9 * (step + 0.5) / 1000
        loss = ((restored() - target) ** 2).sum() / target.numel() / 2
        gradients = torch.autograd.grad(loss, tensors)
        with torch.no_grad():
            for tensor, v, gradient in zip(tensors, velocity, gradients, strict=True):
                v *= momentum
                v += (0.1 if tensor.ndim == 2 else 0.2) * gradient
                tensor -= v
    for tensor in tensors:
        tensor.requires_grad_(False)


def pretrained(
    X: np.ndarray, encoder: list[np.ndarray], decoder: list[np.ndarray], layerwise: int, whole: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights and biases of all layers, biases in units of data in [0, 1], nothing dropped.

    `encoder` and `decoder` are the initial weights (out, in), `layerwise` and `whole` numbers of steps.
    """
    x = torch.from_numpy(np.float64(5.1) * X)
    down, up = (
        [(torch.from_numpy(W).double(), torch.zeros(len(W), dtype=torch.float64)) for W in stack]
        for stack in (encoder, decoder)
    )
    depth = len(down)
    below = x
    for i in range(depth):
        (W, b), (V, a) = down[i], up[depth - 1 - i]

        def restored(i: int = i, W: Tensor = W, b: Tensor = b, V: Tensor = V, a: Tensor = a) -> Tensor:
            hidden = relu_unless(i == depth - 1, below @ W.T + b)  # noqa: B023 (called at once)
            return relu_unless(i == 0, hidden @ V.T + a)

        descend([(W, b), (V, a)], restored, below, layerwise)
        below = relu_unless(i == depth - 1, below @ W.T + b)

    def through_all() -> Tensor:
        values = x
        for stack in (down, up):
            for i, (W, b) in enumerate(stack):
                values = relu_unless(i == depth - 1, values @ W.T + b)
        return values

    descend([*down, *up], through_all, x, whole)
    return [(W.numpy(), b.numpy() / 5.1) for W, b in (*down, *up)]
