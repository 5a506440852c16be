"""JULE: clusters are merged, and a network learns to tell them apart, in turns (Yang, Parikh and Batra, CVPR 2016)."""

import math
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from deepclust.errors import UserError
from deepclust.graph.agglomerate import BYTES_AN_EDGE, agglomerate, digraph_weights, nearest_components
from deepclust.graph.knn import knn_graph
from deepclust.losses.hypersphere import directions
from deepclust.methods._deep import DeepClusterer
from deepclust.nets._autoencoder import Autoencoder
from deepclust.settings import Count, Natural, Positive, Rate, Share, Weight, setting
from deepclust.training.loop import EpochSteps, batches_of, in_chunks, make_optimizer

_POWER = 0.75  # of the learning rate's decay


class JULE(DeepClusterer):
    """Many small clusters of the pixels are merged period by period, and in between the code learns the present ones.

        mean of max(0, `gamma` ||z_i - z_j||^2 - ||z_i - z_k||^2 + `margin`)

    over the batch's pairs i < j of one cluster and `n_negatives` samples k of other clusters for each pair, or as many
    as the batch has other clusters, if these are fewer. z = f(x) / ||f(x)|| are codes of length 1.

    The first clusters are the components of the graph that joins each sample to its nearest one, by pixels at length 1.
    A period is `period_epochs` epochs on the present clusters, then the merging of a share `eta` of these, by graph
    degree linkage (GDL) on the `n_neighbors` nearest neighbours of the new code. While there are more than
    `isolated_above` clusters for each of the K, those without affinity to any other are first joined to the cluster of
    the nearest mean; else pairs of samples that are nobody's neighbours stay clusters to the end. The last period's
    merging leaves K clusters, which are `labels_`; the network trains no further. The read-out `rerun` is the paper's
    second result: the merging anew of single neighbours on the final code, down to K without a break.

    Departures, each with its reason in `docs/papers/baselines.md`: the affinity of merging has no term for the nearest
    clusters around; the learning rate falls once an epoch; all pairs of a sample draw from one random order of its
    negatives; codes to be clustered are those of the evaluation mode.
    """

    default_network: ClassVar[str] = "jule"
    rows_encoded: ClassVar[int] = 1024  # a row of 28 x 28 takes some 300 KB between layers
    paper: ClassVar[str] = "Yang, Parikh and Batra 2016"
    why_no_predict: ClassVar[str] = "a merge tree has no rule for them"

    eta: Rate = setting("share of the clusters merged after a period; the paper's for faces is 0.2", default=0.9)
    period_epochs: Count = setting("epochs of a period", default=20)
    n_neighbors: Count = setting("neighbours a sample in the graph of the merging, at most N - 1", default=20)
    isolated_above: Natural = setting("clusters for each of K, above which isolated ones are joined first", default=20)
    gamma: Positive = setting("weight of the distance within a pair; the released code's is 1", default=2.0)
    learns: Literal["all", "anchors"] = setting(
        "whose codes a triplet moves: all three, or that of i alone, as released for gamma 1", default="all", later=True
    )
    margin: Weight = setting("of the squared distance to negatives over that within a pair", default=0.2)
    n_negatives: Count = setting("samples of other clusters for each pair, at most", default=20)
    batch_size: Count = setting("rows of a batch", default=100)
    learning_rate: Positive = setting("of SGD with momentum 0.9, at the first batch", default=0.01)
    dampening: Share = setting("share by which a gradient is less before it is added to the momentum", default=0.9)
    rate_decay: Weight = setting("d of the rate's factor (1 + d t)^-0.75 after t batches", default=1e-4)
    weight_decay: Weight = setting("of SGD", default=5e-5)

    def _memory(self, n_samples: int, n_features: int) -> int:
        n_edges = n_samples * min(self.n_neighbors, n_samples)
        return BYTES_AN_EDGE * n_edges + 8 * n_samples * n_features  # and X twice in float32

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        if len(X) < 2:
            raise UserError(f"a graph needs at least 2 samples, got n_samples={len(X)}")
        data = self._start(X, network)
        before = self._unit_codes(data)
        start = self._first_clusters(self._neighbors(in_chunks(directions, self.network_, data).cpu().numpy()))
        counts = cluster_counts(int(start.max()) + 1, self.n_clusters, self.eta)
        state = JULEState(self.network_, torch.from_numpy(start).to(data.device))
        optimizer = make_optimizer("sgd", self.network_.encoder, self.learning_rate)
        for group in optimizer.param_groups:
            group["weight_decay"], group["dampening"] = self.weight_decay, self.dampening
        n_batches = batches_of(len(data), self.batch_size)

        def merge(n_clusters: int) -> None:
            codes = self._unit_codes(data)
            merged = self._merged(codes, self._neighbors(codes), state.labels.cpu().numpy(), n_clusters)
            state.labels.copy_(torch.from_numpy(merged))

        def begin_epoch() -> None:
            period, epoch = divmod(int(state.passes), self.period_epochs)
            if period and not epoch:
                merge(counts[period])
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * (1 + self.rate_decay * n_batches * int(state.passes)) ** -_POWER
            state.passes += 1

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            z = directions(self.network_.encode(x).float())
            negatives = draw_negatives(state.labels[index], self.n_negatives, generator)
            with torch.autocast(z.device.type, enabled=False):  # cosines near 1 need more digits than bfloat16 has
                others = z.detach() if self.learns == "anchors" else z
                return {"triplets": triplet_loss(z, others, state.labels[index], negatives, self.gamma, self.margin)}

        epochs = (len(counts) - 1) * self.period_epochs
        self._learn(state, data, terms, optimizer, epochs=epochs, steps=EpochSteps(begin_epoch, state.columns))
        merge(self.n_clusters)
        self.labels_, self.embedding_ = state.labels.cpu().numpy(), self._unit_codes(data)
        knn = self._neighbors(self.embedding_)
        self.readouts_ = {"rerun": self._merged(self.embedding_, knn, self._first_clusters(knn), self.n_clusters)}
        self.extras_ = {"embedding_before": before}

    def _unit_codes(self, data: Tensor) -> np.ndarray:
        """Return the codes (N, P) of all samples, at length 1."""
        codes: np.ndarray = directions(self._encode(data)).cpu().numpy()
        return codes

    def _transform(self, X: np.ndarray) -> np.ndarray:
        codes: np.ndarray = directions(torch.from_numpy(self._exact_codes(X))).numpy()
        return codes

    def _neighbors(self, features: np.ndarray) -> sp.csr_matrix:
        """Return the distances (N, N) to the nearest neighbours of each row of features (N, P)."""
        device = self.device_ if self.device_.startswith("cuda") else None
        return knn_graph(features, min(self.n_neighbors, len(features) - 1), device=device)

    def _first_clusters(self, knn: sp.csr_matrix) -> np.ndarray:
        """Return the components (N,) of single neighbours, or, where these are fewer than K, single samples."""
        start = nearest_components(knn)
        return start if start.max() + 1 >= self.n_clusters else np.arange(len(start))

    def _merged(self, codes: np.ndarray, knn: sp.csr_matrix, labels: np.ndarray, n_clusters: int) -> np.ndarray:
        """Return the labels (N,) when clusters of the codes (N, P) have been merged until `n_clusters` are left."""
        W = digraph_weights(knn)
        if labels.max() + 1 > max(n_clusters, self.isolated_above * self.n_clusters):
            labels = join_isolated(codes, W, labels, n_clusters)
        return agglomerate(W, labels, n_clusters).labels


class JULEState(nn.Module):
    """The whole state of a checkpoint: the network, the clusters `labels` (N,), and the epochs begun, on the CPU."""

    def __init__(self, network: Autoencoder, labels: Tensor) -> None:
        super().__init__()
        self.network = network
        self.labels: Tensor
        self.passes: Tensor
        self.register_buffer("labels", labels)
        self.register_buffer("passes", torch.tensor(0))

    def columns(self) -> dict[str, int]:
        """Return the trace's column: how many clusters the epoch learnt."""
        return {"n_clusters": int(self.labels.max()) + 1}


def cluster_counts(start: int, n_clusters: int, eta: float) -> list[int]:
    """Return the number of clusters in each period and after the last: `start` at first, K = `n_clusters` at last.

    A period that begins with C clusters has ceil(`eta` C) mergings, and leaves C - ceil(`eta` C), or K if that is more.
    """
    counts = [start]
    while counts[-1] > n_clusters:
        counts.append(max(n_clusters, counts[-1] - math.ceil(eta * counts[-1])))
    return counts


def join_isolated(codes: np.ndarray, W: sp.csr_matrix, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return labels (N,) in which clusters without affinity to any other are joined to that of the nearest mean.

    Two clusters have affinity if a sample of one has edges, in weights W (N, N), both to and from samples of the other.
    At least `n_clusters` clusters stay: the nearest ones are joined first.
    """
    sizes = np.bincount(labels)
    members = sp.csr_matrix((np.ones(len(labels)), (np.arange(len(labels)), labels)))
    there_and_back = (W @ members).multiply(W.T @ members).tocoo()
    left = labels[there_and_back.row] != there_and_back.col
    linked = [labels[there_and_back.row[left]], there_and_back.col[left]]
    alone = np.setdiff1d(np.arange(len(sizes)), np.concatenate(linked))
    nearest = knn_graph((members.T @ codes / sizes[:, None]).astype(np.float32), 1)
    alone = alone[nearest.data[alone].argsort(kind="stable")][: len(sizes) - n_clusters]
    joins = sp.csr_matrix((np.ones(len(alone)), (alone, nearest.indices[alone])), shape=nearest.shape)
    joined: np.ndarray = connected_components(joins, directed=False)[1][labels].astype(np.int64)
    return joined


def draw_negatives(labels: Tensor, n_negatives: int, generator: torch.Generator) -> Tensor:
    """Return indices (B, B, n) of n different samples of other clusters than i's for each pair i, j; labels (B,).

    n is `n_negatives`, B if that is less; a sample with fewer negatives than n has some of them repeatedly, and one
    without any has arbitrary ones. Every subset is equally likely. Each sample's negatives are put in one random order,
    of which a pair takes n in succession from a random place on.
    """
    apart = labels.unsqueeze(1) != labels
    n_apart = apart.sum(dim=1)
    size = len(labels)
    keys, places = torch.rand(2, size, size, generator=generator, device=labels.device)
    order = (keys + ~apart).argsort(dim=1)  # those of other clusters come first
    first = (places * n_apart.unsqueeze(1)).long()
    taken = first.unsqueeze(2) + torch.arange(min(n_negatives, size), device=labels.device)
    taken %= n_apart.clamp_min(1).view(-1, 1, 1)
    negatives: Tensor = order.gather(1, taken.flatten(1)).view_as(taken)
    return negatives


def triplet_loss(z: Tensor, others: Tensor, labels: Tensor, negatives: Tensor, gamma: float, margin: float) -> Tensor:
    """Return the mean over triplets of max(0, gamma ||z_i - z_j||^2 - ||z_i - z_k||^2 + margin); 0 if there are none.

    Parameters
    ----------
    z : Tensor of shape (B, P), rows of norm 1, those of i
    others : Tensor of shape (B, P), those of j and k: the same values, without a gradient where i alone is to move
    labels : Tensor of shape (B,), int64
        i and j > i are pairs if they are of one cluster.
    negatives : Tensor of shape (B, B, n), int64
        The k of each pair, of which the first count, as many as the batch has other clusters.
    """
    squared = 2 - 2 * z @ others.T
    excess = gamma * squared.unsqueeze(2) - squared.gather(1, negatives.flatten(1)).view(negatives.shape) + margin
    same: Tensor = labels.unsqueeze(1) == labels
    n_others = (~same.tril(-1).any(dim=1)).sum() - 1
    counted = torch.arange(negatives.shape[2], device=z.device) < n_others
    triplets = same.triu(1).unsqueeze(2) & counted
    loss: Tensor = (excess.relu() * triplets).sum() / triplets.sum().clamp_min(1)
    return loss
