"""Checks of what a loss is given: real numbers of any type, and labels of any integer type; all else is refused.

Nothing here waits for a GPU: what is looked at are types and shapes.
"""

import torch
from torch import Tensor

from deepclust.errors import UserError


def real(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors of numbers as they are, but integers as the first floating type among them, else as float64.

    Raises UserError for complex numbers, and for a tensor without an entry, whose mean would be 0 / 0.
    """
    found = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float64)
    for tensor in tensors:
        if tensor.is_complex() or not tensor.numel():
            what = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            raise UserError(f"a loss is of real numbers, at least one, got {what}")
    return tuple(tensor if tensor.is_floating_point() else tensor.to(found) for tensor in tensors)


def clusters_of(labels: Tensor, n_rows: int, n_clusters: int) -> Tensor:
    """Return labels (B,) of any integer type as int64.

    Raises UserError for labels that are not `n_rows` integers or, on a CPU, not in [0, K); a GPU stops on its own.
    """
    integers = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if not integers or labels.shape != (n_rows,):
        what = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise UserError(f"labels must be integers of shape ({n_rows},), got {what}")
    labels = labels.to(torch.int64)
    try:
        torch.empty(n_clusters, device=labels.device).gather(0, labels)
    except RuntimeError as error:
        if "out of bounds" not in str(error):
            raise
        raise UserError(f"labels must be in [0, K={n_clusters}), got others") from error
    return labels
