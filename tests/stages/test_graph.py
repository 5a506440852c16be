"""The graph stage on a machine with a GPU."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from deepclust import layout
from deepclust.files import write_array, write_json, write_sparse
from deepclust.graph.knn import knn_graph
from deepclust.training import runtime

STAGE = Path(__file__).parents[2] / "stages/graph.py"
COMPUTE = {"instructions": "native", "device": "auto", "threads": 1, "precision": "float32"}


def test_the_approximate_search_stays_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses a GPU, as which `auto` may be understood."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtime, "resolve_device", lambda _: torch.device("cuda"))
    asked = []

    def search(X: np.ndarray, n_neighbors: int, **options: Any) -> sp.csr_matrix:
        asked.append((options["exact"], options["device"]))
        return knn_graph(X, n_neighbors)

    main = runpy.run_path(str(STAGE))["main"]
    monkeypatch.setitem(main.__globals__, "knn_graph", search)
    write_array(layout.prepared("points") / "X.npy", np.random.default_rng(0).random((20, 3), np.float32))
    write_sparse(layout.prepared("points") / "edges.npz", sp.csr_matrix((20, 20)))
    for exact in (False, True):
        settings = {"n_neighbors": 3, "bandwidth": "local", "symmetrize": "max", "exact": exact}
        write_json(layout.plan("points", "graph"), {"settings": settings, "compute": COMPUTE})
        main("points")
    assert asked == [(False, None), (True, torch.device("cuda"))]
