"""What the pipeline does around a fit: inputs read, seeds side by side, threads and precision held.

A method declares what it needs (`reads_graph`, `default_network`, `libraries`); the estimator itself only fits.
"""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from deepclust.files import read_sparse
from deepclust.runs import read_finished


def trains(cls: Any) -> bool:
    """Return whether a method trains a network, in torch."""
    return "torch" in cls.libraries


def inputs(cls: Any, graph: Path | None, network: Path | None) -> dict[str, Any]:
    """Return what `fit` is handed beside X: edge weights from the graph's folder, a network from its seed's folder.

    Raises what ended that seed's pretraining, so that a fit built on it ends the same way.
    """
    given: dict[str, Any] = {}
    if graph is not None:
        given["graph"] = read_sparse(graph / "weights.npz")
    if network is not None:
        from deepclust import nets
        from deepclust.training.checkpoint import load_tensors

        facts = read_finished(network)
        given["network"] = nets.rebuild(
            facts | {"network": facts["uses"]}, load_tensors(network / "weights.safetensors")[0]
        )
    return given


def surroundings(
    cls: Any, threads: int, precision: str, checkpoints: Path | None = None, progress: bool = False
) -> AbstractContextManager[Any]:
    """Fix what results depend on beside the settings, while a stage fits this method.

    BLAS keeps `threads`. OpenMP's loops get one, since scikit-learn adds its threads' sums in order of arrival.
    """
    if not trains(cls):
        return _threads(threads)
    from deepclust.training.runtime import Runtime

    return Runtime(threads, precision, checkpoints, progress).open()  # type: ignore[arg-type]


def n_seeds_in_parallel(cls: Any, X: np.ndarray, device: str, n_seeds: int) -> int:
    """Return how many seeds a stage fits side by side, each in a thread: one, but for trainings on a GPU.

    One training leaves most of a GPU idle: all train at once, or as many as it can hold X (N, D) for. Each is counted
    with four times its data in float32.
    """
    if not trains(cls):
        return 1
    import torch

    from deepclust.training.runtime import resolve_device

    if resolve_device(device).type == "cpu":
        return 1
    torch.linalg.inv(torch.eye(2, device="cuda"))  # loads the solvers, which threads side by side must not do first
    free, _ = torch.cuda.mem_get_info()
    return max(1, min(n_seeds, free // (16 * X.size)))


@contextlib.contextmanager
def _threads(threads: int) -> Iterator[None]:
    with threadpool_limits({"openmp": 1, "blas": threads}):
        yield
