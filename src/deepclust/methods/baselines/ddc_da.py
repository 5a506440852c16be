"""DDC-DA: density peaks on a t-SNE map of a pretrained code (Ren, Wang, Li and Xu, KBS 2020)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from deepclust.errors import UserError
from deepclust.mapped import chunks
from deepclust.methods._deep import DeepClusterer
from deepclust.nets._autoencoder import Autoencoder
from deepclust.settings import Positive, setting

_ENTRIES = 2**22  # of a block of distances, in float64
_ROUNDING = 1e-6  # share of the largest code by which codes of equal samples may differ, in float32


class DDCDA(DeepClusterer):
    """Clusters are the dense regions of a two-dimensional t-SNE map of the code, joined where their cores touch.

    With d_ij the distances in the map and d_c = `cutoff` times their mean over all pairs,

        rho_i = sum_(j != i) exp(-(d_ij / d_c)^2),    delta_i = distance to the nearest sample of larger rho.

    Samples with rho above its mean and delta > d_c, and the densest sample in any case, are centres; every other sample
    belongs to the cluster of its nearest denser sample. A cluster's core are its samples with rho above their mean. Two
    clusters are one if a core sample of one lies within d_c of a core sample of the other.

    So the method finds its own number of clusters: `n_clusters_`, with the labels of the read-out `own_k`. `labels_`
    has K clusters: clusters are joined in the same order, nearest cores first, and until K are left instead of up to
    d_c. Where fewer than K centres were found, there are fewer clusters. The network stays as it was.

    In a grid the paper's network, trained on random maps of the images, is `{uses: strided, epochs: 500, augmentation:
    {crop: 0.0}}`. `extras_` has the `map` (N, 2), `density` rho and `separation` delta (N,), and `peaks`, a row for
    each centre. Time grows with N^2, memory with N. More in `docs/papers/baselines.md`.
    """

    default_network: ClassVar[str] = "strided"
    paper: ClassVar[str] = "Ren, Wang, Li and Xu 2020"
    why_no_predict: ClassVar[str] = "only the samples of the fit have a place in the t-SNE map"

    cutoff: Positive = setting("d_c as a share of the mean distance in the map", default=0.1)
    perplexity: Positive = setting("of t-SNE; a third of N - 1 at most", default=30.0)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        if len(X) < 4:
            raise UserError(f"t-SNE needs at least 4 samples, got n_samples={len(X)}; give more")
        self.embedding_ = self._encode(self._start(X, network)).cpu().numpy()
        points, self.n_iter_ = _tsne(self.embedding_, self.perplexity, self._seed)
        peaks = density_peaks(points, self.cutoff)
        gaps = core_gaps(points, peaks)
        own = joined(gaps, peaks.cutoff)
        of_k = joined(gaps, np.inf, self.n_clusters)
        self.n_clusters_ = int(own.max()) + 1
        self.labels_ = of_k[peaks.labels]
        self.converged_ = True
        self.readouts_ = {"own_k": own[peaks.labels]}
        centers = peaks.centers
        table = {"sample": centers, "density": peaks.density[centers], "separation": peaks.separation[centers]}
        self.extras_ = {
            "map": points,
            "density": peaks.density,
            "separation": peaks.separation,
            "peaks": pd.DataFrame(table | {"own_cluster": own, "cluster": of_k}),
        }


@dataclass(frozen=True)
class Peaks:
    """Density peaks before any clusters are joined."""

    density: np.ndarray  # (N,) rho
    separation: np.ndarray  # (N,) delta; of the densest sample the distance to the farthest one
    cutoff: float  # d_c
    centers: np.ndarray  # (C,) samples, densest first
    labels: np.ndarray  # (N,) in [0, C)


def density_peaks(points: np.ndarray, share: float) -> Peaks:
    """Return the density peaks of points (N, 2), with d_c = `share` times the mean of all N^2 distances.

    rho counts the other samples within about d_c: a sum of exp(-(d / d_c)^2). The first of equal densities counts as
    the largest. Distances are Euclidean, and are held in blocks.
    """
    n_samples = len(points)
    rows = max(1, _ENTRIES // n_samples)
    cutoff = share * sum(float(cdist(part, points).sum()) for part in chunks(points, rows)) / n_samples**2
    scaled = points / (cutoff or 1.0)  # 0: all samples are one point
    sums = (np.exp(-cdist(part, scaled, "sqeuclidean")).sum(axis=1) for part in chunks(scaled, rows))
    density: np.ndarray = np.concatenate([*sums]) - 1
    order = np.argsort(-density, kind="stable")
    separation, parent = np.zeros(n_samples), np.arange(n_samples)
    for start in range(0, n_samples, rows):
        now = order[start : start + rows]
        distances = cdist(points[now], points[order[: start + len(now)]])
        distances[np.arange(distances.shape[1]) >= start + np.arange(len(now))[:, None]] = np.inf  # not denser
        nearest = distances.argmin(axis=1)
        separation[now], parent[now] = distances[np.arange(len(now)), nearest], order[nearest]
    separation[order[0]] = cdist(points[order[:1]], points).max()
    peak = (density > density.mean()) & (separation > cutoff)
    peak[order[0]] = True
    centers = order[peak[order]]
    parent[centers] = centers
    while not np.array_equal(parent, above := parent[parent]):
        parent = above
    numbers = np.zeros(n_samples, dtype=np.int64)
    numbers[centers] = np.arange(len(centers))
    return Peaks(density, separation, cutoff, centers, numbers[parent])


def core_gaps(points: np.ndarray, peaks: Peaks) -> np.ndarray:
    """Return the least distances (C, C) between the cores of clusters, to which the centres belong."""
    n_centers = len(peaks.centers)
    core = peaks.density > (np.bincount(peaks.labels, peaks.density) / np.bincount(peaks.labels))[peaks.labels]
    core[peaks.centers] = True
    cores = [points[core & (peaks.labels == k)] for k in range(n_centers)]
    gaps = np.zeros((n_centers, n_centers))
    for a, tree in enumerate(map(KDTree, cores)):
        for b in range(a):
            gaps[a, b] = gaps[b, a] = np.min(tree.query(cores[b])[0])
    return gaps


def joined(gaps: np.ndarray, below: float, at_least: int = 1) -> np.ndarray:
    """Return the clusters (C,) that are left when those of a gap less than `below` are joined, nearest first.

    Joining stops at `at_least` clusters. Numbers follow the order of the first members, from 0.
    """
    labels = np.arange(len(gaps))
    a, b = np.triu_indices(len(gaps), 1)
    for pair in np.argsort(gaps[a, b], kind="stable"):
        one, other = labels[a[pair]], labels[b[pair]]
        if gaps[a[pair], b[pair]] >= below or len(np.unique(labels)) <= at_least:
            break
        labels[labels == max(one, other)] = min(one, other)
    return np.unique(labels, return_inverse=True)[1]


def _tsne(codes: np.ndarray, perplexity: float, random_state: int) -> tuple[np.ndarray, int]:
    """Return the t-SNE map (N, 2) of codes (N, P), and its iterations; codes of one point, up to rounding, give one."""
    if np.ptp(codes, axis=0).max() <= _ROUNDING * np.abs(codes).max():
        return np.zeros((len(codes), 2)), 1
    if codes.shape[1] == 1:
        codes = np.pad(codes, ((0, 0), (0, 1)))  # the start takes two principal components
    model = TSNE(perplexity=min(perplexity, (len(codes) - 1) / 3), random_state=random_state)
    with threadpool_limits(1):  # sums of several threads differ in their last bits, and t-SNE amplifies these
        return model.fit_transform(codes).astype(np.float64), int(model.n_iter_)
