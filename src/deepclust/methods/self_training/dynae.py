"""The dynamic autoencoder (DynAE; Mrabah, Khan, Ksantini and Lachiri, Neural Networks 2020)."""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import pairwise_distances_argmin
from torch import Tensor, nn

from deepclust.losses.student_t import soft_assignment
from deepclust.methods._deep import CentroidClusterer
from deepclust.methods._flat_clustering import k_means
from deepclust.nets._augmentation import ROTATED_AND_SHIFTED
from deepclust.nets._autoencoder import Autoencoder
from deepclust.settings import Augmenting, Count, LengthOrZero, Positive, Share, Weight, setting
from deepclust.training.loop import EpochSteps, Refresh, batches_of, make_optimizer

_FALL = 0.3  # of kappa a fall of the thresholds, and of a fall the next


class DynAE(CentroidClusterer):
    """Augmented samples learn to restore themselves, or the image of their centre once they clearly belong to it.

        mean_i mean_p (f(T(x_i)) - e_i)^2 + `gamma` mean_i mean_d (g(f(T(x_i))) - y_i)^2

    over batch, features of the code and features of the data; T is a random affine map. With q Student's t assignment
    of the clean code z_i to the centres, and q1 >= q2 its largest two, x_i is unconflicted if q1 > beta1 and q1 - q2 >
    beta2: then e_i is its likeliest centre and y_i the centre's image. Otherwise e_i = z_i and y_i = x_i. Targets are
    those of the weights before the batch's step.

    A centre is the sample's code that is nearest to the k-means centre, and its image is that code decoded. Every
    `update_interval` batches the conflicted samples are counted. If their number did not fall, centres and images are
    made anew and both thresholds fall. The thresholds start at `kappa` / K and half of it, and fall by 0.3 `kappa` / K
    twice, then each time by 0.3 of the last fall (in the released code, an effect of the order of two lines). Training
    stops when fewer than `tolerance` are conflicted, or after `epochs`. `labels_` are the nearest centres under the
    final weights.

    T rotates by up to 10 degrees and shifts by up to a tenth of each side; `augment: None` maps what has an image
    shape. `docs/papers/baselines.md` has more.
    """

    default_network: ClassVar[str] = "acai"
    paper: ClassVar[str] = "Mrabah, Khan, Ksantini and Lachiri 2020"

    gamma: Weight = setting("weight of the restored images against the codes", default=100.0)
    kappa: Positive = setting("of the thresholds: beta1 = kappa / K, beta2 = beta1 / 2", default=3.0)
    augment: Augmenting | None = setting("train on random affine maps; None: of what has an image shape", default=None)
    update_interval: Count | None = setting("batches between two counts; None: those of an epoch", default=140)
    tolerance: Share = setting("stop once a smaller share of the samples is conflicted", default=1e-2)
    epochs: LengthOrZero = setting(
        "epochs at most; 365 are the released 100,000 batches of MNIST, 0 leaves the start", default=365
    )
    batch_size: Count = setting("rows of a batch", default=256)
    learning_rate: Positive = setting("of SGD with momentum 0.9", default=1e-3)
    n_init: Count = setting("starts of k-means", default=10)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        before = self._encode(data).cpu().numpy()
        state = DynAEState(self.network_, self._centers(before), len(data), data.shape[1], self.kappa)
        shown = self._augmenter(self.augment, ROTATED_AND_SHIFTED)

        def check() -> Tensor:
            codes = self._encode(data)
            conflicted = torch.cat([~state.settled(part)[0] for part in codes.split(4096)])
            if state.count(conflicted):
                state.renew(self._centers(codes.cpu().numpy()))
            # the loop stops once few entries changed: here, those of the conflicted samples
            return state.conflicts

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            code_target, image_target = state.targets(x)
            z, reconstruction = self.network_(shown(x, generator))
            return {
                "clustering": F.mse_loss(z, code_target),
                "reconstruction": self.gamma * F.mse_loss(reconstruction, image_target),
            }

        optimizer = make_optimizer("sgd", state, self.learning_rate)
        refresh = Refresh(self.update_interval or batches_of(len(data), self.batch_size), check, self.tolerance)
        self._learn(state, data, terms, optimizer, refresh=refresh, steps=EpochSteps(lambda: None, state.columns))
        self.embedding_ = self._encode(data).cpu().numpy()
        self.cluster_centers_ = state.centers.cpu().numpy()
        self.labels_ = self._nearest(self.embedding_)
        self.extras_ = {"embedding_before": before, "decoded_centers": state.images.cpu().numpy()}
        self.trace_ = [row | {"label_change": None} for row in self.trace_]

    def _centers(self, codes: np.ndarray) -> Tensor:
        """Return the codes (K, P) of codes (N, P) that are nearest to the k-means centres."""
        found = k_means(codes, self.n_clusters, n_init=self.n_init, random_state=self._seed).cluster_centers_
        return torch.from_numpy(codes[pairwise_distances_argmin(found.astype(np.float64), codes.astype(np.float64))])


class DynAEState(nn.Module):
    """The whole state of a checkpoint: the network, centres and images, and the counts that move the thresholds.

    `conflicts` (N,) is how often a sample was found conflicted; `beta` holds beta1 and beta2. `last`, how many samples
    the last check found conflicted, and `falls` of the thresholds lie on the CPU, where they are read.
    """

    def __init__(self, network: Autoencoder, centers: Tensor, n_samples: int, n_features: int, kappa: float) -> None:
        super().__init__()
        self.network = network
        self._kappa = kappa
        device = next(network.parameters()).device
        beta1 = kappa / len(centers)
        self.centers: Tensor
        self.images: Tensor
        self.beta: Tensor
        self.conflicts: Tensor
        self.last: Tensor
        self.falls: Tensor
        self.register_buffer("centers", torch.empty_like(centers, device=device))
        self.register_buffer("images", torch.empty(len(centers), n_features, device=device))
        self.register_buffer("beta", torch.tensor([beta1, beta1 / 2], device=device))
        self.register_buffer("conflicts", torch.zeros(n_samples, dtype=torch.int64, device=device))
        self.register_buffer("last", torch.tensor(n_samples))
        self.register_buffer("falls", torch.tensor(0))
        self.renew(centers)

    @torch.no_grad()
    def renew(self, centers: Tensor) -> None:
        """Take new centres (K, P), and decode their images."""
        self.network.eval()
        self.centers.copy_(centers)
        self.images.copy_(self.network.decode(self.centers))

    @torch.no_grad()
    def settled(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return which codes (B, P) are unconflicted (B,), and the likeliest centres (B,)."""
        q = soft_assignment(codes, self.centers)
        largest = q.topk(min(2, q.shape[1]), dim=1)
        first, second = largest.values[:, 0], largest.values[:, 1:].sum(dim=1)  # one cluster has no second
        return (first > self.beta[0]) & (first - second > self.beta[1]), largest.indices[:, 0]

    @torch.no_grad()
    def targets(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets of the codes (B, P) and of the images (B, D) of clean samples x (B, D)."""
        z = self.network.encode(x)
        settled, labels = self.settled(z.float())
        settled = settled.unsqueeze(1)
        return torch.where(settled, self.centers[labels], z), torch.where(settled, self.images[labels], x)

    @torch.no_grad()
    def count(self, conflicted: Tensor) -> bool:
        """Take in one check (N,); if the conflicted samples did not become fewer, lower the thresholds, return True."""
        found, last = int(conflicted.sum()), int(self.last)
        self.conflicts += conflicted
        self.last.fill_(found)
        if found < last:
            return False
        self.beta -= fall(int(self.falls), self._kappa) / len(self.centers)
        self.falls += 1
        return True

    def columns(self) -> dict[str, float]:
        """Return the trace's columns, as of the last check."""
        beta1, beta2 = self.beta.tolist()
        return {"conflicted": int(self.last) / len(self.conflicts), "beta1": beta1, "beta2": beta2}


def fall(before: int, kappa: float) -> float:
    """Return by how much K times the thresholds fall after as many falls `before`: 0.3 kappa twice, then 0.3 of it."""
    return _FALL * kappa * _FALL ** max(0, before - 1)
