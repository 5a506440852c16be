"""The network of DynAE: an autoencoder whose decoded mixtures of codes are to pass for data (ACAI)."""

import hashlib
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from deepclust.nets._augmentation import augment
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._init import initialise
from deepclust.nets.base import ImageShape, Phase, Through
from deepclust.nets.mlp import MLP
from deepclust.settings import Augmentation, LengthOrZero, Rate, Weight, setting


class ACAI(MLP):
    """Fully connected d-500-500-2000-P, pretrained against a critic of the encoder's shape (Berthelot et al. 2019).

    With r the batch in reverse order, a (B,) and u uniform in [0, 1], b = 1/2 - |u - 1/2|, and the critic c the mean of
    its P outputs, encoder and decoder minimise the first line and the critic the second:

        mean (x - g(z))^2 + `critic_weight` mean c(m)^2,    m = g(a z + (1 - a) z_r)
        mean (c(m) - a)^2 + mean c(b x + (1 - b) g(z))^2

    The autoencoder and the critic take their steps at once, each with the other's weights as they were before. The
    critic is not kept. 475 epochs are the 130,000 batches of DynAE's released code on MNIST.

    `critic` "untrained" leaves the critic its initial weights, as DynAE's released code does: the critic is frozen
    there before the training that should move it is compiled. The mixtures then have a random function to please.
    """

    epochs: LengthOrZero = setting("of the reconstruction; 0 leaves the initial weights", default=475)
    learning_rate: Rate = setting("of the optimizer; of AdaDelta a factor of its own steps", default=1e-4)
    critic_weight: Weight = setting("of the critic against the reconstruction error", default=0.5)
    critic: Literal["trained", "untrained"] = setting(
        "`untrained` is the released code's", default="trained", later=True
    )

    def phases(self, network: Autoencoder, X: Tensor, image_shape: ImageShape, through: Through) -> Iterator[Phase]:
        maps = None if self.augmentation is None else Augmentation.model_validate(self.augmentation)
        critic = self._critic(network).to(X.device)

        def terms(x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            if maps is not None and image_shape is not None:
                x = augment(x, maps, generator, image_shape)
            draws = torch.rand(len(x) + 1, 1, generator=generator, device=generator.device).to(x.device)
            a, b = draws[1:], 0.5 - (draws[:1] - 0.5).abs()
            z, reconstruction = network(x)
            mixed = network.decode(mix(z, a))
            frozen = {name: value.detach() for name, value in critic.named_parameters()}
            judged = functional_call(critic, frozen, (mixed,)).mean(dim=1)
            found = {
                "reconstruction": F.mse_loss(reconstruction, x),
                "adversarial": self.critic_weight * judged.square().mean(),
            }
            if self.critic == "untrained":
                return found
            of_mixed = critic(mixed.detach()).mean(dim=1)
            of_data = critic(b * x + (1 - b) * reconstruction.detach()).mean(dim=1)
            return found | {"critic": F.mse_loss(of_mixed, a.squeeze(1)) + of_data.square().mean()}

        yield from self.layerwise(network, X, through)
        trained = nn.ModuleList([network, critic] if self.critic == "trained" else [network])
        yield Phase("pretrain", trained, X, terms, self.epochs, ("batches",))

    def _critic(self, network: Autoencoder) -> nn.Sequential:
        """Return a critic of the encoder's shape, its weights drawn by a seed that the network's weights give."""
        with torch.device("meta"):
            critic, _ = self.layers(network.facts["n_features"], network.image_shape)
        critic = critic.to_empty(device="cpu")
        drawn = hashlib.sha256(next(network.parameters()).detach().cpu().numpy().tobytes()).digest()
        seed = int.from_bytes(drawn[:4], "little")
        initialise(critic, torch.Generator().manual_seed(seed), self.initial, self.gain)
        return critic


def mix(z: Tensor, a: Tensor) -> Tensor:
    """Return a z + (1 - a) z_r (B, P), with z (B, P) codes, z_r the same in reverse order, and a (B, 1)."""
    return a * z + (1 - a) * z.flip(0)
