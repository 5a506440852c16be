"""The autoencoder every network method shares, and its construction from settings."""

from typing import Any

import torch
from torch import Tensor, nn

from deepclust.errors import NotApplicable
from deepclust.nets import conv, mlp
from deepclust.nets.init import initialise
from deepclust.nets.settings import ConvSettings, MLPSettings


class Autoencoder(nn.Module):
    """An encoder (B, D) -> (B, P) and a decoder (B, P) -> (B, D); images are flat outside, whatever is inside."""

    def __init__(
        self,
        settings: MLPSettings | ConvSettings,
        n_features: int,
        image_shape: tuple[int, int, int] | None,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.n_features = n_features
        self.image_shape = image_shape  # (C, H, W) of the data, known for MLPs too: augmentation asks for it
        self.encoder = encoder
        self.decoder = decoder

    @property
    def facts(self) -> dict[str, Any]:
        """Return what JSON holds of it: all but the weights."""
        settings = self.settings.model_dump(mode="json")
        return {"settings": settings, "n_features": self.n_features, "image_shape": self.image_shape}

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


def build(
    settings: MLPSettings | ConvSettings,
    n_features: int,
    image_shape: tuple[int, int, int] | None,
    generator: torch.Generator,
) -> Autoencoder:
    """Return an autoencoder for D = `n_features` with weights drawn from `generator`; the global RNG is not touched.

    Raises
    ------
    NotApplicable
        A convolutional network for data that are not images, or for images too small for its depth.
    """
    with torch.device("meta"):
        if isinstance(settings, MLPSettings):
            encoder, decoder = mlp.layers(
                n_features, settings.hidden, settings.n_embedding, settings.batch_norm, settings.activation
            )
        else:
            if image_shape is None:
                raise NotApplicable("a convolutional network needs images, and this data set has no image shape")
            encoder, decoder = conv.layers(image_shape, settings.channels, settings.n_embedding, settings.batch_norm)
    network = Autoencoder(settings, n_features, image_shape, encoder, decoder).to_empty(device="cpu")
    sigmoid = isinstance(settings, MLPSettings) and settings.activation == "sigmoid"
    initialise(network, generator, settings.initial, 4 if sigmoid else 1)  # Glorot and Bengio's factor for the sigmoid
    return network
