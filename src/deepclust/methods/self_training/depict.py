"""DEPICT: joint autoencoder embedding and relative entropy minimisation (Ghasedi Dizaji et al., ICCV 2017)."""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepclust.errors import UserError
from deepclust.graph.agglomerate import BYTES_AN_EDGE, agglomerate_neighbors
from deepclust.graph.knn import knn_graph
from deepclust.losses._arguments import real
from deepclust.losses.student_t import target_distribution
from deepclust.methods._flat_clustering import k_means
from deepclust.methods._softmax import SoftmaxClusterer, arrays, linear
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._layerwise import passes
from deepclust.seeding import derive_seed
from deepclust.settings import Count, Length, LengthOrZero, Positive, Share, Weight, setting
from deepclust.training.loop import EpochSteps, Outcome, Refresh, batches_of, in_chunks, make_optimizer, train


class DEPICT(SoftmaxClusterer):
    """A softmax on the code learns its own assignments, made of equal sizes, under noise; all layers are reconstructed.

        -(1/N) sum_i sum_k q_ik ln p~_ik + `reconstruction_weight` [ L_0 + `layer_weight` sum_l L_l ]

    p~ is the softmax of the noisy code, q the target from the clean code's softmax p. L_0 is the error of the
    reconstruction in units of data in [-1, 1], L_l that of a hidden layer from the clean one, each a mean over samples
    and units of squared differences. Targets are

        balanced:   q_ik proportional to p_ik / sqrt(sum_i p_ik)    (the paper's)
        sharpened:  q_ik proportional to p_ik^2 / sum_i p_ik        (DEC's; the released code's)

    and rows of q sum to 1. The former changes p by the sizes of clusters alone and sharpens nothing: in our runs the
    loss then rises towards ln K, and ACC falls below that of a good start. A clustering of the code gives the start:
    its centroids at length 1 are the softmax's weights, its labels the targets of the first `warm_up` epochs. From then
    on q is made anew before every epoch, of the p that each sample had in its last batch. `labels_` are argmax_k p_ik
    under the final weights.

    Paper and released code say / we do / because:

    1. The released code ends pretraining and warm-up by a tenth of the samples, stratified by the true labels, on which
       the autoencoder trains no more, and the rest when the mean of (q_t - q_(t-1))^2 is below 1e-7 or after 4000
       epochs. Our lengths are settings, and all samples train: labels stay out, and a grid says how long it trains.
       The trace's `target_change` is that mean.
    2. The released code starts USPS and MNIST-test by agglomeration (AC-PIC), other data by k-means, which is our
       default for all: `start: path_integral` is the former. The released code passes the former's centroids
       transposed, and the latter's labels shifted by one against the centroids. Ours fit each other.
    3. The released code's p is that after a batch's step, in a further pass. Ours is that before it.
    4. The paper's code has as many features as clusters. Here P is the network's `n_embedding`.
    5. Data that are no images have a fully connected network: PC-X's table has such figures of DEPICT, without more.
    """

    default_network: ClassVar[str] = "depict"
    paper: ClassVar[str] = "Ghasedi Dizaji, Herandi, Deng, Cai and Huang 2017"

    target: Literal["balanced", "sharpened"] = setting("the paper's or the released code's", default="balanced")
    reconstruction_weight: Weight = setting("of all layers' errors against the cross-entropy", default=1.0)
    layer_weight: Weight = setting("of the hidden layers' errors in it", default=0.1)
    corruption: Share = setting("share of inputs and hidden units zeroed in the noisy pass", default=0.1)
    start: Literal["k_means", "path_integral"] = setting(
        "by k-means on the code, or by AC-PIC on its nearest neighbours", default="k_means", later=True
    )
    warm_up: LengthOrZero = setting("epochs on the labels of the start", default=10)
    epochs: Length = setting("epochs on targets of its own, at most", default=100)
    tolerance: Share = setting("stop once a smaller share of the labels changed in an epoch; 0: never", default=0.0)
    batch_size: Count = setting("rows of a batch", default=100)
    learning_rate: Positive = setting("of Adam", default=1e-4)
    n_init: Count = setting("starts of the k-means; the best is kept", default=40)
    n_neighbors: Count = setting("neighbours a sample for AC-PIC, at most N - 1", default=20, later=True)

    def _memory(self, n_samples: int, n_features: int) -> int:
        n_edges = n_samples * self.n_neighbors if self.start == "path_integral" else 0
        n_shares = 4 * n_samples * self.n_clusters  # p, q, and two more while q is made
        return max(4 * n_shares, BYTES_AN_EDGE * n_edges)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        if self.start == "path_integral" and len(X) < 2:
            raise UserError(f"a graph needs at least 2 samples, got n_samples={len(X)}")
        data = self._start(X, network)
        codes = self._encode(data).cpu().numpy()
        state = DEPICTState(self.network_, *self._first_clusters(codes)).to(data.device)

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            found = passes(self.network_, x, self.corruption, generator)
            state.note(index, found.clean)
            log_p = state.softmax(found.noisy).float().log_softmax(dim=1)
            return {
                "clustering": -(state.q[index] * log_p).sum(dim=1).mean(),
                "reconstruction": self.reconstruction_weight * found.data,
                "layers": self.reconstruction_weight * self.layer_weight * found.hidden,
            }

        def run(phase: str, epochs: LengthOrZero, refresh: Refresh | None = None) -> Outcome:
            return train(
                state,
                data,
                terms,
                optimizer=make_optimizer("adam", state, self.learning_rate),
                epochs=epochs,
                batch_size=self.batch_size,
                seed=derive_seed(self._seed, phase),
                phase=phase,
                refresh=refresh,
                steps=EpochSteps(lambda: None, state.columns) if refresh else None,
            )

        @torch.no_grad()
        def refresh() -> Tensor:
            target = balanced_target(state.p) if self.target == "balanced" else target_distribution(state.p)
            state.change.copy_((target - state.q).square().mean())
            state.q.copy_(target)
            return target.argmax(dim=1)

        first = run("warm_up", self.warm_up)
        state.p.copy_(in_chunks(lambda x: state.probabilities(self.network_.encode(x)), self.network_, data))
        once_an_epoch = batches_of(len(data), self.batch_size)
        outcome = run("cluster", self.epochs, Refresh(once_an_epoch, refresh, self.tolerance))
        self.softmax_ = arrays(state.softmax)
        self._settle(data)
        self.extras_ = {"embedding_before": codes}
        self.trace_ = first.trace + outcome.trace
        self.n_iter_, self.converged_ = first.n_iter + outcome.n_iter, outcome.converged

    def _first_clusters(self, codes: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return centroids (K, P) and labels (N,) of the start on codes (N, P)."""
        if self.start == "k_means":
            found = k_means(codes, self.n_clusters, n_init=self.n_init, random_state=self._seed)
            return torch.from_numpy(found.cluster_centers_), torch.from_numpy(found.labels_)
        knn = knn_graph(codes, min(self.n_neighbors, len(codes) - 1))
        merged = torch.from_numpy(agglomerate_neighbors(knn, self.n_clusters, affinity="path_integral").labels)
        sums = torch.zeros(self.n_clusters, codes.shape[1]).index_add_(0, merged, torch.from_numpy(codes))
        return sums / merged.bincount().unsqueeze(1), merged

    def _logits(self, codes: np.ndarray) -> np.ndarray:
        """Return the softmax layer's inputs (N, K) of codes (N, P)."""
        return linear(codes, self.softmax_)


class DEPICTState(nn.Module):
    """The whole state of a checkpoint: the network, the softmax layer, p and q (N, K), and how far q moved at last.

    The layer's weights are the centroids (K, P) at length 1, its biases 0; q are the start's labels (N,) as 0 and 1.
    """

    def __init__(self, network: Autoencoder, centroids: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.network = network
        n_clusters, n_embedding = centroids.shape
        self.softmax = nn.Linear(n_embedding, n_clusters, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            self.softmax.weight.copy_(F.normalize(centroids))
            self.softmax.bias.zero_()
        q = F.one_hot(labels, n_clusters).float()
        self.q: Tensor
        self.p: Tensor
        self.change: Tensor
        self.register_buffer("q", q)
        self.register_buffer("p", q.clone())
        self.register_buffer("change", torch.zeros(()))

    def probabilities(self, code: Tensor) -> Tensor:
        """Return p (B, K) of codes (B, P)."""
        logits: Tensor = self.softmax(code).float()
        return logits.softmax(dim=1)

    @torch.no_grad()
    def note(self, index: Tensor, clean: Tensor) -> None:
        """Keep a batch's p for the next target."""
        self.p[index] = self.probabilities(clean.detach())

    def columns(self) -> dict[str, float]:
        """Return an epoch's columns of the trace: how far the target moved, and how many clusters have samples."""
        return {"target_change": self.change.item(), "alive": len(self.p.argmax(dim=1).unique())}


def balanced_target(p: Tensor) -> Tensor:
    """Return q (N, K), q_ik proportional to p_ik / sqrt(sum_i p_ik); rows sum to 1 (DEPICT).

    p must hold all samples. A column of zeros stays one, and so does a row.
    """
    (p,) = real(p)
    tiny = torch.finfo(p.dtype).tiny
    weight = p / p.sum(dim=0).clamp_min(tiny).sqrt()
    return weight / weight.sum(dim=1, keepdim=True).clamp_min(tiny)
