"""Initial weights from a generator of our own, so that the global RNG is never touched."""

import torch
from torch import nn


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Fill every layer in place: weights uniform in +-1/sqrt(fan_in), biases zero, normalisations the identity.

    The weights' variance is 1 / (3 fan_in), the scheme of the common implementations of DEC and IDEC. DEC's paper
    draws from N(0, 0.01^2), which only trains after a layer-wise start.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            fan_in = layer.weight[0].numel()
            if isinstance(layer, nn.ConvTranspose2d):  # stored as (in, out, h, w)
                fan_in = layer.weight[:, 0].numel()
            nn.init.uniform_(layer.weight, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_running_stats()
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
