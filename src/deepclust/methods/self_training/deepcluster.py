"""DeepCluster: a network learns to tell apart many clusters of its own features (Caron et al., ECCV 2018)."""

import warnings
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import normalize
from torch import Tensor, nn

from deepclust.methods._deep import DeepClusterer
from deepclust.methods._flat_clustering import k_means, nearest_center
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.settings import Augmenting, Count, Length, Positive, Weight, setting
from deepclust.training.loop import EpochSteps, make_optimizer
from deepclust.training.rows import Rows

_ITERATIONS = 20  # of the k-means of an epoch
_HEAD = 0.01  # standard deviation of a new head's weights
_LEAST = 1e-5  # of the largest variance, added to all before whitening divides by them


class DeepCluster(DeepClusterer):
    """Before each epoch k-means labels all samples by their features; in it a linear head learns these pseudo-classes.

        mean_i -ln softmax(V max(f(T(x_i)), 0) + b)_(s_i)

    over the batch, with f the encoder, T a random affine map of the image, and s_i one of K' = `n_pseudo` clusters.
    These come, before every epoch, of the features f(x_i) of all samples as they are: principal components of variance
    1, rows of length 1, then twenty iterations of k-means from random samples. The head (V, b) is new, too, and has no
    momentum. The samples of an epoch are drawn so that all clusters have equally many, small ones by repetition: else
    one large cluster for all would be a solution. The decoder is not used.

    `labels_` are those of k-means with K clusters on the last features, of `n_init` starts. The trace's `alive` counts
    the clusters that have samples, and `agreement` is the normalised mutual information between an epoch's clusters and
    those of the epoch before, which the paper watches. No rule stops the training.

    The paper trains features for other tasks, from a million photographs and 10,000 clusters for 1,000 classes; it
    neither says that clusters are classes nor defines the method for small images. `docs/papers/baselines.md` says what
    is ours.
    """

    default_network: ClassVar[str] = "untrained_conv"
    paper: ClassVar[str] = "Caron, Bojanowski, Joulin and Douze 2018"

    n_pseudo: Count | None = setting("K', clusters to be learnt, N at most; None: ten times K", default=None)
    n_components: Count = setting("principal components of the features that are clustered, at most", default=64)
    augment: Augmenting | None = setting("train on random affine maps; None: of what has an image shape", default=None)
    epochs: Length = setting("epochs; the paper's are 500, the released code's 200", default=200)
    batch_size: Count = setting("rows of a batch", default=256)
    learning_rate: Positive = setting("of SGD with momentum 0.9, and without it for the head", default=0.05)
    weight_decay: Weight = setting("of SGD", default=1e-5)
    n_init: Count = setting("starts of the k-means that gives the labels", default=20)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        rows, shown = Rows(data), self._augmenter(self.augment)
        before = self._encode(data).cpu().numpy()
        n_pseudo = min(10 * self.n_clusters if self.n_pseudo is None else self.n_pseudo, len(data))
        state = DeepClusterState(self.network_, before.shape[1], n_pseudo, len(data), data.device)
        optimizer = make_optimizer("sgd", self.network_.encoder, self.learning_rate)
        optimizer.add_param_group({"params": [*state.head.parameters()], "momentum": 0.0})
        for group in optimizer.param_groups:
            group["weight_decay"] = self.weight_decay

        def cluster() -> None:
            seed = derive_seed(self._seed, "clusters", str(int(state.passes)))
            codes = self._encode(data).cpu().numpy()
            features = whitened(codes, **whitening(codes, self.n_components))
            state.begin(pseudo_labels(features, n_pseudo, seed), np.random.default_rng(seed))

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            drawn = state.drawn[index]
            logits = state.head(F.relu(self.network_.encode(shown(rows[drawn], generator))))
            return {"clustering": F.cross_entropy(logits.float(), state.labels[drawn])}

        self._learn(state, data, terms, optimizer, steps=EpochSteps(cluster, state.columns))
        self.embedding_ = self._encode(data).cpu().numpy()
        self.whitening_ = whitening(self.embedding_, self.n_components)
        features = whitened(self.embedding_, **self.whitening_)
        found = k_means(features, self.n_clusters, n_init=self.n_init, random_state=self._seed)
        self.labels_, self.centers_ = found.labels_, found.cluster_centers_
        self.extras_ = {"embedding_before": before}

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return nearest_center(whitened(self._codes(X), **self.whitening_), self.centers_)


class DeepClusterState(nn.Module):
    """The whole state of a checkpoint: the network, the head, the clusters `labels` (N,), and the samples drawn.

    `drawn` (N,) are the samples of the epoch, in place of each once; `passes` counts epochs begun, on the CPU.
    """

    def __init__(
        self, network: Autoencoder, n_features: int, n_pseudo: int, n_samples: int, device: torch.device
    ) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(n_features, n_pseudo, device="meta").to_empty(device=device)
        self._agreement: float | None = None
        self.labels: Tensor
        self.drawn: Tensor
        self.passes: Tensor
        self.register_buffer("labels", torch.zeros(n_samples, dtype=torch.int64, device=device))
        self.register_buffer("drawn", torch.zeros(n_samples, dtype=torch.int64, device=device))
        self.register_buffer("passes", torch.tensor(0))

    @torch.no_grad()
    def begin(self, labels: np.ndarray, rng: np.random.Generator) -> None:
        """Take an epoch's clusters (N,), draw its samples, and make a new head."""
        known = self.passes > 0
        self._agreement = float(normalized_mutual_info_score(self.labels.cpu().numpy(), labels)) if known else None
        self.labels.copy_(torch.from_numpy(labels))
        self.drawn.copy_(torch.from_numpy(evenly_drawn(labels, rng)))
        self.head.weight.copy_(torch.from_numpy(rng.normal(scale=_HEAD, size=self.head.weight.shape)))
        self.head.bias.zero_()
        self.passes += 1

    def columns(self) -> dict[str, Any]:
        """Return the trace's columns."""
        return {"alive": len(self.labels.unique()), "agreement": self._agreement}


def whitening(codes: np.ndarray, n_components: int) -> dict[str, np.ndarray]:
    """Return the `mean` (P,) of codes (N, P), and the `axes` (P, C) along which they have variance 1.

    C is `n_components` or P, the principal components of largest variance. A hundred-thousandth of the largest variance
    is added to each, so that directions without variance are not blown up.
    """
    mean = codes.mean(axis=0, dtype=np.float64)
    centred = codes - mean
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(codes))
    variances, vectors = variances[::-1][:n_components], vectors[:, ::-1][:, :n_components]
    scale = np.sqrt(np.maximum(variances, 0) + _LEAST * max(variances[0], np.finfo(np.float64).tiny))
    return {"mean": mean, "axes": vectors / scale}


def whitened(codes: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the features (N, C) of codes (N, P) under `whitening`: rows of length 1, in float32."""
    features: np.ndarray = normalize((codes - mean) @ axes).astype(np.float32)
    return features


def pseudo_labels(features: np.ndarray, n_pseudo: int, random_state: int) -> np.ndarray:
    """Return the labels (N,) of twenty iterations of k-means from as many random rows of features (N, C)."""
    model = KMeans(n_pseudo, init="random", n_init=1, max_iter=_ITERATIONS, tol=0, random_state=random_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of duplicates: clusters may stay without samples
        labels: np.ndarray = model.fit_predict(features).astype(np.int64)
    return labels


def evenly_drawn(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return N samples (N,), int64, in random order: the clusters that have samples are drawn equally often.

    Samples are drawn without replacement from clusters that have more than N / (number of such clusters) + 1 of them.
    """
    order = np.argsort(labels, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(labels))[:-1])
    alive = [found for found in members if len(found)]
    each = len(labels) // len(alive) + 1
    drawn = np.concatenate([rng.choice(found, each, replace=len(found) <= each) for found in alive])
    return rng.permutation(drawn)[: len(labels)].astype(np.int64)
