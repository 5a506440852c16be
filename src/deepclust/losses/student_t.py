"""Soft assignments by Student's t kernel, the target that sharpens them, and their divergence (DEC, Section 3.1)."""

import torch
from torch import Tensor

from deepclust.errors import UserError
from deepclust.losses._arguments import real
from deepclust.losses.distances import squared_distances


def soft_assignment(z: Tensor, centroids: Tensor, alpha: float = 1.0) -> Tensor:
    """Return q (B, K), q_ij proportional to (1 + ||z_i - mu_j||^2 / alpha)^(-(alpha + 1) / 2); rows sum to 1.

    Squared Euclidean distances of codes z (B, P) to centroids (K, P), `alpha` degrees of freedom (DEC, Eq. (1)).
    """
    if not alpha > 0:
        raise UserError(f"alpha must be > 0, got {alpha}")
    log_kernel = -(alpha + 1) / 2 * torch.log1p(squared_distances(z, centroids) / alpha)
    return torch.softmax(log_kernel, dim=1)


def target_distribution(q: Tensor, sizes: Tensor | None = None) -> Tensor:
    """Return p (B, K), p_ij proportional to q_ij^2 / f_j with the soft cluster sizes f_j = sum_i q_ij; rows sum to 1.

    f_j is a sum over the *whole* data set (DEC, Eq. (3)): `sizes` (K,), or by default the sum over q, which then must
    hold all samples. A column of zeros stays one, and so does a row.
    """
    (q,) = real(q)
    (sizes,) = real(q.sum(dim=0) if sizes is None else sizes)
    tiny = torch.finfo(q.dtype).tiny
    weight = q.square() / sizes.clamp_min(tiny)
    return weight / weight.sum(dim=1, keepdim=True).clamp_min(tiny)


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(P || Q) = sum_j p_ij ln(p_ij / q_ij), natural log, *averaged* over the batch (DEC, Eq. (2) sums).

    p, q : (B, K), rows summing to 1. The mean keeps the step size independent of the batch size, as the common
    implementations do.
    """
    p, q = real(p, q)
    tiny = torch.finfo(q.dtype).tiny
    p = p.clamp_min(tiny)  # at exactly 0 the gradient would be 0 / 0
    q = q.clamp_min(tiny**0.5)  # the gradient has the square of q
    return torch.xlogy(p, p / q).sum(dim=1).mean()
