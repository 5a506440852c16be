"""A mixture of Gaussians with diagonal covariances as the prior of a code (VaDE, Section 3); natural logs.

Weights pi (K,) come as logarithms, means mu (K, P) as they are, variances sigma^2 (K, P) as logarithms.
"""

import math

from torch import Tensor

from deepclust.losses._arguments import real


def log_joint(z: Tensor, log_weights: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Return ln pi_c + ln N(z_i | mu_c, diag sigma_c^2) (B, K) of codes z (B, P).

    The responsibilities gamma are the softmax of its rows.
    """
    z, log_weights, means, log_variances = real(z, log_weights, means, log_variances)
    squared = (z.unsqueeze(1) - means).square() * (-log_variances).exp()
    return log_weights - (squared + log_variances + math.log(2 * math.pi)).sum(dim=2) / 2


def divergences(mean: Tensor, log_variance: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Return KL(N(m_i, diag s_i^2) || N(mu_c, diag sigma_c^2)) (B, K), summed over the P features.

    mean m, log_variance ln s^2 : (B, P).
    """
    mean, log_variance, means, log_variances = real(mean, log_variance, means, log_variances)
    squared = (mean.unsqueeze(1) - means).square() * (-log_variances).exp()
    ratio = log_variance.unsqueeze(1) - log_variances
    return (squared + ratio.exp() - ratio - 1).sum(dim=2) / 2
