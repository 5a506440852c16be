"""DEC's self-training, which IDEC extends: sharpen the soft assignments, and learn the sharpened ones."""

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from deepclust.losses.student_t import kl_divergence, soft_assignment, target_distribution
from deepclust.methods._deep import CentroidClusterer
from deepclust.methods._flat_clustering import k_means
from deepclust.nets._autoencoder import Autoencoder
from deepclust.settings import Augmenting, Count, LengthOrZero, Positive, Share, setting
from deepclust.training.loop import Refresh, batches_of, in_chunks, make_optimizer
from deepclust.training.rows import Rows
from deepclust.training.runtime import widest


class SelfTrainingState(nn.Module):
    """The whole state of a checkpoint: the network, the centroids (K, P), and the parts of the target.

    The parts are the codes (N, P), the centroids and the soft cluster sizes (K,) of the last refresh: P numbers a
    sample, whereas the target has K.
    """

    def __init__(self, network: Autoencoder, centroids: Tensor, n_samples: int) -> None:
        super().__init__()
        self.network = network
        self.centroids = nn.Parameter(centroids)
        self.bank: Tensor
        self.anchors: Tensor
        self.sizes: Tensor
        self.register_buffer("bank", centroids.new_zeros(n_samples, centroids.shape[1]))
        self.register_buffer("anchors", centroids.clone())
        self.register_buffer("sizes", centroids.new_zeros(len(centroids)))


class SelfTraining(CentroidClusterer):
    """k-means on the code, then KL(P || Q) by mini-batches, P from all samples every `update_interval` iterations.

    The released programs have 140 iterations on MNIST and Fashion, 30 on USPS and MNIST-test. With 140, an epoch
    encodes all samples N / (140 B) times and takes time in proportion to N^2. None stands for the iterations of an
    epoch, which suits large data.

    Subclasses define the loss of a batch in `_terms`. Training stops when fewer than `tolerance` of the labels changed
    between two refreshes, or after `epochs`. `labels_` is argmax_j q_ij under the final weights: the nearest centroids.

    `normalize` measures the code's distances in units of the data's root mean square, and errors in its square.
    Student's t has a scale, alpha, and DEC's data have mean square 1; on codes of data in [0, 1] every q is nearly
    uniform, and sharpening it merges clusters.

    `augment`: batches are random affine maps of their images, taught the target of the images themselves (Guo, Zhu, Liu
    and Yin 2018).
    """

    alpha: Positive = setting("degrees of freedom of Student's t", default=1.0)
    normalize: bool = setting("measure distances of codes in units of the data's root mean square", default=True)
    update_interval: Count | None = setting("iterations between two targets; None: those of an epoch", default=140)
    tolerance: Share = setting("stop once a smaller share of the labels changed between two targets", default=1e-3)
    epochs: LengthOrZero = setting("epochs at most; 0 leaves the start", default=50)
    batch_size: Count = setting("rows of a batch", default=256)
    optimizer: Literal["sgd", "adam"] = setting("SGD has momentum 0.9", default="sgd")
    learning_rate: Positive = setting("of the optimizer", default=0.01)
    n_init: Count = setting("starts of the k-means that gives the first centroids", default=20)
    augment: Augmenting = setting("train on random affine maps of the images", default=False)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        self._unit = self.scale_ = max(_root_mean_square(data), 1e-12) if self.normalize else 1.0
        codes = self._encode(data).cpu().numpy()
        centroids = k_means(codes, self.n_clusters, n_init=self.n_init, random_state=self._seed).cluster_centers_
        state = SelfTrainingState(self.network_, torch.from_numpy(centroids).to(data.device), len(data))
        augmented = self._augmenter(self.augment)

        @torch.no_grad()
        def refresh() -> Tensor:
            state.bank.copy_(in_chunks(self.network_.encode, self.network_, data))
            state.anchors.copy_(state.centroids)
            state.sizes.zero_()
            labels = torch.empty(len(data), dtype=torch.int64, device=data.device)
            for codes, found in zip(state.bank.split(4096), labels.split(4096), strict=True):
                q = self._soft(codes, state.anchors)
                state.sizes += q.sum(dim=0)
                found.copy_(q.argmax(dim=1))
            return labels

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            x = augmented(x, generator)
            z = self.network_.encode(x)
            target = target_distribution(self._soft(state.bank[index], state.anchors), state.sizes)
            return self._terms(x, z, kl_divergence(target, self._soft(z, state.centroids)))

        optimizer = make_optimizer(self.optimizer, state, self.learning_rate)
        each = Refresh(self.update_interval or batches_of(len(data), self.batch_size), refresh, self.tolerance)
        self._learn(state, data, terms, optimizer, refresh=each)
        self.embedding_ = self._encode(data).cpu().numpy()
        self.cluster_centers_ = state.centroids.detach().cpu().numpy()
        self.labels_ = self._nearest(self.embedding_)

    def _terms(self, x: Tensor, z: Tensor, divergence: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of a batch's loss from its rows x (B, D), codes z (B, P) and KL(P || Q)."""
        raise NotImplementedError

    def _soft(self, z: Tensor, centroids: Tensor) -> Tensor:
        return soft_assignment(z / self._unit, centroids / self._unit, self.alpha)

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return q (Eq. (1) of DEC) under the final weights; `scale_` is the unit of distances."""
        centroids = torch.from_numpy(self.cluster_centers_).double() / self.scale_
        codes = torch.from_numpy(self._exact_codes(X)) / self.scale_
        return torch.cat([soft_assignment(part, centroids, self.alpha) for part in codes.split(4096)]).numpy()


def _root_mean_square(X: Tensor) -> float:
    chunks, wide = Rows(X).chunks(4096), widest(X.device)
    return math.sqrt(sum(float(rows.square().sum(dtype=wide)) for rows in chunks) / X.numel())
