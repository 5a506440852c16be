"""Pretraining of an autoencoder: the phases that its network yields, one after the other."""

from typing import Any

import torch
from torch import Tensor

from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets.base import ImageShape, Network
from deepclust.seeding import derive_seed
from deepclust.training.loop import EpochSteps, Outcome, in_chunks, make_optimizer, train


def pretrain(X: Tensor, settings: Network, *, seed: int, image_shape: ImageShape = None) -> tuple[Autoencoder, Outcome]:
    """Return an autoencoder pretrained on X (N, D) on its device, and how the training went.

    The network defines the module and the loss of each phase. The traces of all phases follow each other; `n_iter` is
    that of the last phase.

    Raises
    ------
    NotApplicable
        The network or its augmentation needs images, and the data have no image shape.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "weights"))
    network = settings.build(X.shape[1], image_shape, generator).to(X.device)
    trace: list[dict[str, Any]] = []
    outcome = Outcome([], 0, False)
    for phase in settings.phases(network, X, image_shape, in_chunks):
        outcome = train(
            phase.module,
            phase.X,
            phase.terms,
            optimizer=phase.optimizer or make_optimizer(settings.optimizer, phase.module, settings.learning_rate),
            epochs=phase.epochs,
            batch_size=phase.batch_size or settings.batch_size,
            seed=derive_seed(seed, *phase.stream),
            phase=phase.name,
            steps=EpochSteps(phase.before, dict) if phase.before else None,
        )
        trace += outcome.trace
    return network, Outcome(trace, outcome.n_iter, outcome.converged)
