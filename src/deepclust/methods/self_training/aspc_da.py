"""Adaptive self-paced deep clustering with data augmentation (ASPC-DA; Guo, Liu, Zhu et al., TKDE 2019)."""

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from deepclust.losses.distances import squared_distances
from deepclust.methods._deep import CentroidClusterer
from deepclust.methods._flat_clustering import k_means
from deepclust.nets._augmentation import ROTATED_AND_SHIFTED
from deepclust.nets._autoencoder import Autoencoder
from deepclust.settings import Augmenting, Count, LengthOrZero, Positive, Share, setting
from deepclust.training.loop import EpochSteps, Refresh, batches_of, iterations_of, make_optimizer


class ASPCDA(CentroidClusterer):
    """The encoder alone draws augmented samples to the k-means centres of the clean ones, easy samples first.

        mean_i v_i mean_p (f(T(x_i))_p - mu_(s_i)p)^2

    over the batch and the P features of the code, with T a random affine map of the image. The centres are those of
    k-means on the clean codes before the training, and stay. Before each epoch the clean codes decide over all N
    samples: s_i is the nearest centre, and v_i is 1 if d_i, the squared distance to that centre, is less than
    mean(d) + (t / `epochs`) std(d), else 0. t = 0, 1, ... counts epochs from the second one on; in the first, all v_i
    are 1. Training stops when fewer than `tolerance` of the labels changed in an epoch, or after `epochs`. `labels_`
    are the nearest centres under the final weights. The trace's `kept` is the share of samples with v_i = 1, and
    `alive` counts the clusters that have samples.

    T rotates by up to 10 degrees and shifts by up to a tenth of each side. Rows without an image shape cannot be
    mapped: with `augment: None` they are learnt as they are, which is the paper's ASPC; `augment: true` refuses them.

    The paper's network is pretrained on augmented images by SGD at rate 1 for 500 epochs; in a grid that is a network
    of its own, `{uses: mlp, optimizer: sgd, learning_rate: 1.0, epochs: 500, augmentation: {crop: 0.0}}`.

    The released code looks at the stop rule only where it is given the true labels; ours holds in any case. More in
    `docs/papers/baselines.md`.
    """

    paper: ClassVar[str] = "Guo, Liu, Zhu, Zhu, Li, Xu and Yin 2019"

    augment: Augmenting | None = setting("train on random affine maps; None: of what has an image shape", default=None)
    self_paced: bool = setting("leave out samples far from their centres; false: all v_i are 1", default=True)
    epochs: LengthOrZero = setting(
        "epochs at most, over which the threshold rises from mean to mean + std; 0 leaves the start", default=100
    )
    tolerance: Share = setting("stop once a smaller share of the labels changed in an epoch", default=1e-3)
    batch_size: Count = setting("rows of a batch", default=256)
    learning_rate: Positive = setting("of Adam", default=1e-4)
    n_init: Count = setting("starts of the k-means that gives the centres", default=20)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        before = self._encode(data).cpu().numpy()
        centers = k_means(before, self.n_clusters, n_init=self.n_init, random_state=self._seed).cluster_centers_
        state = ASPCDAState(self.network_, torch.from_numpy(centers).to(data.device), len(data))
        shown = self._augmenter(self.augment, ROTATED_AND_SHIFTED)
        n_batches = batches_of(len(data), self.batch_size)  # of an epoch
        n_passes = math.ceil(iterations_of(self.epochs, n_batches) / n_batches)

        def assign() -> Tensor:
            distances = state.assign(self._encode(data))
            if self.self_paced and state.passes > 0:
                state.weights.copy_(easy(distances, (int(state.passes) - 1) / n_passes))
            state.passes += 1
            return state.labels

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            z = self.network_.encode(shown(x, generator))
            squared = (z - state.centers[state.labels[index]]).square().mean(dim=1)
            return {"clustering": (state.weights[index] * squared).mean()}

        optimizer = make_optimizer("adam", self.network_.encoder, self.learning_rate)
        refresh = Refresh(n_batches, assign, self.tolerance)  # once an epoch
        self._learn(state, data, terms, optimizer, refresh=refresh, steps=EpochSteps(lambda: None, state.columns))
        self.cluster_centers_ = centers
        self.embedding_ = self._encode(data).cpu().numpy()
        self.labels_ = self._nearest(self.embedding_)
        self.extras_ = {"embedding_before": before}


class ASPCDAState(nn.Module):
    """The whole state of a checkpoint: the network, the centres (K, P), and what the last pass over all samples said.

    `labels` (N,) and `weights` (N,), 0 or 1, are read by index; `passes` counts the passes so far.
    """

    def __init__(self, network: Autoencoder, centers: Tensor, n_samples: int) -> None:
        super().__init__()
        self.network = network
        self.centers: Tensor
        self.labels: Tensor
        self.weights: Tensor
        self.passes: Tensor
        self.register_buffer("centers", centers)
        self.register_buffer("labels", torch.zeros(n_samples, dtype=torch.int64, device=centers.device))
        self.register_buffer("weights", centers.new_ones(n_samples))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))  # on the CPU, where it is read

    @torch.no_grad()
    def assign(self, codes: Tensor) -> Tensor:
        """Label every sample by its nearest centre, and return the squared distances (N,) of codes (N, P) to them."""
        distances = codes.new_empty(len(codes))
        for part, least, labels in zip(codes.split(4096), distances.split(4096), self.labels.split(4096), strict=True):
            torch.min(squared_distances(part, self.centers), dim=1, out=(least, labels))
        return distances

    def columns(self) -> dict[str, float]:
        """Return the trace's columns."""
        return {"kept": float(self.weights.mean()), "alive": len(self.labels.unique())}


def easy(distances: Tensor, progress: float) -> Tensor:
    """Return v (N,): 1 where d_i < mean(d) + `progress` std(d), else 0.

    d : (N,), squared distances of all samples to their own centres; std(d) has the divisor N.
    """
    threshold = distances.mean() + progress * distances.std(correction=0)
    return (distances < threshold).to(distances.dtype)
