"""Deep embedding clustering driven by sample stability (DECS; Cheng, Li, Wang and Qian, IJCAI 2024)."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor, nn

from deepclust.losses.stability import determinacy, instability, otsu_threshold, stability
from deepclust.losses.student_t import soft_assignment
from deepclust.methods._deep import CentroidClusterer
from deepclust.methods._flat_clustering import k_means
from deepclust.nets._autoencoder import Autoencoder
from deepclust.settings import Augmenting, Count, LengthOrZero, Positive, Weight, setting
from deepclust.training.loop import EpochSteps, make_optimizer


@dataclass(frozen=True)
class _Variant:
    """Settings in which the paper and its released code differ."""

    alpha: float
    power: int
    lam: float
    batch_variance: bool
    optimizer: str


_VARIANTS = {
    "paper": _Variant(alpha=1.0, power=2, lam=0.8, batch_variance=False, optimizer="sgd"),
    "released": _Variant(alpha=0.5, power=1, lam=0.4, batch_variance=True, optimizer="adam"),
}
_LEARNING_RATES = {"sgd": 1e-2, "adam": 1e-3}


class DECS(CentroidClusterer):
    """k-means on the code, then encoder and centroids minimise the samples' instability; the decoder is dropped.

        L = 1 - mean_i sq_i,    sq_i = mean_j fq_ij - lam var_j fq_ij,    fq_ij = (|q_ij - t| / (t or 1 - t))^power

    with q (B, K) Student's t assignment of the batch to the centroids, `alpha` degrees of freedom, and t Otsu's
    threshold of all q of the batch (Eq. (5)-(8)); below t the divisor is t, above it 1 - t. `labels_` is argmax_j q_ij
    under the final weights; `readouts_` has the partition of highest modularity of the final code's neighbours, which
    is not the paper's.

    `variant` chooses between the paper and its released code, where they differ. A setting of None is the variant's:

    ================  =====================================  =============================================
    setting           paper                                  released
    ================  =====================================  =============================================
    `power`           2: squares                             1: absolute values
    `lam`             0.8                                    0.4
    `batch_variance`  False                                  True: the loss also subtracts var_i sq_i
    `optimizer`       sgd, momentum 0.9                      adam, learning rate 0.001
    `alpha`           1, where its gradients are derived     0.5
    ================  =====================================  =============================================

    The final weights are kept. The released code tabulates its last evaluation, too, and prints the one of highest
    accuracy by the true labels, which no method here sees.

    The released code feeds augmented batches to the clustering stage. The text has x in X there, and speaks of
    augmentation for the autoencoder (Section 3.2) and for "the training process" (Section 4.4). `augment` is a setting
    apart, because it needs images: true stands for the ranges of `settings.Augmentation`, a mapping for its own. The
    released code's is {"crop": 0.0, "fill": "border"}.

    The paper trains for 10,000 iterations, the released code for 20,000. The paper gives no rate for SGD. Ours, None
    for 0.01, is the default of Keras, whose defaults the paper uses for Adam. The paper's Eq. (1) adds the
    reconstruction error to L, but Section 3.3 drops the decoder: that error is the pretraining's alone.

    Nothing in L holds clusters apart or fills an empty one: L is 0 at every hard assignment, even of all samples to one
    cluster. The trace's `alive` counts the clusters that have samples. `label_change` is the share of rows whose
    likeliest cluster is another than when they were last in a batch (before the first batch, k-means'). Squared
    distances must be large against `alpha`, as between the convolutional network's codes; lower `alpha` otherwise.
    """

    default_network: ClassVar[str] = "conv"
    paper: ClassVar[str] = "Cheng, Li, Wang and Qian 2024"

    variant: Literal["paper", "released"] = setting("whose settings stand where one is None", default="paper")
    alpha: Positive | None = setting("degrees of freedom of Student's t", default=None)
    power: Literal[1, 2] | None = setting("1: absolute values in the determinacy, 2: squares", default=None)
    lam: Weight | None = setting("weight of the variance in a sample's stability", default=None)
    batch_variance: bool | None = setting("whether the variance of the stabilities is subtracted, too", default=None)
    optimizer: Literal["sgd", "adam"] | None = setting("SGD has momentum 0.9", default=None)
    learning_rate: Positive | None = setting("None: 0.01 for SGD, 0.001 for Adam", default=None)
    augment: Augmenting = setting("train on random affine maps of the images", default=False)
    epochs: LengthOrZero = setting("length; there is no other end, and 0 leaves the start", default="10000 iterations")
    batch_size: Count = setting("rows of a batch", default=256)
    n_init: Count = setting("starts of the k-means that gives the first centroids", default=20)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        said = self._resolve()
        codes = self._encode(data).cpu().numpy()
        kmeans = k_means(codes, self.n_clusters, n_init=self.n_init, random_state=self._seed)
        state = DECSState(self.network_, kmeans, data)
        augmented = self._augmenter(self.augment)

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            q = soft_assignment(self.network_.encode(augmented(x, generator)), state.centroids, said.alpha)
            t = otsu_threshold(q)
            sq = stability(determinacy(q, t, said.power), said.lam)
            state.note(index, q, t, sq)
            return {"instability": instability(sq, said.batch_variance)}

        rate = self.learning_rate or _LEARNING_RATES[said.optimizer]
        optimizer = make_optimizer(said.optimizer, state, rate)
        self._learn(state, data, terms, optimizer, steps=EpochSteps(state.clear, state.columns))
        self.cluster_centers_ = state.centroids.detach().cpu().numpy()
        self.embedding_ = self._encode(data).cpu().numpy()
        self.labels_ = self._nearest(self.embedding_)
        self.readouts_ = self._modularity(self.embedding_)
        self.extras_ = {"embedding_before": codes}

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return q (Eq. (5)) under the final weights."""
        codes, centroids = torch.from_numpy(self._exact_codes(X)), torch.from_numpy(self.cluster_centers_).double()
        alpha = self._resolve().alpha
        return torch.cat([soft_assignment(part, centroids, alpha) for part in codes.split(4096)]).numpy()

    def _resolve(self) -> _Variant:
        """Return the variant's settings, replaced by those that are not None."""
        given = {field.name: getattr(self, field.name) for field in fields(_Variant)}
        return replace(_VARIANTS[self.variant], **{name: value for name, value in given.items() if value is not None})


class DECSState(nn.Module):
    """The whole state of a checkpoint: the network, the centroids (K, P) and the counts behind the trace.

    `labels` (N,) are each sample's likeliest cluster when it was last in a batch; before the first batch, k-means'.
    """

    def __init__(self, network: Autoencoder, start: KMeans | MiniBatchKMeans, data: Tensor) -> None:
        super().__init__()
        self.network = network
        self.centroids = nn.Parameter(torch.from_numpy(start.cluster_centers_).to(data.device))
        self.labels: Tensor
        self.sums: Tensor
        self.register_buffer("labels", torch.from_numpy(start.labels_).to(data.device))
        # over an epoch's batches: threshold, stability, changes, 1
        self.register_buffer("sums", torch.zeros(4, device=data.device))

    def clear(self) -> None:
        self.sums.zero_()

    @torch.no_grad()
    def note(self, index: Tensor, q: Tensor, t: Tensor, sq: Tensor) -> None:
        """Add one batch to the counts behind the trace."""
        now = q.argmax(dim=1)
        changed = (now != self.labels[index]).to(sq.dtype).mean()
        self.labels[index] = now
        self.sums += torch.stack([t, sq.mean(), changed, torch.ones_like(t)])

    def columns(self) -> dict[str, float]:
        """Return an epoch's columns of the trace: means over its batches, and how many clusters have samples."""
        *sums, n_batches = self.sums.tolist()
        names = ("threshold", "stability", "label_change")
        return dict(zip(names, (total / n_batches for total in sums), strict=True)) | {
            "alive": len(self.labels.unique())
        }
