"""Surroundings of a fit that trains a network; loaded by name, for such methods alone."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepclust import nets
from deepclust.nets._autoencoder import Autoencoder
from deepclust.runs import read_finished
from deepclust.training.checkpoint import load_tensors
from deepclust.training.runtime import Precision, Runtime, resolve_device


def read_network(folder: Path) -> Autoencoder:
    """Return one seed's network as the pretrain stage wrote it, or raise what ended that seed's pretraining."""
    return nets.rebuild(read_finished(folder), load_tensors(folder / "weights.safetensors")[0])


def surroundings(
    threads: int, precision: Precision, checkpoints: Path | None, progress: bool
) -> AbstractContextManager[Any]:
    """Return a context with these threads, this precision and these checkpoints."""
    return Runtime(threads, precision, checkpoints, progress).open()


def n_seeds_in_parallel(X: np.ndarray, device: str, n_seeds: int) -> int:
    """Return how many seeds train at once: one on a CPU; on a GPU all seeds for which X (N, D) fits into memory.

    One training leaves most of a GPU idle. A training counts as four times its data in float32.
    """
    found = resolve_device(device)
    if found.type != "cuda":
        return 1
    torch.linalg.inv(torch.eye(2, device=found))  # loads the solvers before threads do so side by side
    free, _ = torch.cuda.mem_get_info(found)
    return max(1, min(n_seeds, free // (16 * max(1, X.size))))
