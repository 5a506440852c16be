"""Profound clustering via slow exemplars (Pan, Yao and Tsang, CPAL 2024)."""

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor, nn

from deepclust.losses.distances import squared_distances
from deepclust.losses.exemplars import (
    assignment_entropy,
    clustering_loss,
    inverse_sizes,
    moving_average,
    moving_ratio,
)
from deepclust.methods._deep import CentroidClusterer
from deepclust.methods._flat_clustering import k_means
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._init import initialise
from deepclust.seeding import derive_seed
from deepclust.settings import Augmenting, Count, Length, LengthOrZero, Positive, Share, Weight, setting
from deepclust.training.loop import (
    EpochSteps,
    Outcome,
    Terms,
    batches_of,
    in_chunks,
    iterations_of,
    make_optimizer,
    train,
)

_SMOOTHING = 1e-5  # of the sizes under `centroids: ratio`, as released; Eq. (14) has the same for balanced data


class PCX(CentroidClusterer):
    """An autoencoder whose decoder sees the nearest centroid beside the code, and centroids that follow slowly.

        (1/ND) sum_i ||x_i - g(h(z_i, mu_i))||^2 + eta1 (1/N) sum_i ||z_i - mu_i||^2 + eta2 (1/N) sum_i H(lambda_i)

    is minimised by the network alone (Eq. (9)): z = f(x), mu_i the centroid nearest to z_i, h the centroid-integration
    unit, H the entropy of lambda_i = softmax(-tau ||z_i - mu_k||^2). Each batch moves its clusters' centroids by
    1 - `kappa` towards the means of its codes (Eq. (6)-(7)); they get no gradient, and a cluster without a sample in
    the batch stays where it is. Network and centroids start at random; `labels_` are the nearest centroids. `readouts_`
    has k-means and the modularity read-out on the final code. `extras_` holds the exemplars g(h(mu, mu)) and Table 7;
    `unit_` the unit's weight (P, 2P) and bias (P,).

    Paper says / we do / because:

    1. D(x||xhat), eta1 and eta2 are not given. Squared error, *mean* over samples and features, with the weights of the
       released ImageNet-10 code: 5e-4 over P = 10 features of the code, and 1e-5. A larger eta1 leaves one cluster
       alive, a smaller one lets the code outrun the centroids (`docs/papers/pc_x.md`).
    2. Eq. (6) asks for the codes after the network's step. We use the codes before the step, which spares a second
       encoding; the centroids move by half a percent either way.
    3. The released code differs from the paper: it has `centroids: ratio` (moving sums of codes over moving counts from
       n = 0, so that a dead centroid starts far out and sweeps inward through the data, where Eq. (6) keeps it),
       `noise: 0.5` (normal noise of that standard deviation on h's output in training), `straight_through: true` (mu_i
       passes the decoder's gradient on to z_i), `burn_in: 0`, `batch_size: 512` and a network of leaky units.

    `imbalance` divides a sample's clustering term by the relative size of its cluster (Eq. (12)-(14); `smoothing` is
    5 in the paper for such data), from epoch `burn_in` on, when the entropy comes in as well. Ablations: `ci_unit:
    false` decodes z itself, `update: fixed` leaves the centroids at their start. Beyond the paper: `init: kmeans`
    starts the centroids at the k-means centroids of the code after `warm_up` epochs of reconstruction, in which h sees
    (z, z), as h sees (mu, mu) for an exemplar; `augment` shows images under random affine maps.
    """

    default_network: ClassVar[str] = "random"
    paper: ClassVar[str] = "Pan, Yao and Tsang 2024"

    eta1: Weight = setting("weight of the squared distances to the nearest centroids", default=5e-5)
    eta2: Weight = setting("weight of the entropy of the soft assignments", default=1e-5)
    tau: Positive = setting("inverse temperature of the soft assignments", default=5.0)
    kappa: Share = setting("share of a centroid that stays when it moves to its batch's mean", default=0.995)
    burn_in: LengthOrZero = setting("epochs before the entropy and the balance come in", default=250)
    ci_unit: bool = setting("whether the decoder sees the nearest centroid beside the code", default=True)
    centroids: Literal["means", "ratio"] = setting("follow batches' means, or moving sums by counts", default="means")
    update: Literal["ema", "fixed"] = setting("fixed: centroids stay at their start", default="ema")
    init: Literal["random", "kmeans"] = setting("start of the centroids", default="random")
    warm_up: LengthOrZero = setting("epochs of reconstruction alone, before the centroids start", default=0)
    n_init: Count = setting("starts of k-means, of the start and of the read-out", default=20)
    imbalance: bool = setting("divide a sample's clustering term by the size of its cluster", default=False)
    smoothing: Positive = setting("of these sizes", default=5.0)
    noise: Weight = setting("standard deviation of the noise on the unit's output in training", default=0.0)
    straight_through: bool = setting("pass the decoder's gradient at a centroid on to the code", default=False)
    augment: Augmenting = setting("train on random affine maps of the images", default=False)
    epochs: Length = setting("epochs after the warm-up", default=1000)
    batch_size: Count = setting("rows of a batch", default=256)
    learning_rate: Positive = setting("of Adam", default=5e-4)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        state = PCXState(self.network_, data, self)
        training = _Training(self, state)
        self.extras_: dict[str, Any] = {}

        def run(phase: str, terms: Terms, epochs: LengthOrZero, steps: EpochSteps | None = None) -> Outcome:
            return train(
                state,
                data,
                terms,
                optimizer=make_optimizer("adam", state, self.learning_rate),
                epochs=epochs,
                batch_size=self.batch_size,
                seed=derive_seed(self._seed, phase),
                phase=phase,
                steps=steps,
            )

        first = run("warm_up", training.reconstruction, self.warm_up)
        if self.init == "kmeans":
            start = self._encode(data).cpu().numpy()
            state.start_at(torch.from_numpy(self._k_means(start).cluster_centers_))
            self.extras_["embedding_before"] = start
        outcome = run("cluster", training.terms, self.epochs, EpochSteps(training.before_epoch, training.after_epoch))

        unit = {} if state.unit is None else state.unit.linear.state_dict()
        self.unit_ = {name: value.cpu().numpy() for name, value in unit.items()}
        self.cluster_centers_ = state.centroids.cpu().numpy()
        self.embedding_ = self._encode(data).cpu().numpy()
        self.labels_ = self._nearest(self.embedding_)
        self.readouts_ = {"kmeans": self._k_means(self.embedding_).labels_}
        self.readouts_ |= self._modularity(self.embedding_)
        self._interpret(state.eval())
        self.trace_ = first.trace + outcome.trace
        self.n_iter_, self.converged_ = first.n_iter + outcome.n_iter, False

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return lambda (Eq. (2)), softmax(-tau ||z - mu_k||^2), under the final weights."""
        codes, centroids = torch.from_numpy(self._exact_codes(X)), torch.from_numpy(self.cluster_centers_).double()
        parts = [torch.softmax(-self.tau * squared_distances(part, centroids), dim=1) for part in codes.split(4096)]
        return torch.cat(parts).numpy()

    def _k_means(self, codes: np.ndarray) -> KMeans | MiniBatchKMeans:
        return k_means(codes, self.n_clusters, n_init=self.n_init, random_state=self._seed)

    @torch.no_grad()
    def _interpret(self, state: "PCXState") -> None:
        """Decode the centroids, and compare the codes before and after the fusion (Table 7)."""
        decoded: Tensor = self.network_.decode(state.fuse(state.centroids, state.centroids))
        self.extras_["decoded_centers"] = decoded.cpu().numpy()
        if self.ci_unit:
            codes, labels = (torch.from_numpy(a).to(self.device_) for a in (self.embedding_, self.labels_))
            fused = state.fuse(codes, state.centroids[labels]).cpu().numpy()
            members = [np.flatnonzero(self.labels_ == k) for k in range(self.n_clusters)]
            self.extras_["singular_values"] = pd.DataFrame(
                {
                    "cluster": range(self.n_clusters),
                    "n": [len(rows) for rows in members],
                    "before": [_leading_share(self.embedding_[rows]) for rows in members],
                    "after": [_leading_share(fused[rows]) for rows in members],
                }
            )


class CentroidIntegration(nn.Module):
    """The unit h(z, mu) = W [z, mu] + b (B, P) of codes z and centroids mu (B, P) (Eq. (3)).

    W under Glorot's rule from `generator`, b = 0.
    """

    def __init__(self, n_embedding: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * n_embedding, n_embedding, device="meta").to_empty(device="cpu")
        initialise(self, generator, "glorot")

    def forward(self, z: Tensor, centroid: Tensor) -> Tensor:
        fused: Tensor = self.linear(torch.cat([z, centroid], dim=1))
        return fused


class PCXState(nn.Module):
    """The whole state of a checkpoint: network, unit, centroids (K, P), cluster sizes a batch (K,), epochs so far.

    The centroids start uniform in +-sqrt(6 / (K + P)), Glorot and Bengio's for a K x P matrix, and the sizes equal.
    Where centroids are ratios, the sizes start at 0, and the moving sums `sums` (K, P) as the centroids do, by a draw
    of their own. `labels` (N,) are each sample's label in the last batch with that sample, -1 before the first.
    """

    def __init__(self, network: Autoencoder, data: Tensor, settings: PCX) -> None:
        super().__init__()
        n_clusters, batch_size = settings.n_clusters, min(settings.batch_size, len(data))
        n_embedding = in_chunks(network.encode, network, data[:1]).shape[1]
        generator = torch.Generator().manual_seed(derive_seed(settings._seed, "start"))
        bound = (6 / (n_clusters + n_embedding)) ** 0.5
        centroids = bound * (2 * torch.rand(n_clusters, n_embedding, generator=generator) - 1)
        self.network = network
        self.unit = CentroidIntegration(n_embedding, generator).to(data.device) if settings.ci_unit else None
        self.ratio = settings.centroids == "ratio"
        self.mean_size = batch_size / n_clusters
        self.centroids: Tensor
        self.sums: Tensor
        self.sizes: Tensor
        self.labels: Tensor
        self.epoch: Tensor
        self.register_buffer("centroids", centroids.to(data.device))
        sizes = torch.full((n_clusters,), 0.0 if self.ratio else self.mean_size, device=data.device)
        self.register_buffer("sizes", sizes)
        if self.ratio:
            sums = bound * (2 * torch.rand(n_clusters, n_embedding, generator=generator) - 1)
            self.register_buffer("sums", sums.to(data.device))
        self.register_buffer("labels", torch.full((len(data),), -1, device=data.device))
        self.register_buffer("epoch", torch.tensor(0))

    def start_at(self, centroids: Tensor) -> None:
        """Move the centroids to these (K, P), of equal sizes."""
        self.centroids.copy_(centroids)
        if self.ratio:
            self.sizes.fill_(self.mean_size)
            self.sums.copy_(self.mean_size * self.centroids)

    def fuse(self, z: Tensor, centroid: Tensor) -> Tensor:
        """Return the decoder's input (B, P): h(z, centroid), or z without the unit."""
        fused: Tensor = z if self.unit is None else self.unit(z, centroid)
        return fused


class _Training:
    """The loss of a batch, the batch's move of the centroids, and the counts of an epoch."""

    def __init__(self, settings: PCX, state: PCXState) -> None:
        self.settings = settings
        self.state = state
        self.augment = settings._augmenter(settings.augment)
        self.n_batches = batches_of(len(state.labels), settings.batch_size)  # of an epoch

    def reconstruction(self, x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the loss of the warm-up, in which a code stands for its own centroid."""
        x = self.augment(x, generator)
        z = self.state.network.encode(x)
        return {"reconstruction": self._error(x, z, z, generator)}

    def terms(self, x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weighted terms of a batch's loss (Eq. (9) or (12)), and move the centroids."""
        settings, state = self.settings, self.state
        x = self.augment(x, generator)
        z = state.network.encode(x).float()
        centroids = state.centroids.clone()  # the backward pass needs them unmoved
        squared = squared_distances(z, centroids)
        labels = squared.argmin(dim=1)
        nearest = centroids[labels]
        if settings.straight_through:
            nearest = z + (nearest - z).detach()
        weights = inverse_sizes(state.sizes, settings.smoothing) if settings.imbalance and self.burnt_in else None
        entropy = assignment_entropy(squared, settings.tau)
        losses = {
            "reconstruction": self._error(x, z, nearest, generator),
            "clustering": settings.eta1 * clustering_loss(squared, labels, weights),
            "entropy": (settings.eta2 if self.burnt_in else 0) * entropy,
        }
        self._follow(z.detach(), squared.detach(), labels, index)
        return losses

    def _error(self, x: Tensor, z: Tensor, centroid: Tensor, generator: torch.Generator) -> Tensor:
        fused = self.state.fuse(z, centroid)
        if self.settings.noise:
            normal = torch.randn(fused.shape, generator=generator, device=generator.device)
            fused = fused + self.settings.noise * normal.to(fused.device)
        return F.mse_loss(self.state.network.decode(fused), x)

    def _follow(self, z: Tensor, squared: Tensor, labels: Tensor, index: Tensor) -> None:
        """Move centroids and sizes towards the batch's, and count the batch for the epoch; read no tensor in Python."""
        settings, state = self.settings, self.state
        if state.ratio:
            sums, sizes, counts = moving_ratio(state.sums, state.sizes, z, labels, settings.kappa, _SMOOTHING)
            state.sums.copy_(sums)
            centroids = sums / sizes[:, None]
        else:
            centroids, counts = moving_average(state.centroids, z, labels, settings.kappa)
            sizes = torch.lerp(counts, state.sizes, settings.kappa)
        if settings.update == "ema":
            state.centroids.copy_(centroids)
        state.sizes.copy_(sizes)
        before = state.labels[index]
        self.counts += counts
        self.seen_before += (before >= 0).sum()
        self.changed += ((before >= 0) & (before != labels)).sum()
        self.certainty += torch.softmax(-settings.tau * squared, dim=1).amax(dim=1).sum()
        state.labels[index] = labels

    def before_epoch(self) -> None:
        burn_in = iterations_of(self.settings.burn_in, self.n_batches)
        self.burnt_in = int(self.state.epoch) * self.n_batches >= burn_in
        self.counts = torch.zeros_like(self.state.sizes)
        self.seen_before, self.changed, self.certainty = self.counts.new_zeros(3).unbind()

    def after_epoch(self) -> dict[str, Any]:
        """Return the epoch's columns of the trace: share of changed assignments, clusters with a sample, ..."""
        self.state.epoch += 1
        n_samples, known = float(self.counts.sum()), float(self.seen_before)
        return {
            "label_change": float(self.changed) / known if known else None,
            "alive": int((self.counts > 0).sum()),
            "largest_share": float(self.counts.max()) / n_samples,
            "certainty": float(self.certainty) / n_samples,  # mean of max_k lambda_ik (Fig. 4)
        }


def _leading_share(rows: np.ndarray) -> float:
    """Return the largest singular value of rows (n, P), uncentred, over the sum of all, in percent; nan for zeros."""
    values = np.linalg.svd(rows.astype(np.float64), compute_uv=False)
    total = float(values.sum())
    return 100 * float(values[0]) / total if total > 0 else float("nan")
