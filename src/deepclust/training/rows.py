"""The data of a training as one tensor, and its rows: in memory, or read from a file in which they stay."""

import mmap
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from deepclust.mapped import AROUND, mapping_of
from deepclust.training.runtime import resolve_device

RESIDENT = 256 << 20  # bytes of a mapped file in memory, at most


def on_device(X: np.ndarray, device: str) -> torch.Tensor:
    """Return X as one float32 tensor on `device` (see `resolve_device`), where X stays during a training.

    On a CPU an array that is mapped from a file (`files.read_array`) stays in the file, in its own precision.
    """
    target, mapping = resolve_device(device), mapping_of(X)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # a training does not write
        data = torch.from_numpy(X)
    if mapping is None or target.type != "cpu":
        if target.type == "mps":  # which takes no float64, not even to convert it
            data = data.float()
        return data.to(target, torch.float32)
    data.pages = _Pages(mapping)  # type: ignore[attr-defined]
    return data


class _Pages:
    """The part of a mapped file that is in memory: dropped before it reaches `RESIDENT` bytes, whoever read it."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self._mapping = mapping
        self._drop()

    def _drop(self) -> None:
        self._mapping.madvise(mmap.MADV_DONTNEED)  # later reads come from the page cache or the file
        self._resident = 0

    def count(self, n_bytes: int) -> None:
        """Note that `n_bytes` were read; drop the pages if as many more would be too many."""
        self._resident += n_bytes
        if self._resident + n_bytes > RESIDENT:
            self._drop()


class Rows:
    """Rows of X in float32, wherever X is; at most some `RESIDENT` bytes of an X in a file are in memory."""

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
