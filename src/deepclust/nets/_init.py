"""Initial weights from a given generator, so that the global one is never touched."""

import torch
from torch import nn


def initialise(module: nn.Module, generator: torch.Generator, scheme: str = "fan_in", gain: float = 1) -> None:
    """Fill every layer in place: weights at random, biases zero, normalisations the identity.

    `fan_in` is uniform in +-1/sqrt(fan_in), a variance of 1 / (3 fan_in): the scheme of the common implementations of
    DEC and IDEC. `glorot` is uniform in +-gain * sqrt(6 / (fan_in + fan_out)), which keeps the signal's scale (Glorot
    and Bengio 2010; PC-X). `normal` is N(0, 0.01^2), DEC's, from which only layer after layer learns.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            fan_in, fan_out = layer.weight[0].numel(), layer.weight[:, 0].numel()
            if isinstance(layer, nn.ConvTranspose2d):  # stored as (in, out, h, w)
                fan_in, fan_out = fan_out, fan_in
            bound = fan_in**-0.5 if scheme == "fan_in" else gain * (6 / (fan_in + fan_out)) ** 0.5
            if scheme == "normal":
                nn.init.normal_(layer.weight, std=0.01, generator=generator)
            else:
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_running_stats()
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
