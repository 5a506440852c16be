"""DAEC: autoencoder-based data clustering (Song, Liu, Huang, Wang and Tan 2013)."""

from typing import ClassVar

from torch import Tensor

from deepclust.methods._flat_clustering import KMeansReadout
from deepclust.methods.admm._scheme import Alternating, Clustering, State, size
from deepclust.nets._autoencoder import Autoencoder


class DAECState(State):
    """The centroids and assignments of the last update."""

    def __init__(self, network: Autoencoder, centroids: Clustering, codes: Tensor, lam: float) -> None:
        super().__init__(network, centroids, codes)
        self.lam = lam

    def penalty(self, z: Tensor, index: Tensor) -> Tensor:
        """Return lam ||f(x_i) - c*_i||^2, averaged over the batch."""
        centers = self.clustering.centers[self.labels[index]].float()
        return self.lam * (z - centers).square().sum(dim=1).mean()

    def update(self, codes: Tensor) -> None:
        """Take one iteration of Lloyd's, then give every sample its nearest centroid."""
        self.clustering.update(codes)
        self.labels = self.clustering.assign(codes)

    def measure(self, codes: Tensor) -> dict[str, float]:
        """Return lam times the mean of ||f(x_i) - c*_i||^2, and the root mean square of the code about its mean."""
        clustering = 2 * self.lam * float(self.clustering.value(codes))  # the cost of k-means has a half
        return {"clustering": clustering, "spread": float(size(codes - codes.mean(dim=0)))}


class DAEC(KMeansReadout, Alternating):
    """Reconstruction error plus `lam` times the squared distances of the codes to their nearest centroids.

        (1/N) sum_i [ ||x_i - g(f(x_i))||^2 + lam ||f(x_i) - c*_i||^2 ]

    Squared norms, sums over features. An epoch trains the network at fixed assignments and centroids; then one
    iteration of Lloyd's algorithm on the new codes moves assignments and centroids. Training starts from k-means on the
    code and stops when fewer than `tolerance` of the labels changed. Labels, of new samples too, are those of the
    nearest centroids.

    - `lam` is DC-Kmeans's lam / 2: that objective has a factor 1/2. The paper that DAEC is a baseline of takes the best
      of 0.2, 0.4, ..., 1.0 by the labels; we take 1, because a label-free choice has no reason for another.
    - k-means on the code and AdaDelta are DC-Kmeans's, so that the two methods differ in Y alone.
    """

    paper: ClassVar[str] = "Song, Liu, Huang, Wang and Tan 2013"

    def _start_state(self, codes: Tensor) -> State:
        return DAECState(self.network_, self._clustering(), codes, self.lam)
