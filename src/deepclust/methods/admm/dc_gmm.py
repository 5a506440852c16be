"""DC-GMM: a Gaussian mixture on a dummy copy of the code, joined to the autoencoder by ADMM."""

import math
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from deepclust.errors import SeedFailed
from deepclust.methods._flat_clustering import GMMReadout, k_means
from deepclust.methods.admm._scheme import ADMMClusterer, Clustering
from deepclust.settings import Count, Positive, Weight, setting


class Mixture(Clustering):
    """g(y) = -ln sum_k pi_k N(y | mu_k, Sigma_k), natural log, full covariances (Eq. (11)-(12)).

    Buffers: `centers` mu (K, P), `covariances` (K, P, P), `weights` pi (K,). The bound b of its y-step is EM's, with
    the responsibilities gamma at the present y.
    """

    covariances: Tensor
    weights: Tensor

    def __init__(self, means: Tensor, covariances: Tensor, weights: Tensor, regularization: float) -> None:
        super().__init__()
        self.regularization = regularization
        self.register_buffer("centers", means.double())
        self.register_buffer("covariances", covariances.double())
        self.register_buffer("weights", weights.double())

    def assign(self, y: Tensor) -> Tensor:
        return self.log_joint(y).argmax(dim=1)

    def value(self, y: Tensor) -> Tensor:
        return -self.log_joint(y).logsumexp(dim=1).mean()

    def y_step(self, y: Tensor, v: Tensor, lam: float, rho: float) -> Tensor:
        """Solve (lam sum_k gamma_ik Sigma_k^-1 + rho I) t = lam sum_k gamma_ik Sigma_k^-1 mu_k + rho v_i (Eq. (14))."""
        gamma = self.responsibilities(y)
        precisions = torch.cholesky_inverse(self.factors())
        identity = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
        matrix = lam * torch.einsum("nk,kij->nij", gamma, precisions) + rho * identity
        pull = lam * gamma @ (precisions @ self.centers[:, :, None])[:, :, 0] + rho * v
        solution: Tensor = torch.cholesky_solve(pull[:, :, None], torch.linalg.cholesky(matrix))[:, :, 0]
        return solution

    def update(self, y: Tensor) -> None:
        """One step of EM on the rows, `regularization` added to the diagonals (Eq. (15)).

        A component without responsibilities keeps its mean and covariance, and loses its weight.
        """
        gamma = self.responsibilities(y)
        sizes = gamma.sum(dim=0)
        alive = sizes > 1e-10
        shares = gamma / sizes.clamp(min=1e-10)
        means = torch.where(alive[:, None], shares.T @ y, self.centers)
        centered = y - means[:, None]  # (K, N, P)
        scatter = (centered * shares.T[:, :, None]).mT @ centered
        scatter.diagonal(dim1=1, dim2=2).add_(self.regularization)
        self.covariances = torch.where(alive[:, None, None], scatter, self.covariances)
        self.centers = means
        self.weights = sizes / len(y)

    def responsibilities(self, y: Tensor) -> Tensor:
        """Return gamma (N, K) of the rows of y; its rows sum to 1."""
        return self.log_joint(y).softmax(dim=1)

    def log_joint(self, y: Tensor) -> Tensor:
        """Return ln pi_k + ln N(y_i | mu_k, Sigma_k), (N, K)."""
        factors = self.factors()
        whitened = torch.linalg.solve_triangular(factors, (y - self.centers[:, None]).mT, upper=False)  # (K, P, N)
        log_det = 2 * factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        constant = self.weights.log() - (log_det + y.shape[1] * math.log(2 * math.pi)) / 2
        joint: Tensor = constant - whitened.square().sum(dim=1).T / 2
        return joint

    def factors(self) -> Tensor:
        """Return the covariances' Cholesky factors (K, P, P)."""
        factors: Tensor
        factors, failed = torch.linalg.cholesky_ex(self.covariances)
        if failed.any():
            raise SeedFailed(f"a covariance became singular; raise regularization={self.regularization}")
        return factors


class DCGMM(GMMReadout, ADMMClusterer):
    """A Gaussian mixture on Y, which ADMM holds to the code f(X) (Algorithm 3; Eq. (11)-(15)).

        (1/N) sum_i [ ||x_i - g(f(x_i))||^2 - lam ln p(y_i) + (rho / 2) ||y_i - f(x_i) + u_i||^2 ]

    Squared norms, sums over features; natural log, full covariances. From EM on the code, Y = f(X) and U = 0, each
    iteration is an epoch of mini-batches on the first term and `a` times the last, then Y, U and one step of EM on Y.
    `labels_` are the likeliest components of the y_i, because the paper clusters Y; `predict` uses the code, as a new
    sample has no y.

    - `rho` must outweigh the mixture: -ln p(y) falls without bound as Y shrinks onto the means. At a fixed code Y does
      so within a few epochs if rho is below 1.13 lam over a variance of a component; U then grows for ever. The paper
      searches rho on a line, and the released code has 1000 for a code of sigmoid units. We take (None) 2 lam over the
      smallest eigenvalue of the covariances at the start, because the right number depends on the code's scale.
    - Paper is silent on the responsibilities' time: both the Y-step and EM compute them at the present Y, so that
      neither raises its share of the augmented Lagrangian.
    - Paper is silent on singular covariances: `regularization` is added to their diagonals, at the start and in EM. It
      is 1e-3, a thousand times AE+GMM's default: sigmoid units that are saturated throughout a component have no
      variance there, and `rho`, set by the smallest eigenvalue, would leave nothing of the reconstruction.
    - With `initial_centers` `input` or `random` the mixture starts as in the released code: diagonal covariances and
      weights are those of a k-means on the code, whose clusters are in no relation to the centers. The released code
      also has `rho` 1000, `dual_step` 0.5 and 300 epochs without a stop (`tolerance` 0).
    - Paper has a threshold of 0.1 % for DC-Kmeans, without saying of what. We read it as the share of samples whose
      label changes, that of f(x_i) or that of y_i, here too.
    """

    paper: ClassVar[str] = "Tian, Zhou and Guan 2017"

    covariance: Literal["full"] = setting("form of the covariances, which the Y-step inverts", default="full")
    rho: Positive | None = setting("weight of Y = f(X); None: 2 lam over the smallest eigenvalue", default=None)
    a: Weight = setting("factor of `rho` in the theta-step", default=0.01)
    regularization: Positive = setting("added to the diagonals of the covariances", default=1e-3)
    n_init: Count = setting("starts of EM; the best by likelihood is kept", default=5)

    def _memory(self, n_samples: int, n_features: int) -> int:
        return 160 * n_samples * self.n_clusters  # for each component, two copies of every code of some 10 numbers

    def _clustering(self) -> Mixture:
        fitted = self.cluster_centers_, self.covariances_, self.weights_
        means, covariances, weights = map(torch.from_numpy, fitted)
        return Mixture(means, covariances, weights, self.regularization).to(self.device_)

    def _settle(self, clustering: Mixture) -> None:
        super()._settle(clustering)
        self.covariances_, self.weights_ = clustering.covariances.cpu().numpy(), clustering.weights.cpu().numpy()
        self.__dict__.pop("precisions_cholesky_", None)  # stale: of the start's mixture, where EM made that

    def _place(self, centers: np.ndarray, codes: np.ndarray) -> None:
        super()._place(centers, codes)
        labels = k_means(codes, self.n_clusters, n_init=1, random_state=self._seed).labels_
        members = [codes[labels == k] for k in range(self.n_clusters)]
        variances = [(rows if len(rows) else codes).var(axis=0, dtype=np.float64) for rows in members]
        self.covariances_ = np.stack([np.diag(variance + self.regularization) for variance in variances])
        self.weights_ = np.array([len(rows) for rows in members]) / len(codes)

    def _rho(self, clustering: Mixture) -> float:
        if self.rho is not None:
            return self.rho
        smallest: float = torch.linalg.eigvalsh(clustering.covariances).min().item()
        return 2 * self.lam / max(smallest, self.regularization)

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the responsibilities of the components for the code, as a new sample has no y."""
        clustering = self._clustering()
        return clustering.responsibilities(torch.from_numpy(self._exact_codes(X)).to(clustering.centers)).cpu().numpy()
