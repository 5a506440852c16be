"""What surrounds a training: restored afterwards, whatever happened inside."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans  # noqa: F401 (its thread pools are among those watched)
from threadpoolctl import threadpool_info

from deepclust.errors import UserError
from deepclust.files import read_array, write_array
from deepclust.training import runtime
from deepclust.training.runtime import Rows, Runtime, current, on_device, progress, resolve_device


def surroundings() -> tuple[object, ...]:
    pools = sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info())
    onednn: Any = torch.backends.mkldnn
    products = onednn.matmul.fp32_precision, onednn.conv.fp32_precision
    memory: Any = torch.utils.deterministic
    deterministic = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    return torch.__config__.parallel_info(), deterministic, pools, products, current()


@pytest.mark.parametrize("precision", ["float32", "onednn_bfloat16"])
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_everything_is_restored(threads: int | None, precision: Any) -> None:
    before = surroundings()
    with Runtime(threads, precision).open():
        pass
    assert surroundings() == before
    with pytest.raises(KeyError), Runtime(threads, precision).open():
        raise KeyError
    assert surroundings() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_deterministic_algorithms_hold_inside(threads: int) -> None:
    with Runtime(threads=threads).open():
        assert torch.get_num_threads() == threads
        assert torch.are_deterministic_algorithms_enabled()
        blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        ours = [pool for pool in blas if any(name in pool["filepath"] for name in ("numpy", "scipy.libs"))]
        assert {pool["num_threads"] for pool in ours} == {threads}  # not those that other packages bring along
        assert all(
            pool["num_threads"] == 1
            for pool in threadpool_info()
            if pool["user_api"] == "openmp" and "torch" not in pool["filepath"]
        )


def test_new_tensors_are_not_filled_before_they_are_written() -> None:
    """As torch does in its deterministic mode: 20 kernels more a step of the default autoencoder, for nothing."""
    with Runtime(threads=1).open(), torch.profiler.profile() as profile:
        torch.empty(3)
    assert not [event.name for event in profile.events() if "fill" in event.name]


def test_no_threads_named_leaves_torchs_choice() -> None:
    before = torch.get_num_threads()
    with Runtime().open():
        assert torch.get_num_threads() == before


def test_current_is_the_innermost_open_runtime() -> None:
    assert current() == Runtime()
    with Runtime(threads=1).open() as outer:
        assert current() is outer
        with Runtime(threads=1, precision="bfloat16").open() as inner:
            assert current() is inner
        assert current() is outer
    assert current() == Runtime()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")
def test_onednn_rounds_products_of_float32_and_nothing_else() -> None:
    X, W = (torch.rand(64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    with Runtime(threads=1).open():
        exact = X @ W
        with Runtime(threads=1, precision="onednn_bfloat16").open():
            rounded, added = X @ W, X + W
        assert torch.equal(X @ W, exact)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=2e-2, atol=0)
    assert torch.equal(added, X + W)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert not torch.equal(rounded, exact)


def test_progress_changes_nothing_else_of_the_surroundings() -> None:
    with Runtime(threads=1).open() as outer:
        with progress():
            assert current() == replace(outer, progress=True)
        assert current() is outer


def test_device_is_resolved_to_one_that_is_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_cuda_without_a_card_is_refused() -> None:
    with pytest.raises(UserError, match="torch sees no CUDA device; use auto or cpu"):
        resolve_device("cuda")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_of_a_file_are_those_of_the_array_and_few_stay_in_memory(
    dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X: np.ndarray = np.random.default_rng(0).random((20_000, 1_000)).astype(dtype)  # 40 or 80 MB
    write_array(tmp_path / "X.npy", X)
    monkeypatch.setattr(runtime, "RESIDENT", 4 << 20)
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
