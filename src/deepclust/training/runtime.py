"""Where and how a training runs, apart from what it computes: threads, precision, checkpoints.

Methods and losses never see these: a stage (or a user) opens a `Runtime` around `fit`, and the loop reads it.
"""

import contextlib
import mmap
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from deepclust.errors import UserError
from deepclust.files import AROUND, mapping_of

RESIDENT = 256 << 20  # bytes
Precision = Literal["float32", "bfloat16", "onednn_bfloat16"]


@dataclass(frozen=True)
class Runtime:
    """Surroundings of a training."""

    threads: int | None = None  # None: torch's own choice
    precision: Precision = "float32"  # bfloat16: under autocast; onednn_bfloat16: products of float32, on a CPU
    checkpoints: Path | None = None  # folder of the checkpoints; None keeps none
    progress: bool = False  # a bar on stderr while training; otherwise a line in the log at every checkpoint
    checkpoint_every: int = 5  # epochs

    @contextlib.contextmanager
    def open(self) -> Iterator["Runtime"]:
        """Make this the surroundings of every training inside the block: deterministic kernels, fixed threads.

        Both are the whole process's: what opens one in threads of its own opens the same one around all of them.
        """
        before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
        filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        products = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv  # type: ignore[attr-defined]
        precisions = [product.fp32_precision for product in products]
        token = _current.set(self)
        # scikit-learn's OpenMP loops add their threads' sums in order of arrival: one thread keeps them exact
        with threadpool_limits({"openmp": 1, "blas": self.threads} if self.threads else None):
            torch.set_num_threads(self.threads or before[0])
            torch.set_deterministic_debug_mode("error")  # `use_deterministic_algorithms` loads the compiler, too
            # else every new tensor is filled with NaN first, 20 a step of the default autoencoder; none is read unset
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
    """Return the torch device for `auto` (CUDA where there is one), `cpu` or `cuda`."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but torch sees no CUDA device; use auto or cpu")
    return torch.device(device)


def on_device(X: np.ndarray, device: str) -> torch.Tensor:
    """Return X as one tensor on `device` (see `resolve_device`), where it stays during a training: float32.

    On a CPU an array that is mapped from a file (`files.read_array`) stays there, in its own precision.
    """
    target, mapping = resolve_device(device), mapping_of(X)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor does a training write to it
        data = torch.from_numpy(X)
    if mapping is None or target.type != "cpu":
        return data.to(target, torch.float32)
    data.pages = _Pages(mapping)  # type: ignore[attr-defined]
    return data


def side_by_side(X: np.ndarray, device: str, n_seeds: int) -> int:
    """Return how many seeds train at once: one on a CPU; on a GPU all, or as many as it can hold X (N, D) for.

    One training leaves most of a GPU idle. Each is counted with four times its data in float32.
    """
    if resolve_device(device).type == "cpu":
        return 1
    torch.linalg.inv(torch.eye(2, device="cuda"))  # loads the solvers, which threads side by side must not do first
    free, _ = torch.cuda.mem_get_info()
    return max(1, min(n_seeds, free // (16 * X.size)))


class _Pages:
    """How much of a mapped file is in memory: it is dropped before it is `RESIDENT` bytes, whoever read it."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self._mapping = mapping
        self._drop()

    def _drop(self) -> None:
        self._mapping.madvise(mmap.MADV_DONTNEED)  # what is read again comes from the file, or from the page cache
        self._resident = 0

    def count(self, n_bytes: int) -> None:
        """Note that so much was read, and drop it where the next as much would be too much."""
        self._resident += n_bytes
        if self._resident + n_bytes > RESIDENT:
            self._drop()


class Rows:
    """Rows of X in float32, wherever X is; of one in a file, some `RESIDENT` bytes at most are in memory."""

    def __init__(self, X: torch.Tensor) -> None:
        self._X = X
        self._pages: _Pages | None = getattr(X, "pages", None)

    def __getitem__(self, index: torch.Tensor | slice) -> torch.Tensor:
        if self._pages is None:
            return self._X[index].float()
        if isinstance(index, slice):
            rows = self._X[index].float()
            self._pages.count(rows.numel() * self._X.element_size())
            return rows
        found = []
        for part in index.split(max(1, RESIDENT // AROUND)):
            found.append(self._X[part].float())
            self._pages.count(len(part) * AROUND)
        return torch.cat(found)

    def chunks(self, size: int, subset: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """Yield all rows, or those with the indices `subset`, `size` at a time."""
        for start in range(0, len(self._X) if subset is None else len(subset), size):
            chunk = slice(start, start + size)
            yield self[chunk if subset is None else subset[chunk]]
