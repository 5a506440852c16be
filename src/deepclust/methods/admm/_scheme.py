"""DeepCluster's scheme (Tian, Zhou and Guan 2017, Algorithm 1): ADMM on a clustered copy Y of an autoencoder's code.

    min  (1/N) sum_i [ ||x_i - xhat_i||^2 + lam g(y_i) ]   subject to   y_i = f(x_i)

The scheme uses a clustering only through `Clustering`: g, a step over y, a step over the parameters. `Alternating` is
the part that the scheme shares with DAEC, which has no Y.
"""

from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepclust.losses.distances import blocks
from deepclust.methods._deep import DeepClusterer
from deepclust.methods._flat_clustering import k_means
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.settings import Count, LengthOrZero, Positive, Share, Weight, setting
from deepclust.training.loop import EpochSteps, Refresh, batches_of, make_optimizer


class Clustering(nn.Module):
    """A clustering's parameters, in float64 buffers, and its cost g(y) for rows y (N, P), in float64."""

    centers: Tensor  # (K, P)

    def assign(self, y: Tensor) -> Tensor:
        """Return the label (N,) of each row."""
        raise NotImplementedError

    def value(self, y: Tensor) -> Tensor:
        """Return the mean of g over the rows."""
        raise NotImplementedError

    def y_step(self, y: Tensor, v: Tensor, lam: float, rho: float) -> Tensor:
        """Return, row by row, argmin_t lam b(t) + (rho / 2) ||t - v||^2, where b >= g and b(y) = g(y).

        Therefore lam g(t) + (rho / 2) ||t - v||^2 is nowhere larger at the result than at y.
        """
        raise NotImplementedError

    def update(self, y: Tensor) -> None:
        """Move the parameters so that `value(y)` does not rise, except by the regularisation of covariances."""
        raise NotImplementedError


class Centroids(Clustering):
    """k-means: g(y) = (1/2) min_k ||y - c_k||^2 (Eq. (8))."""

    def __init__(self, centers: Tensor) -> None:
        super().__init__()
        self.register_buffer("centers", centers.double())

    def assign(self, y: Tensor) -> Tensor:
        exact = partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist")
        return torch.cat([exact(y[rows], self.centers).argmin(dim=1) for rows in blocks(len(y), len(self.centers))])

    def value(self, y: Tensor) -> Tensor:
        return (y - self.centers[self.assign(y)]).square().sum(dim=1).mean() / 2

    def y_step(self, y: Tensor, v: Tensor, lam: float, rho: float) -> Tensor:
        return (lam * self.centers[self.assign(y)] + rho * v) / (lam + rho)  # Eq. (10)

    def update(self, y: Tensor) -> None:
        """Make each centroid the mean of the rows nearest to it; a centroid without rows stays where it is."""
        sums, counts = torch.zeros_like(self.centers), self.centers.new_zeros(len(self.centers), 1)
        labels = self.assign(y)
        for rows in blocks(len(y), len(self.centers)):
            member = F.one_hot(labels[rows], len(self.centers)).to(y)
            sums += member.T @ y[rows]
            counts += member.sum(dim=0)[:, None]
        self.centers = torch.where(counts > 0, sums / counts.clamp(min=1), self.centers)


class State(nn.Module):
    """The whole state of a checkpoint: the network, the clustering, the labels (N,), and additions of subclasses."""

    labels: Tensor
    begun: Tensor

    def __init__(self, network: Autoencoder, clustering: Clustering, codes: Tensor) -> None:
        super().__init__()
        self.network = network
        self.clustering = clustering
        self.register_buffer("labels", clustering.assign(codes.double()))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool, device=codes.device))  # a theta-step was taken

    def penalty(self, z: Tensor, index: Tensor) -> Tensor:
        """Return the theta-step's loss beside the reconstruction error, at the codes z (B, P) of the rows `index`."""
        raise NotImplementedError

    def update(self, codes: Tensor) -> None:
        """Update all but the network from the codes (N, P) of all samples, in float64."""
        raise NotImplementedError

    def watched(self) -> Tensor:
        """Return the labels (N,) that must stop changing."""
        return self.labels

    def measure(self, codes: Tensor) -> dict[str, float]:
        """Return columns of the trace."""
        raise NotImplementedError


class ADMMState(State):
    """Y and the scaled dual U of Algorithm 1, starting at Y = f(X), U = 0."""

    Y: Tensor
    U: Tensor
    code_labels: Tensor

    def __init__(
        self,
        network: Autoencoder,
        clustering: Clustering,
        codes: Tensor,
        *,
        lam: float,
        rho: float,
        a: float,
        dual_step: float = 1.0,
    ) -> None:
        super().__init__(network, clustering, codes)
        self.lam, self.rho, self.a, self.dual_step = lam, rho, a, dual_step
        self.register_buffer("Y", codes.double())
        self.register_buffer("U", torch.zeros_like(self.Y))
        self.register_buffer("code_labels", self.labels.clone())

    def penalty(self, z: Tensor, index: Tensor) -> Tensor:
        """Return a (rho / 2) ||y_i - f(x_i) + u_i||^2, averaged over the batch."""
        residual = (self.Y[index] + self.U[index]).float() - z
        return self.a * self.rho / 2 * residual.square().sum(dim=1).mean()

    def update(self, codes: Tensor) -> None:
        """Take steps 4 to 7 of Algorithm 1: Y, then U, then the clustering's parameters."""
        self.Y = self.clustering.y_step(self.Y, codes - self.U, self.lam, self.rho)
        self.U = torch.lerp(self.U, self.U + self.Y - codes, self.dual_step)  # at 1 exactly the second
        self.clustering.update(self.Y)
        self.labels = self.clustering.assign(self.Y)
        self.code_labels = self.clustering.assign(codes)

    def watched(self) -> Tensor:
        """Return one number for a sample's two labels, those of y_i and of f(x_i).

        The y_i are drawn to their centres at once: their labels stay for the first epochs whatever the network does.
        """
        return self.labels * len(self.clustering.centers) + self.code_labels

    def measure(self, codes: Tensor) -> dict[str, float]:
        """Return columns of the trace: lam g(Y); the root mean squares over samples of y_i - f(x_i), of u_i and of the
        code about its mean; and the share of samples whose y_i and f(x_i) are in different clusters.
        """
        columns = {
            "clustering": self.lam * self.clustering.value(self.Y),
            "primal_residual": size(self.Y - codes),
            "dual": size(self.U),
            "spread": size(codes - codes.mean(dim=0)),
            "disagreement": (self.labels != self.code_labels).double().mean(),
        }
        return dict(zip(columns, torch.stack(list(columns.values())).tolist(), strict=True))


class Alternating(DeepClusterer):
    """An epoch of mini-batches on the network, then closed-form updates of all else, until few labels change.

    Subclasses define in `_start_state` the start of the clustering and the alternating steps. Training stops when fewer
    than `tolerance` of the labels changed in an epoch, or after `epochs`. The batch loss is the mean over samples of
    the squared reconstruction error, summed over features as printed, plus the state's penalty. A row of the trace has
    the measures from before an epoch, then the epoch's losses; the last row has no epoch.

    AdaDelta is the paper's, and has no learning rate there. Our learning rate multiplies AdaDelta's steps by 0.01,
    because larger steps undo the pretraining: at 0.1 the first epoch's reconstruction error is 22.0 instead of 12.9
    (USPS-11k, the grid `admm`'s sweep `dc_kmeans_balance`). Whole steps have `learning_rate` 1; with `adadelta_eps`
    1e-7, the released code's, they begin smaller.

    `initial_centers` are the read-out's of the code, or one of the starts of the released code: k-means's on the input
    (`input`) or the means of a random partition of the input (`random`), both mapped through the encoder.
    `reconstruction_weight` 0.5 is the released code's, whose terms are all halved.
    """

    default_network: ClassVar[str] = "sigmoid"

    lam: Weight = setting("weight of the clustering term", default=1.0)
    tolerance: Share = setting("stop once a smaller share of the labels changed in an epoch", default=1e-3)
    epochs: LengthOrZero = setting("epochs at most; 0 leaves the start", default=200)
    batch_size: Count = setting("rows of a batch", default=100)
    optimizer: Literal["adadelta", "sgd", "adam"] = setting("SGD has momentum 0.9", default="adadelta")
    learning_rate: Positive = setting("of the optimizer; of AdaDelta a factor of its own steps", default=0.01)
    adadelta_eps: Positive = setting("AdaDelta's epsilon, which sets its first steps", default=1e-6)
    reconstruction_weight: Positive = setting("factor of the reconstruction error", default=1.0)
    initial_centers: Literal["code", "input", "random"] = setting("of the read-out, or mapped", default="code")

    def _start_state(self, codes: Tensor) -> State:
        raise NotImplementedError

    def _cluster(self, codes: np.ndarray) -> None:
        """Set the fitted attributes to those of the read-out that the scheme starts from."""
        raise NotImplementedError

    def _place(self, centers: np.ndarray, codes: np.ndarray) -> None:
        """Set the fitted attributes to a start at `centers` (K, P), for codes (N, P)."""
        self.cluster_centers_ = centers

    def _begin(self, X: np.ndarray, codes: np.ndarray) -> None:
        """Set the fitted attributes to the start of the clustering."""
        if self.initial_centers == "code":
            self._cluster(codes)
            return
        if self.initial_centers == "input":
            means = k_means(X, self.n_clusters, n_init=self.n_init, random_state=self._seed).cluster_centers_
        else:
            order = np.random.default_rng(derive_seed(self._seed, "partition")).permutation(len(X))
            parts = (order[part :: self.n_clusters] for part in range(self.n_clusters))
            means = np.stack([X[part].mean(axis=0, dtype=np.float64) for part in parts])
        self._place(self._codes(means), codes)

    def _clustering(self) -> Clustering:
        """Return the clustering that the fitted attributes describe, on the device."""
        return Centroids(torch.from_numpy(self.cluster_centers_)).to(self.device_)

    def _settle(self, clustering: Any) -> None:
        """Set the fitted attributes from the clustering."""
        self.cluster_centers_ = clustering.centers.cpu().numpy()

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        codes = self._encode(data)
        self.extras_ = {"embedding_before": codes.cpu().numpy()}
        self._begin(X, self.extras_["embedding_before"])
        state = self._start_state(codes)
        columns = state.measure(codes.double())

        def refresh() -> Tensor:
            if state.begun:  # the theta-step comes first
                codes = self._encode(data).double()
                state.update(codes)
                columns.update(state.measure(codes))
            state.begun.fill_(True)
            return state.watched()

        def terms(x: Tensor, index: Tensor, _: torch.Generator) -> dict[str, Tensor]:
            z, output = self.network_(x)
            error = self.reconstruction_weight * (x - output).square().sum(dim=1).mean()
            return {"reconstruction": error, "penalty": state.penalty(z, index)}

        optimizer = make_optimizer(self.optimizer, self.network_, self.learning_rate, eps=self.adadelta_eps)
        each = Refresh(batches_of(len(data), self.batch_size), refresh, self.tolerance)  # once an epoch
        self._learn(state, data, terms, optimizer, refresh=each, steps=EpochSteps(lambda: None, lambda: dict(columns)))
        if not self.converged_:  # complete the last theta-step's round
            before = state.watched()
            change = (refresh() != before).double().mean().item()
            self.converged_ = change < self.tolerance
            row = {"phase": "cluster", "epoch": len(self.trace_), "loss": None, "label_change": change}
            self.trace_ = [*self.trace_, row | columns]
        self._settle(state.clustering)
        self.labels_ = state.labels.cpu().numpy()
        self.embedding_ = self._encode(data).cpu().numpy()
        with torch.no_grad():
            decoded = self.network_.decode(state.clustering.centers.float())
        self.extras_["decoded_centers"] = decoded.cpu().numpy()
        self.readouts_ = self._modularity(self.embedding_)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        clustering = self._clustering()
        return clustering.assign(torch.from_numpy(self._codes(X)).to(clustering.centers)).cpu().numpy()


class ADMMClusterer(Alternating):
    """The methods with a Y: `rho` weighs the constraint on Y, in the theta-step `a` times as much."""

    lam: Positive = setting("weight of the clustering term", default=1.0)
    rho: Positive | None = setting("weight of the constraint Y = f(X)", default=1.0)
    a: Weight = setting("factor of `rho` in the theta-step", default=1.0)
    dual_step: Positive = setting("share of Y - f(X) that U gains", default=1.0)

    def _rho(self, clustering: Any) -> float:
        """Return the weight of the constraint, which may depend on the start."""
        raise NotImplementedError

    def _start_state(self, codes: Tensor) -> State:
        clustering = self._clustering()
        weights = {"lam": self.lam, "rho": self._rho(clustering), "a": self.a, "dual_step": self.dual_step}
        return ADMMState(self.network_, clustering, codes, **weights)


def size(rows: Tensor) -> Tensor:
    """Return the root mean square over the rows of their Euclidean norms."""
    return rows.square().sum(dim=1).mean().sqrt()
