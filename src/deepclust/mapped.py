"""Arrays that stay in their files: the mapping behind an array, and rows that are read without being kept."""

import mmap as memory
from collections.abc import Iterator
from typing import Any

import numpy as np

AROUND = 2 << 20  # bytes that the kernel may map when one byte of a file is read: a large folio of the page cache


def mapping_of(array: np.ndarray) -> memory.mmap | None:
    """Return the mapped file that an array is a view of, if its pages may be dropped (because they are the file's)."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and isinstance(base.base, memory.mmap):
            return base.base if base.mode != "c" else None  # copy on write: written pages are in no file
        base = base.base
    return None


def chunks(array: np.ndarray, size: int = 4096) -> Iterator[np.ndarray]:
    """Yield the rows of an array, `size` at a time; of an array in a file, only these rows are in memory."""
    mapping = mapping_of(array)
    for start in range(0, len(array), size):
        yield array[start : start + size]
        if mapping is not None:
            mapping.madvise(memory.MADV_DONTNEED)
