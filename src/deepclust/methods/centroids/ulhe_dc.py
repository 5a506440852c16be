"""Uniform quasi-low-rank hypersphere embedding (ULHE-DC, anonymous submission)."""

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepclust.errors import UserError
from deepclust.losses.distances import blocks
from deepclust.losses.hypersphere import (
    cluster_directions,
    compactness,
    directions,
    norm_penalty,
    uniformity,
)
from deepclust.methods._deep import CentroidClusterer
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.settings import Augmenting, Count, Length, LengthOrZero, Positive, Share, Weight, setting
from deepclust.solvers.spherical_kmeans import SphericalKMeans, spherical_kmeans
from deepclust.training.loop import (
    EpochSteps,
    Outcome,
    Refresh,
    batches_of,
    in_chunks,
    iterations_of,
    make_optimizer,
    train,
)

_STARTED_FROM = 100_000  # samples drawn at random for the start, if there are more than twice as many


class ULHEDC(CentroidClusterer):
    """Spherical k-means on a code near the unit sphere, whose encoder then learns its own hard labels.

        mean_i [1 - cos(f(x_i), m_(s_i))] + lambda_norm L_norm + lambda_unif L_unif + lambda_cmpt L_cmpt    (Eq. (13))

    s_i is the centroid of largest cosine (Eq. (6)), and centroids follow their members with momentum (Eq. (8)). L_unif
    is the energy of the batch's own centroids, summed over pairs of clusters; L_cmpt the spread inside the clusters.
    L_unif and L_cmpt have gradient in the encoder alone; the decoder is left as it was. `lambda_unif` and `lambda_cmpt`
    at 0 are the ablations. Training stops when fewer than `tolerance` of the labels changed in an epoch, or after
    `epochs`.

    Where the paper is open or does not work as printed (`docs/papers/ulhe_dc.md` has more on each):

    - `reduction: mean`. Eq. (12) prints a sum over a cluster's pairs of members (`sum`). Against the first term the sum
      weighs 2 lambda_cmpt (B/K)^2, some 500 times at a batch of 256, and all samples end in one cluster. For the mean
      over the pairs the factor is 2 lambda_cmpt.
    - `centroid_update: epoch`. Algorithm 1 and the stop rule count assignments of all N samples, so an iteration is an
      epoch: labels and centroids once from all samples, then one pass with both fixed. The text motivates Eq. (8) by
      mini-batches, which is `batch`: labels and centroids follow every batch, from the codes that the batch needs
      anyway. Both memories last about one epoch, but while L_unif turns the clusters quickly, the centroids of `batch`
      label fresh codes wrongly.
    - `self_paced`. The nearest third of the samples, then two thirds, then all, by the cosine to their own centroids at
      the beginning of the stage. Each stage is the algorithm above on its samples. `stage_epochs` is the length of the
      first two stages in the unit of `epochs` (None: a third of it, which gives the paper's 100 of 300). The stop rule
      holds in the last stage alone, because the hard samples have taught nothing before. `stop: any_stage` takes
      Algorithm 1 at its word: settled labels end the training in whatever stage.
    - `relabel: false` keeps the labels of the start, while centroids follow the codes. Labels that cannot change do not
      stop the training. `labels_` are those of Eq. (6), as always.
    - `clip_cmpt` bounds the gradient that u gets from lambda_cmpt L_cmpt, for the printed sum. The gradient of the
      first term has norm B^(-1/2) at most.
    - `augment` (beyond the paper): the encoder sees random affine copies, while labels and centroids come from the
      samples themselves. A copy is thus taught the label of its sample, not the label that the copy would get.
    """

    default_network: ClassVar[str] = "sphere"
    paper: ClassVar[str] = "ULHE-DC, anonymous submission of 2023"

    lambda_norm: Weight = setting("weight of the codes' distance from the unit sphere", default=2.0)
    lambda_unif: Weight = setting("weight of the energy between the centroids", default=0.08)
    lambda_cmpt: Weight = setting("weight of the spread inside the clusters", default=0.40)
    reduction: Literal["mean", "sum"] = setting("over a cluster's pairs of members, in the spread", default="mean")
    centroid_update: Literal["batch", "epoch"] = setting("when labels and centroids follow the codes", default="epoch")
    clip_cmpt: Positive | None = setting("largest norm of the spread's gradient by u (B, P); None: any", default=None)
    relabel: bool = setting("assign labels anew at every iteration; else those of the start stay", default=True)
    self_paced: bool = setting("feed the nearest third of the samples, two thirds, all", default=True)
    stage_epochs: Length | None = setting("epochs of each of the first two stages; None: a third", default=None)
    epochs: LengthOrZero = setting("epochs of all stages together, at most; 0 leaves the start", default=300)
    tolerance: Share = setting("stop once a smaller share of the labels changed in an epoch", default=1e-3)
    stop: Literal["last_stage", "any_stage"] = setting("where `tolerance` ends the training", default="last_stage")
    batch_size: Count = setting("rows of a batch", default=256)
    learning_rate: Positive = setting("of SGD with momentum 0.9", default=2e-3)
    augment: Augmenting = setting("encode random affine maps of the images in training", default=False)
    n_init: Count = setting("starts of spherical k-means", default=20)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        stages = self._stages()
        data = self._start(X, network)
        before = self._encode(data).cpu().numpy()
        start = self._start_from(before)
        centroids = torch.from_numpy(start.centers).to(data.device, torch.float32)
        state = ULHEDCState(self.network_, centroids, len(data), self.relabel)
        optimizer = make_optimizer("sgd", self.network_.encoder, self.learning_rate)

        self.trace_, self.n_iter_ = list[dict[str, Any]](), 0
        for number, (share, epochs) in enumerate(stages, start=1):
            u = directions(self._encode(data))
            fed = easiest(u, state.centroids, share)
            if self.relabel or number == 1:
                state.labels.copy_(nearest(u, state.centroids))
            stops = self.relabel and (share == 1 or self.stop == "any_stage")
            tolerance = self.tolerance if stops else 0.0
            outcome = self._train(state, data, fed, optimizer, epochs, tolerance, f"stage{number}")
            past = len(self.trace_)
            self.trace_ += [row | {"phase": "cluster", "epoch": past + row["epoch"]} for row in outcome.trace]
            self.n_iter_ += outcome.n_iter
            if outcome.converged:
                break
        self.converged_ = outcome.converged

        self.cluster_centers_ = state.centroids.cpu().numpy()
        self.embedding_ = self._encode(data).cpu().numpy()
        self.labels_ = self._nearest(self.embedding_)
        self.readouts_ = self._modularity(self.embedding_)
        self.extras_ = {"embedding_before": before}

    def _start_from(self, codes: np.ndarray) -> SphericalKMeans:
        """Return spherical k-means of codes (N, P); beyond 200,000 codes, of 100,000 drawn at random."""
        if len(codes) > 2 * _STARTED_FROM:
            codes = codes[np.random.default_rng(self._seed).permutation(len(codes))[:_STARTED_FROM]]
        return spherical_kmeans(codes, self.n_clusters, random_state=self._seed, n_init=self.n_init)

    def _stages(self) -> list[tuple[float, LengthOrZero]]:
        """Return the share of samples and the length, stage by stage."""
        if not self.self_paced or not self.epochs:
            return [(1.0, self.epochs)]
        if self.stage_epochs is not None and isinstance(self.stage_epochs, str) != isinstance(self.epochs, str):
            raise UserError(
                "stage_epochs and epochs must both be numbers of epochs, or both of iterations, got "
                f"{self.stage_epochs!r} and {self.epochs!r}; change one of them"
            )
        total = iterations_of(self.epochs, 1)  # in its own unit
        each = total // 3 if self.stage_epochs is None else iterations_of(self.stage_epochs, 1)
        if 2 * each >= total:
            raise UserError(
                f"stage_epochs must be below epochs/2={total / 2:g}, got {each}: "
                "two stages of that length come before the one that feeds all samples"
            )
        stages = [(share, n) for share, n in [(1 / 3, each), (2 / 3, each), (1.0, total - 2 * each)] if n]
        return [(share, f"{n} iterations" if isinstance(self.epochs, str) else n) for share, n in stages]

    def _train(
        self,
        state: "ULHEDCState",
        X: Tensor,
        fed: Tensor,
        optimizer: torch.optim.Optimizer,
        epochs: LengthOrZero,
        tolerance: float,
        phase: str,
    ) -> Outcome:
        """Run step 2 of the paper's Algorithm 1 on the samples `fed` (M,) of X (N, D)."""
        encode, augmented = self.network_.encode, self._augmenter(self.augment)

        def assign() -> Tensor:
            if self.centroid_update == "epoch":
                state.follow(fed, in_chunks(encode, self.network_, X, fed), len(fed))
            return state.labels[fed]

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            z = encode(augmented(x, generator))
            with torch.autocast(z.device.type, enabled=False):  # cosines near 1 need more digits than bfloat16 has
                z = z.float()
                if self.centroid_update == "batch":
                    state.follow(index, self._clean(x, z).float(), len(fed))
                u, labels = directions(z), state.labels[index]
                centroids, sizes = cluster_directions(u, labels, self.n_clusters)
                return {
                    "clustering": 1 - (u * state.centroids[labels]).sum(dim=1).mean(),
                    "norm": self.lambda_norm * norm_penalty(z),
                    "uniformity": self.lambda_unif * uniformity(centroids, sizes > 0, len(z)),
                    "compactness": self.lambda_cmpt
                    * compactness(_clipped(u, self.clip_cmpt), labels, self.n_clusters, self.reduction),
                }

        return train(
            state,
            X,
            terms,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=self.batch_size,
            seed=derive_seed(self._seed, "batches", phase),
            phase=phase,
            subset=fed,
            refresh=Refresh(batches_of(len(fed), self.batch_size), assign, tolerance),  # once an epoch
            steps=EpochSteps(lambda: None, lambda: state.diagnostics(fed)),
        )

    @torch.no_grad()
    def _clean(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the codes that labels are read from: those of the samples x, even if z are those of random copies."""
        return self.network_.encode(x) if self.augment else z.detach()

    def _nearest(self, codes: np.ndarray) -> np.ndarray:
        centroids = torch.from_numpy(self.cluster_centers_)
        return nearest(torch.from_numpy(codes), centroids).numpy()  # the norm of a code does not matter


class ULHEDCState(nn.Module):
    """The whole state of a checkpoint: the network, the centroids (K, P) and the labels (N,) as last assigned.

    `relabel` says whether labels follow the codes.
    """

    def __init__(self, network: Autoencoder, centroids: Tensor, n_samples: int, relabel: bool) -> None:
        super().__init__()
        self.network = network
        self.relabel = relabel
        self.centroids: Tensor
        self.labels: Tensor
        self.register_buffer("centroids", centroids)
        self.register_buffer("labels", torch.zeros(n_samples, dtype=torch.int64, device=centroids.device))

    @torch.no_grad()
    def follow(self, rows: Tensor, codes: Tensor, n_samples: int) -> None:
        """Assign `rows` by their codes (Eq. (6)), then move the centroids after their new members (Eq. (8))."""
        u = directions(codes)
        if self.relabel:
            self.labels[rows] = nearest(u, self.centroids)
        labels = self.labels[rows]
        self.centroids.copy_(momentum_centroids(self.centroids, u, labels, n_samples))

    def diagnostics(self, fed: Tensor) -> dict[str, Any]:
        """Return the trace's columns: the largest cosine between centroids, and how many clusters have members."""
        cosines = (self.centroids @ self.centroids.T).fill_diagonal_(-torch.inf)
        return {
            "largest_cosine": float(cosines.max()) if len(cosines) > 1 else None,
            "alive": len(self.labels[fed].unique()),
        }


def _clipped(u: Tensor, largest: float | None) -> Tensor:
    """Return u, to which a gradient of larger norm than `largest` comes back shortened to it."""
    if largest is None:
        return u
    u = u.view_as(u)  # a tensor of its own: other gradients of u stay as they are
    u.register_hook(lambda gradient: gradient * (largest / gradient.norm().clamp_min(1e-12)).clamp_max(1))
    return u


def nearest(u: Tensor, centroids: Tensor) -> Tensor:
    """Return the labels (B,) of the centroids (K, P) of largest cosine to the directions u (B, P) (Eq. (6))."""
    return torch.cat([(u[rows] @ centroids.T).argmax(dim=1) for rows in blocks(len(u), len(centroids))])


def momentum_centroids(centroids: Tensor, u: Tensor, labels: Tensor, n_samples: int) -> Tensor:
    """Return Norm(m_k + (K |C_k| / N) mhat_k) (K, P), mhat_k the direction of the members' sum (Eq. (7)-(8)).

    u (B, P) are the members' directions; a cluster without members in u keeps its centroid. A cluster of average size
    moves halfway in one call with all N samples, and as far in N/B calls with batches of B.
    """
    latest, sizes = cluster_directions(u, labels, len(centroids))
    weight = len(centroids) * sizes / n_samples
    return F.normalize(centroids + weight.unsqueeze(1) * latest)


def easiest(u: Tensor, centroids: Tensor, share: float) -> Tensor:
    """Return the row numbers, ascending, of the `share` of all samples nearest to their centroids by cosine.

    u : (N, P), directions; centroids : (K, P). The number is rounded up; at equal cosines the first row comes first.
    """
    own = torch.cat([(u[rows] @ centroids.T).amax(dim=1) for rows in blocks(len(u), len(centroids))])
    order = own.argsort(descending=True, stable=True)
    return order[: math.ceil(share * len(u))].sort().values
