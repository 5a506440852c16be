"""Rows of the data: those of the array, wherever it is, and few of a file in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deepclust.files import read_array, write_array
from deepclust.training import rows as training_rows
from deepclust.training.rows import Rows, on_device


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_of_a_file_are_those_of_the_array_and_few_stay_in_memory(
    dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X: np.ndarray = np.random.default_rng(0).random((20_000, 1_000)).astype(dtype)  # 40 or 80 MB
    write_array(tmp_path / "X.npy", X)
    monkeypatch.setattr(training_rows, "RESIDENT", 4 << 20)
    data = on_device(read_array(tmp_path / "X.npy", mmap=True), "cpu")
    assert data.dtype == torch.from_numpy(X).dtype
    rows, before = Rows(data), mapped_bytes()
    for start, found in zip(range(0, 20_000, 1_000), rows.chunks(1_000), strict=True):
        np.testing.assert_array_equal(found, X[start : start + 1_000].astype(np.float32))
    subset = torch.arange(19_999, 0, -3)
    np.testing.assert_array_equal(torch.cat(list(rows.chunks(100, subset))), X[subset].astype(np.float32))
    for _ in range(8):  # together they keep no more
        for part in zip(*(Rows(data).chunks(500) for _ in range(8)), strict=True):
            assert len(part) == 8
    assert mapped_bytes() - before < 20 << 20


def test_rows_in_memory_are_not_copied() -> None:
    X = torch.rand(6, 2)
    assert [chunk.data_ptr() for chunk in Rows(X).chunks(3)] == [X.data_ptr(), X[3:].data_ptr()]


def mapped_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssFile")))
