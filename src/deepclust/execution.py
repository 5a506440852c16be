"""The work of the pipeline around a fit: inputs read, seeds side by side, threads and precision held.

A method declares what it needs (`reads_graph`, `default_network`, `libraries`); the estimator itself only fits. The
surroundings of trainings are in a module of their own, which is loaded by name, so that a method without a network
neither loads torch nor is run again when the code of trainings changes.
"""

import contextlib
import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from deepclust.files import read_sparse

FOR_TRAININGS = "deepclust.training.execution"


def trains(cls: Any) -> bool:
    """Return whether a method trains a network, in torch."""
    return "torch" in cls.libraries


def inputs(graph: Path | None, network: Path | None) -> dict[str, Any]:
    """Return what `fit` is handed beside X: edge weights from the graph's folder, a network from its seed's folder.

    Raises what ended that seed's pretraining, so that a fit built on it ends the same way.
    """
    given: dict[str, Any] = {}
    if graph is not None:
        given["graph"] = read_sparse(graph / "weights.npz")
    if network is not None:
        given["network"] = _for_trainings().read_network(network)
    return given


def surroundings(
    cls: Any, threads: int, precision: str, checkpoints: Path | None = None, progress: bool = False
) -> AbstractContextManager[Any]:
    """Return a context that fixes what results depend on beside the settings, while a stage fits this method.

    BLAS keeps `threads`. OpenMP's loops get one, since scikit-learn adds its threads' sums in order of arrival.
    """
    if not trains(cls):
        return _threads(threads)
    found: AbstractContextManager[Any] = _for_trainings().surroundings(threads, precision, checkpoints, progress)
    return found


def n_seeds_in_parallel(cls: Any, X: np.ndarray, device: str, n_seeds: int) -> int:
    """Return how many seeds a stage fits side by side, each in a thread: one, but for trainings on a GPU."""
    return int(_for_trainings().n_seeds_in_parallel(X, device, n_seeds)) if trains(cls) else 1


def _for_trainings() -> Any:
    return importlib.import_module(FOR_TRAININGS)


@contextlib.contextmanager
def _threads(threads: int) -> Iterator[None]:
    with threadpool_limits({"openmp": 1, "blas": threads}):
        yield
