"""A data set in memory (`Dataset`), and its declaration by a module (`DatasetSpec`).

A data set is samples, from which the pipeline makes a graph, or a graph alone: nodes and edges that others made of
samples which they did not publish.
"""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from deepclust.datasets._sources import PublishedFile
from deepclust.errors import UserError
from deepclust.graph.adjacency import edge_weights
from deepclust.mapped import chunks


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples or a graph, labels if there are any, and their source; validated on construction.

    Attributes
    ----------
    name : str, of the characters a-z, 0-9 and _
    X : array of shape (N, D), float32 or float16, in [0, 1], C-contiguous; perhaps mapped from a file
        With a graph D is 0: N nodes without features.
    y : array of shape (N,), int64, every value of 0..K-1 occurring, or None for unlabelled data
    n_clusters : int, K, in [1, N]
    image_shape : (channels, height, width) with product D, or None where samples are no images
        A row of X is such an image in C order, upright.
    source : str, where the data was published
    samples : the names of the N samples, such as an image's file, or empty where they have none
    ignored : files that lay among the samples and were not read
    graph : symmetric edge weights > 0 as csr_matrix of shape (N, N), float64, or None where there are samples
    columns : the names of the D features, or empty where they have none
    bounds : the smallest and the largest values before X was scaled by them, each a number for all features or (D,) of
        them, or None where X was not scaled
    """

    name: str
    X: np.ndarray
    y: np.ndarray | None
    n_clusters: int
    image_shape: tuple[int, int, int] | None
    source: str
    samples: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    graph: sp.csr_matrix | None = None
    columns: tuple[str, ...] = ()
    bounds: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise UserError(f"data set {self.name!r}: {fault}")

    def _fault(self) -> str | None:
        X, y, K = self.X, self.y, self.n_clusters
        if not re.fullmatch(r"[a-z0-9_]+", self.name):
            return "name must match [a-z0-9_]+, as pipeline stages are named after it; rename its module"
        if X.dtype not in (np.float32, np.float16) or X.ndim != 2 or not len(X) or not X.flags.c_contiguous:
            return (
                f"X must be a C-contiguous float32 or float16 array of shape (N, D), got {X.dtype} of shape {X.shape}"
            )
        if (X.shape[1] == 0) == (self.graph is None):
            return f"X must have features, or none where there is a graph, got shape {X.shape}"
        if self.graph is None:
            extremes = np.array([(rows.min(), rows.max()) for rows in chunks(X)])
            low, high = extremes[:, 0].min(), extremes[:, 1].max()
            if not (low >= 0 and high <= 1):  # False for NaN, too
                return f"X must be finite and in [0, 1], got [{low}, {high}]; scale it in the data set's reader"
        else:
            try:
                if not edge_weights(self.graph, len(X)).nnz:
                    return "graph must have an edge, got none"
            except UserError as error:
                return str(error)
        if not 1 <= K <= len(X):
            return f"n_clusters must be in [1, N={len(X)}], got {K}"
        if y is not None and (y.dtype != np.int64 or y.shape != (len(X),)):
            return f"y must be an int64 array of shape ({len(X)},), got {y.dtype} of shape {y.shape}"
        if y is not None and not np.array_equal(found := np.unique(y), np.arange(K)):
            got = f"{len(found)} values from {found[0]} to {found[-1]}"
            return f"y must hold every label 0..{K - 1} and no other, got {got}; correct n_clusters or the labels"
        shape = self.image_shape
        if shape is not None and (len(shape) != 3 or math.prod(shape) != X.shape[1]):
            return f"image_shape must be (channels, height, width) of product D={X.shape[1]}, got {shape}"
        if self.samples and len(self.samples) != len(X):
            return f"samples must name all N={len(X)} or none, got {len(self.samples)}"
        return None

    @property
    def digest(self) -> str:
        """Return the hex SHA-256 over dtype, shape and bytes of X, y and a graph; equal exactly when these are."""
        sha = hashlib.sha256()
        edges = () if self.graph is None else (self.graph.indptr, self.graph.indices, self.graph.data)
        for array in (self.X, self.y, *edges):
            if array is None:
                sha.update(b"absent\n")
            else:
                sha.update(f"{array.dtype.str} {array.shape}\n".encode())
                for rows in chunks(np.ascontiguousarray(array)):
                    sha.update(rows.data)
        return sha.hexdigest()


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """The declaration of a published data set.

    Attributes
    ----------
    n_clusters : int
        K, the number of classes.
    image_shape : (channels, height, width), or None where samples are no images
    source : str
        Where the data was published, for people.
    files : tuple of PublishedFile
    read : function of the paths of `files`, in their order, returning X (N, D) in [0, 1] and the published labels (N,)
        or None. The function sees verified files only, and need not check them. For a graph without samples the
        function returns the edge weights (N, N) as csr_matrix in place of X.
    mirror_folder : str, optional
        The folder of a mirror that holds the files; the data set's own name where left out.
    """

    n_clusters: int
    image_shape: tuple[int, int, int] | None
    source: str
    files: tuple[PublishedFile, ...]
    read: Callable[..., tuple[np.ndarray | sp.csr_matrix, np.ndarray | None]]
    mirror_folder: str | None = None
