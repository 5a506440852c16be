"""Autoencoder pretraining: the reconstruction error, with a denoising start or augmentation where asked for."""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor, nn

from deepclust.errors import NotApplicable
from deepclust.losses.hypersphere import norm_penalty
from deepclust.nets.autoencoder import Autoencoder, build
from deepclust.nets.settings import AnyNetwork, ConvSettings, MLPSettings
from deepclust.seeding import derive_seed
from deepclust.training.augment import augment
from deepclust.training.loop import Outcome, Terms, in_chunks, make_optimizer, train


def read_settings(settings: dict[str, Any]) -> MLPSettings | ConvSettings:
    """Return the typed settings of a network given as in params.yaml's `networks` section."""
    network: MLPSettings | ConvSettings = TypeAdapter(AnyNetwork).validate_python({"architecture": "mlp"} | settings)
    return network


def pretrain(
    X: Tensor,
    settings: MLPSettings | ConvSettings,
    *,
    seed: int,
    image_shape: tuple[int, int, int] | None = None,
) -> tuple[Autoencoder, Outcome]:
    """Return an autoencoder trained to reconstruct X (N, D) on X's device, and how its training went.

    Minimises the mean over samples and features of (x - g(f(x)))^2. `layerwise_epochs` first trains each pair of
    mirrored layers as a denoising autoencoder of the layer below (DEC, Section 3.2); `augmentation` replaces x by a
    random affine map of x, as input and target alike (DECS, Section 4.2); `norm_weight` adds that multiple of the mean
    over samples of (||f(x)|| - 1)^2, divided by D as the squared error is, which draws codes onto the unit sphere
    (ULHE-DC, Eq. (1)-(3), whose squared error is the sum over features).

    Raises
    ------
    NotApplicable
        A convolutional network or augmentation for data without an image shape.
    """
    augmentation = settings.augmentation
    if augmentation is not None and image_shape is None:
        raise NotApplicable("augmentation needs images, and this data set has no image shape")
    generator = torch.Generator().manual_seed(derive_seed(seed, "weights"))
    network = build(settings, X.shape[1], image_shape, generator).to(X.device)
    trace: list[dict[str, Any]] = []
    if isinstance(settings, MLPSettings) and settings.layerwise_epochs:
        trace = _layerwise(network, X, settings, seed)

    def terms(x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if augmentation is not None and image_shape is not None:
            x = augment(x, augmentation, generator, image_shape)
        z, reconstruction = network(x)
        found = {"reconstruction": F.mse_loss(reconstruction, x)}
        if settings.norm_weight:
            found["norm"] = settings.norm_weight / x.shape[1] * norm_penalty(z)
        return found

    outcome = _train(network, X, terms, settings, settings.epochs, derive_seed(seed, "batches"), "pretrain")
    return network, Outcome(trace + outcome.trace, outcome.n_iter, outcome.converged)


def _layerwise(network: Autoencoder, X: Tensor, settings: MLPSettings, seed: int) -> list[dict[str, Any]]:
    """Train each encoder layer with its mirror in the decoder to restore the layer below from a corrupted copy.

    Inputs and hidden units are both dropped with probability `corruption` (DEC, Eq. (4)-(7)); the first pair restores
    the data and the last makes the code, so these two have no activation there.
    """
    trace: list[dict[str, Any]] = []
    pairs = zip(_blocks(network.encoder), _blocks(network.decoder)[::-1], strict=True)
    for depth, (down, up) in enumerate(pairs, start=1):
        terms = _denoising(down, up, settings.corruption)
        pair = nn.ModuleList([down, up])
        seed_here = derive_seed(seed, "batches", str(depth))
        trace += _train(pair, X, terms, settings, settings.layerwise_epochs, seed_here, f"layer{depth}").trace
        X = in_chunks(down, down, X)
    return trace


def _train(
    module: nn.Module,
    X: Tensor,
    terms: Terms,
    settings: MLPSettings | ConvSettings,
    epochs: int,
    seed: int,
    phase: str,
) -> Outcome:
    optimizer = make_optimizer(settings.optimizer, module, settings.learning_rate)
    return train(
        module, X, terms, optimizer=optimizer, epochs=epochs, batch_size=settings.batch_size, seed=seed, phase=phase
    )


def _denoising(down: nn.Module, up: nn.Module, corruption: float) -> Terms:
    def terms(x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        hidden = _drop(down(_drop(x, corruption, generator)), corruption, generator)
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


def _drop(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Return x with entries zeroed with `probability`, the others scaled up to keep the mean, as dropout does."""
    kept = torch.rand(x.shape, generator=generator, device=generator.device).to(x.device) >= probability
    return x * kept / (1 - probability)
