"""DC-Kmeans: k-means on a dummy copy of the code, joined to the autoencoder by ADMM."""

from typing import ClassVar

from deepclust.methods._flat_clustering import KMeansReadout
from deepclust.methods.admm._scheme import ADMMClusterer, Clustering
from deepclust.settings import Positive, setting


class DCKmeans(KMeansReadout, ADMMClusterer):
    """k-means on Y, which ADMM holds to the code f(X) (Algorithm 2; Eq. (8)-(10)).

        (1/N) sum_i [ ||x_i - g(f(x_i))||^2 + (lam / 2) ||y_i - c*_i||^2 + (rho / 2) ||y_i - f(x_i) + u_i||^2 ]

    Squared norms, sums over features. From k-means on the code, Y = f(X) and U = 0, each iteration is an epoch of
    mini-batches on the first term and `a` times the last, then Y, U and the centroids in closed form. `labels_` are the
    nearest centroids of the y_i, because the paper clusters Y; `predict` uses the code, as a new sample has no y.

    - Paper prints u + f - y in Eq. (10) and u + y - f in Algorithm 2: the second, which fits Eq. (9).
    - Paper has a convergence threshold of 0.1 % (Section 6.2), without saying of what. We read it as the share of
      labels that change. The y_i start at most halfway from their centroids at rho = lam, and change no label for some
      epochs, whatever the network does; so the labels of f(x_i) must have settled too.
    - Paper is silent on a centroid without samples: it stays.
    - Paper searches rho on a line: we take 1, the released code's, because the result hardly depends on it.
    - The released code has no stop: `tolerance` 0.
    """

    paper: ClassVar[str] = "Tian, Zhou and Guan 2017"

    rho: Positive = setting("weight of the constraint Y = f(X)", default=1.0)

    def _rho(self, clustering: Clustering) -> float:
        return self.rho
