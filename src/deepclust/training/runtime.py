"""Where and how a training runs, apart from what it computes: threads, precision, checkpoints.

Methods and losses never see these: a stage (or a user) opens a `Runtime` around `fit`, and the loop reads it.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from deepclust.errors import UserError


@dataclass(frozen=True)
class Runtime:
    """Surroundings of a training."""

    threads: int | None = None  # None: torch's own choice
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: matrix products under autocast
    checkpoints: Path | None = None  # folder of the checkpoints; None keeps none
    progress: bool = False  # a bar on stderr while training; otherwise a line in the log at every checkpoint
    checkpoint_every: int = 5  # epochs

    @contextlib.contextmanager
    def open(self) -> Iterator["Runtime"]:
        """Make this the surroundings of every training inside the block: deterministic kernels, fixed threads."""
        before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        token = _current.set(self)
        # scikit-learn's OpenMP loops add their threads' sums in order of arrival: one thread keeps them exact
        with threadpool_limits({"openmp": 1, "blas": self.threads} if self.threads else None):
            torch.set_num_threads(self.threads or before[0])
            torch.use_deterministic_algorithms(True)
            try:
                yield self
            finally:
                torch.set_num_threads(before[0])
                torch.use_deterministic_algorithms(before[1])
                _current.reset(token)


@contextlib.contextmanager
def progress() -> Iterator[None]:
    """Show a bar on stderr for every training inside the block, and change nothing else of its surroundings."""
    token = _current.set(replace(current(), progress=True))
    try:
        yield
    finally:
        _current.reset(token)


_current: ContextVar[Runtime | None] = ContextVar("runtime", default=None)


def current() -> Runtime:
    """Return the innermost open `Runtime`, or the default one."""
    return _current.get() or Runtime()


def resolve_device(device: str) -> torch.device:
    """Return the torch device for `auto` (CUDA where there is one), `cpu` or `cuda`."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but torch sees no CUDA device; use auto or cpu")
    return torch.device(device)


def on_device(X: np.ndarray, device: str) -> torch.Tensor:
    """Return X as one float32 tensor on `device` (see `resolve_device`), where it stays during a training."""
    writable = X if X.flags.writeable else X.copy()  # torch warns of others: memory maps, pandas' own arrays
    return torch.from_numpy(writable).to(resolve_device(device), torch.float32)
