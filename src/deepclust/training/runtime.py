"""Where and how a training runs, apart from what it computes: threads, precision, checkpoints.

Methods and losses never see these: a stage (or a user) opens a `Runtime` around `fit`, and the loop reads it.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from threadpoolctl import threadpool_limits

from deepclust.errors import UserError

Precision = Literal["float32", "bfloat16", "onednn_bfloat16"]


@dataclass(frozen=True)
class Runtime:
    """Surroundings of a training."""

    threads: int | None = None  # None: torch's own choice
    precision: Precision = "float32"  # bfloat16: under autocast; onednn_bfloat16: products of float32, on a CPU
    checkpoints: Path | None = None  # folder of the checkpoints; None keeps none
    progress: bool = False  # a bar on stderr while training, beside a line in the log at each quarter
    checkpoint_every: int = 5  # epochs

    @contextlib.contextmanager
    def open(self) -> Iterator["Runtime"]:
        """Make this the surroundings of every training inside the block: deterministic kernels, fixed threads.

        Kernels and threads are the whole process's: code that opens a `Runtime` in several threads opens the same one
        around all.
        """
        before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
        filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        products = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv  # type: ignore[attr-defined]
        precisions = [product.fp32_precision for product in products]
        token = _current.set(self)
        # scikit-learn's OpenMP loops add their threads' sums in order of arrival: one thread keeps the sums exact
        with threadpool_limits({"openmp": 1, "blas": self.threads} if self.threads else None):
            torch.set_num_threads(self.threads or before[0])
            torch.set_deterministic_debug_mode("error")  # `use_deterministic_algorithms` loads the compiler, too
            # Otherwise every new tensor is first filled with NaN, 20 a step of the default autoencoder. No step reads
            # a tensor before it is written.
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            for product in products:
                product.fp32_precision = "bf16" if self.precision == "onednn_bfloat16" else "ieee"
            try:
                yield self
            finally:
                torch.set_num_threads(before[0])
                torch.set_deterministic_debug_mode(before[1])
                torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
                for product, precision in zip(products, precisions, strict=True):
                    product.fp32_precision = precision
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
    """Return the torch device for `auto` (CUDA where there is one, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises UserError for one that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(device)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and not count:
        raise UserError(f"device is {device}, but torch sees no CUDA device; use auto or cpu")
    if found.type == "cuda" and (found.index or 0) >= count:
        raise UserError(f"device is {device}, but N of cuda:N must be in [0, {count - 1}]: torch sees {count} devices")
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device is mps, but torch sees no such device; use auto or cpu")
    return found


def widest(device: torch.device) -> torch.dtype:
    """Return the widest float of a device: float64, but float32 on mps."""
    return torch.float32 if device.type == "mps" else torch.float64
