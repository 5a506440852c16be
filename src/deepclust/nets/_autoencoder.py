"""The autoencoder that every network of this folder builds and every network method shares."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Autoencoder(nn.Module):
    """An encoder (B, D) -> (B, P) and a decoder (B, P) -> (B, D); inputs and outputs are flat even for images.

    `facts` is the part that JSON can hold, all but the weights: the name of the network, the settings, D and the
    images' shape (C, H, W). Fully connected networks have the shape too, because augmentation asks for it.
    """

    def __init__(self, encoder: nn.Sequential, decoder: nn.Sequential, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.facts = dict(facts)
        self.image_shape: tuple[int, int, int] | None = facts["image_shape"]

    def encode(self, x: Tensor) -> Tensor:
        code: Tensor = self.encoder(x)
        return code

    def decode(self, z: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(z)
        return reconstruction

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the code (B, P) and the reconstruction (B, D)."""
        z = self.encode(x)
        return z, self.decode(z)
