"""A data set that is a graph alone, through the stages: methods that cut graphs run, the others say why they do not."""

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from deepclust import datasets, layout
from deepclust.files import read_array, read_json, read_sparse, write_json, write_text
from deepclust.reporting import aggregate

STAGES = Path(__file__).parents[2] / "stages"
COMPUTE = {"instructions": "native", "device": "cpu", "threads": 1, "precision": "float32"}
CELLS = {"kmeans": "", "ae_kmeans": "mlp", "sc_ncut": "", "graph_modularity": "", "hybrid": "mlp"}
MODULE = '''
"""Two groups of ten nodes."""

import numpy as np
import scipy.sparse as sp

from deepclust.datasets._base import DatasetSpec


def _read():
    W = np.kron(np.eye(2), 1 - np.eye(10))
    W[0, 10] = W[10, 0] = 1
    return sp.csr_matrix(W), np.repeat([7, 3], 10)


SPEC = DatasetSpec(n_clusters=2, image_shape=None, source="a test", files=(), read=_read)
'''


def stage(name: str, *words: str) -> None:
    runpy.run_path(str(STAGES / f"{name}.py"))["main"](*words)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stages up to `graph` have run on a data set of its own module."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "modules/nodes.py", MODULE)
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "modules")])
    settings = {"n_neighbors": 10, "bandwidth": "local", "symmetrize": "max", "exact": True}
    write_json(layout.plan("nodes", "prepare"), {})
    write_json(layout.plan("nodes", "graph"), {"settings": settings, "compute": COMPUTE})
    stage("prepare", "nodes")
    stage("graph", "nodes")
    yield tmp_path
    sys.modules.pop("deepclust.datasets.nodes", None)


def test_the_graph_is_the_published_one_and_there_are_no_features(prepared: Path) -> None:
    X, meta = read_array(layout.prepared("nodes") / "X.npy"), read_json(layout.prepared("nodes") / "meta.json")
    assert (X.shape, meta["n"], meta["d"], meta["k"]) == ((20, 0), 20, 0, 2)
    W = read_sparse(layout.graph("nodes") / "weights.npz")
    expected = np.kron(np.eye(2), 1 - np.eye(10))
    expected[0, 10] = expected[10, 0] = 1
    assert np.array_equal(W.toarray(), expected)
    assert read_json(layout.graph("nodes") / "meta.json")["n_edges"] == 91
    assert isinstance(read_sparse(layout.graph("nodes") / "laplacian.npz"), sp.csr_matrix)


def test_methods_that_cut_graphs_run_and_the_others_are_skipped_with_the_reason(prepared: Path) -> None:
    common: dict[str, Any] = {"dataset": "nodes", "seeds": [0, 1], "compute": COMPUTE, "settings": {}}
    write_json(layout.plan("nodes", "pretrain", "mlp"), common | {"network": "mlp", "uses": "mlp"})
    write_json(layout.plan("nodes", "evaluate"), {})
    stage("pretrain", "nodes", "mlp")
    for cell, network in CELLS.items():
        reads = {"graph": cell in ("sc_ncut", "graph_modularity", "hybrid"), "network": network}
        write_json(layout.plan("nodes", "cluster", cell), common | {"cell": cell, "method": cell, **reads})
        stage("cluster", "nodes", cell)
        stage("evaluate", "nodes", cell)
    summary = aggregate.summarise(aggregate.read_results(layout.REPORTS, ["nodes"], list(CELLS)))
    status = {cell: (found["status"].iloc[0], found["reason"].iloc[0]) for cell, found in summary.groupby("cell")}
    assert status["sc_ncut"] == status["graph_modularity"] == ("ok", "")
    assert status["kmeans"][0] == status["ae_kmeans"][0] == status["hybrid"][0] == "skipped"
    assert "KMeans reads samples, got 0 feature(s)" in status["kmeans"][1]
    assert status["ae_kmeans"][1] == "pretraining: a network reads samples, and this data set is a graph alone"
    means = summary[summary["cell"] == "graph_modularity"].set_index("metric")["mean"]
    assert means["acc"] == 1
    assert means[["silhouette", "davies_bouldin"]].isna().all()
    assert means["modularity"] == pytest.approx(1 - 1 / 91 - 0.5)
