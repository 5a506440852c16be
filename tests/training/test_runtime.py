"""The surroundings of a training: restored afterwards, whatever happened inside."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.cluster import KMeans  # noqa: F401 (its thread pools are among those watched)
from threadpoolctl import threadpool_info

from deepclust.errors import UserError
from deepclust.training.runtime import Runtime, current, progress, resolve_device, widest


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
    X, W = (torch.rand(256, 256, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
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


@pytest.mark.parametrize(
    ("device", "devices", "message"),
    [
        ("cuda", 0, "device is cuda, but torch sees no CUDA device; use auto or cpu"),
        ("cuda:1", 0, "device is cuda:1, but torch sees no CUDA device"),
        ("cuda:2", 2, r"device is cuda:2, but N of cuda:N must be in \[0, 1\]: torch sees 2 devices"),
        ("mps", 2, "device is mps, but torch sees no such device; use auto or cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    device: str, devices: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        resolve_device(device)


def test_devices_may_be_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [str(resolve_device(name)) for name in ("cuda", "cuda:1", "mps")] == ["cuda", "cuda:1", "mps"]
    assert [widest(torch.device(name)) for name in ("cpu", "cuda", "mps")] == [torch.float64] * 2 + [torch.float32]
