"""The base of every network: the size of its code, the settings of its pretraining, and the pretraining's phases."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepclust.errors import NotApplicable
from deepclust.nets._augmentation import augment
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._init import initialise
from deepclust.settings import Augmentation, Count, LengthOrZero, Rate, Settings, as_plain, names_of, setting

ImageShape = tuple[int, int, int] | None  # (C, H, W)
Terms = Callable[[Tensor, Tensor, torch.Generator], dict[str, Tensor]]
Through = Callable[[Callable[[Tensor], Tensor], nn.Module, Tensor], Tensor]
"""(function, module, X (N, D)) -> the function of all rows, with the module in evaluation mode and no gradient."""


@dataclass(frozen=True)
class Phase:
    """One training of a pretraining: its module, its data, and the loss of a batch."""

    name: str  # the phase's name in the trace
    module: nn.Module
    X: Tensor
    terms: Terms  # as `training.loop.train` takes them
    epochs: LengthOrZero
    stream: tuple[str, ...]  # names from which the seed of the batches is derived
    optimizer: torch.optim.Optimizer | None = None  # None: as the settings say
    batch_size: int | None = None  # None: as the settings say
    before: Callable[[], None] | None = None  # before each epoch, as `training.loop.EpochSteps` has it


class Network(Settings):
    """The settings, the construction and the pretraining of an autoencoder.

    Subclasses define `layers`, and `needs_images` if the layers are for images alone. A pretraining with other terms is
    defined in `losses`, and a pretraining with other phases in `phases`.
    """

    needs_images: ClassVar[bool] = False

    n_embedding: Count = setting("P, features of the code", default=10)
    initial: Literal["fan_in", "glorot", "normal"] = setting("scheme of the initial weights", default="fan_in")
    epochs: LengthOrZero = setting("of the reconstruction; 0 leaves the initial weights", default=50)
    batch_size: Count = setting("rows of a batch", default=256)
    optimizer: Literal["adam", "adadelta", "sgd"] = setting("SGD has momentum 0.9", default="adam")
    learning_rate: Rate = setting("of the optimizer; of AdaDelta a factor of its own steps", default=1e-3)
    augmentation: Augmentation | None = setting("random affine maps, of input and target alike", default=None)

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        """Return encoder and decoder, their weights not set."""
        raise NotImplementedError

    @property
    def gain(self) -> float:
        """Return the factor of Glorot's bound."""
        return 1

    def build(self, n_features: int, image_shape: ImageShape, generator: torch.Generator) -> Autoencoder:
        """Return an autoencoder for D = `n_features` with weights drawn from `generator`, and from no global one.

        Raises
        ------
        NotApplicable
            The network or its augmentation is for images, and the data are no images, or too small; or the data are a
            graph alone.
        """
        if not n_features:
            raise NotApplicable("a network reads samples, and this data set is a graph alone")
        if image_shape is None and (self.needs_images or self.augmentation is not None):
            what = "a convolutional network" if self.needs_images else "augmentation"
            raise NotApplicable(f"{what} needs images, and this data set has no image shape")
        with torch.device("meta"):
            encoder, decoder = self.layers(n_features, image_shape)
        facts: dict[str, Any] = {"uses": type(self).__module__.rpartition(".")[2], "settings": self.as_dict()}
        facts |= {"n_features": n_features, "image_shape": image_shape}
        network = Autoencoder(encoder, decoder, facts).to_empty(device="cpu")
        initialise(network, generator, self.initial, self.gain)
        return network

    def as_dict(self) -> dict[str, Any]:
        """Return every setting in a form that JSON can hold."""
        return {name: as_plain(getattr(self, name)) for name in names_of(type(self))}

    def phases(self, network: Autoencoder, X: Tensor, image_shape: ImageShape, through: Through) -> Iterator[Phase]:
        """Yield the trainings that pretrain `network` on X (N, D), each after the one before it has run."""
        settings = None if self.augmentation is None else Augmentation.model_validate(self.augmentation)

        def terms(x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            if settings is not None and image_shape is not None:
                x = augment(x, settings, generator, image_shape)
            z, reconstruction = network(x)
            return self.losses(x, z, reconstruction)

        yield Phase("pretrain", network, X, terms, self.epochs, ("batches",))

    def losses(self, x: Tensor, z: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """Return the terms of a batch: the mean over samples and features of (x - g(f(x)))^2.

        x, reconstruction (B, D); z (B, P).
        """
        return {"reconstruction": F.mse_loss(reconstruction, x)}
