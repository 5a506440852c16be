"""What surrounds a training: restored afterwards, whatever happened inside."""

from dataclasses import replace

import pytest
import torch
from sklearn.cluster import KMeans  # noqa: F401 (its thread pools are among those watched)
from threadpoolctl import threadpool_info

from deepclust.errors import UserError
from deepclust.training.runtime import Runtime, current, progress, resolve_device


def surroundings() -> tuple[object, ...]:
    pools = sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info())
    return torch.__config__.parallel_info(), torch.are_deterministic_algorithms_enabled(), pools, current()


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_everything_is_restored(threads: int | None) -> None:
    before = surroundings()
    with Runtime(threads=threads).open():
        pass
    assert surroundings() == before
    with pytest.raises(KeyError), Runtime(threads=threads).open():
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
