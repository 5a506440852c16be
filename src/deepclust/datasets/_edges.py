"""Graphs without samples, in the format of SDCN's authors: a list of neighbours and a list of labels."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from deepclust.datasets._sources import PublishedFile, Source

SOURCE = "https://github.com/bdy9527/SDCN"  # Apache-2.0
_BASE = "https://raw.githubusercontent.com/bdy9527/SDCN/da6bb007b7d07362ac04db3e146b4944e2acb883/"


def edge_files(name: str, *, edges: str, labels: str) -> tuple[PublishedFile, PublishedFile]:
    """Return the files of the 10 nearest neighbours and of the labels of SDCN's data set `name`, by their SHA-256s."""
    return (
        PublishedFile(f"{name}10_graph.txt", edges, (Source(f"{_BASE}graph/{name}10_graph.txt"),)),
        PublishedFile(f"{name}_label.txt", labels, (Source(f"{_BASE}data/{name}_label.txt"),)),
    )


def read_edges(edges: Path, labels: Path) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return symmetric edge weights (N, N) and labels (N,): weight 1 if either node is a neighbour of the other.

    A line of `edges` names a node and one of its neighbours, from 0; a line of `labels` is a node's label. The files
    say nothing of distances.
    """
    pairs, y = np.loadtxt(edges, dtype=np.int64), np.loadtxt(labels, dtype=np.int64)
    directed = sp.csr_matrix((np.ones(len(pairs)), pairs.T), shape=(len(y), len(y)))
    return sp.csr_matrix(directed.maximum(directed.T)), y
