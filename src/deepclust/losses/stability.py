"""Sample stability: how surely a soft assignment puts a sample inside or outside of each cluster (DECS)."""

import torch
from torch import Tensor

from deepclust.losses._arguments import real

_BINS = 256
_MARGIN = 1e-6  # least distance of t from 0 and 1: the determinacy divides by t and by 1 - t


def otsu_threshold(q: Tensor) -> Tensor:
    """Return t (scalar), which cuts the entries of q into two classes with the largest variance between them.

    Otsu's method on a histogram of 256 bins from the smallest to the largest entry; t is the centre of the lower
    class's last bin. If several cuts are best, because no entry lies between the classes, t is the mean of these cuts
    and not at the edge of one class. Entries that are all equal give t = their value. t is kept within
    [1e-6, 1 - 1e-6]. No gradient, no synchronisation: counts are integers, so that equal cuts are exactly equal.

    Parameters
    ----------
    q : Tensor of any shape, in [0, 1]
    """
    (q,) = real(q)
    values = q.detach().double().flatten().sort().values
    total, low, width = len(values), values[0], (values[-1] - values[0]) / _BINS
    cut = torch.arange(_BINS - 1, device=q.device)  # the last bin of the lower class
    below = torch.searchsorted(values, low + width * (cut + 1))  # the size of that class
    # sums of bin numbers, by parts: Otsu's cut depends neither on the origin of the entries nor on their unit
    lower_sum = cut * below - (below.cumsum(0) - below)
    whole_sum = (_BINS - 1) * total - below.sum()
    both = below * (total - below)
    between = (total * lower_sum - below * whole_sum).double().square() / both.clamp(min=1)
    best = between == between.max()
    t = low + width * ((cut * best).sum() / best.sum() + 0.5)
    return t.clamp(_MARGIN, 1 - _MARGIN).to(q.dtype)


def determinacy(q: Tensor, t: Tensor, power: int = 2) -> Tensor:
    """Return fq (B, K), 0 at q = t and 1 at q = 0 and q = 1: the share of the way from t to that end, to a power.

    ((t - q) / t)^power below t and ((q - t) / (1 - t))^power above. DECS's Eq. (6) squares; its released code takes
    absolute values (power 1). t in (0, 1), within 1e-6 of its ends.
    """
    q, t = real(q, t)
    t = t.clamp(_MARGIN, 1 - _MARGIN)
    return torch.where(q < t, (t - q) / t, (q - t) / (1 - t)) ** power


def stability(fq: Tensor, lam: float) -> Tensor:
    """Return sq (B,), the mean of each row of fq (B, K) minus `lam` times its variance (over K): DECS, Eq. (7)."""
    (fq,) = real(fq)
    return fq.mean(dim=1) - lam * fq.var(dim=1, correction=0)


def instability(sq: Tensor, batch_variance: bool = False) -> Tensor:
    """Return 1 - mean_i sq_i of the stabilities sq (B,), a mean over the batch: DECS, Eq. (8).

    With `batch_variance`, the variance of sq over the batch is subtracted as well, as the released code does: each
    sample then weighs 1 + 2 (sq_i - mean sq), the stable ones more. Either value is in [0, 1] for `lam` in [0, 1].
    """
    (sq,) = real(sq)
    loss = 1 - sq.mean()
    return loss - sq.var(correction=0) if batch_variance else loss
