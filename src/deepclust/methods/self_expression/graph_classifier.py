"""A classifier taught by a graph: the partition of highest modularity, learnt and corrected by a network."""

from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.special import softmax
from torch import Tensor, nn

from deepclust.graph.partition import partition
from deepclust.methods._deep import DeepClusterer
from deepclust.methods._graph_cuts import neighbour_graph
from deepclust.methods.self_expression._self_expression import (
    default_width,
    edges,
    scaled_alpha,
    self_expression,
    sparse,
    strongest_edges,
    to_unit_covariance,
    union,
)
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.settings import Count, Length, Positive, Share, setting
from deepclust.training.loop import in_chunks, make_optimizer
from deepclust.training.rows import on_device


class GraphClassifier(DeepClusterer):
    """Cross-entropy of an encoder with K outputs, taught the labels of a self-expressive affinity of its code.

    The hybrid's Z-step on the whitened code, once with each sample's strongest edges in the graph as candidates and
    once with those in a graph of the code, gives two affinities; their union is cut into K groups by modularity. A
    sample teaches if it has edges and at least `agreement` of their weight stays in its group. The network starts from
    the pretrained encoder with a new linear layer on the code; images are shown under random affine maps (DECS's),
    other data as they are. `labels_` is the network's argmax on all plain samples: the network overrules the graph
    where a sample looks like another group. `readouts_` has the graph's own labels; `coef_` (K, P) and `intercept_`
    (K,) are the linear layer.

    The method is from no paper: it follows from findings on the hybrid's affinity (`docs/papers/hybrid.md`).
    """

    reads_graph: ClassVar[bool] = True
    default_network: ClassVar[str] = "conv"
    paper: ClassVar[str] = "baseline of our own, after Lee's pseudo-labels 2013"
    not_in_params: ClassVar[tuple[str, ...]] = (*DeepClusterer.not_in_params, "n_neighbors")

    alpha: Positive = setting("weight of the 1-norm of Z, relative to the mean of ||h||^2", default=0.03)
    agreement: Annotated[float, Field(ge=0, le=1)] = setting("share of a teacher's edges inside its group", default=0.9)
    label_smoothing: Share = setting("of the cross-entropy", default=0.1)
    epochs: Length = setting("epochs; there is no other end", default=10)
    batch_size: Count = setting("rows of a batch", default=256)
    learning_rate: Positive = setting("of Adam", default=1e-3)
    n_neighbors: Count = setting("neighbours a sample in a graph that `fit` makes", default=10)

    def _fit(
        self, X: np.ndarray, graph: sp.csr_matrix | None = None, network: Autoencoder | None = None, **_: Any
    ) -> None:
        if graph is None:
            graph = neighbour_graph(X, self.n_neighbors)
        data = self._start(X, network)
        affinity = self._affinity(self._encode(data), graph)
        taught = partition(affinity, self.n_clusters, random_state=self._seed).labels
        inside = (affinity @ np.eye(self.n_clusters)[taught])[np.arange(len(X)), taught]
        degree = np.asarray(affinity.sum(axis=1)).ravel()
        teachers = torch.from_numpy((degree > 0) & (inside >= self.agreement * degree)).to(data.device)

        model = _Classifier(self.network_, self.n_clusters, derive_seed(self._seed, "head")).to(data.device)
        targets = torch.from_numpy(taught).to(data.device)
        augmented = self._augmenter(None)

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            logits = model(augmented(x, generator))
            return {"classification": F.cross_entropy(logits, targets[index], label_smoothing=self.label_smoothing)}

        optimizer = make_optimizer("adam", model, self.learning_rate)
        subset = (teachers if teachers.any() else ~teachers).nonzero().squeeze(1)
        self._learn(model, data, terms, optimizer, subset=subset)
        self.coef_, self.intercept_ = (p.detach().cpu().numpy() for p in (model.head.weight, model.head.bias))
        self.labels_ = in_chunks(model, model, data).argmax(dim=1).cpu().numpy()
        self.embedding_ = self._encode(data).cpu().numpy()
        self.readouts_ = {"graph": taught}

    def _affinity(self, codes: Tensor, graph: sp.csr_matrix) -> sp.csr_matrix:
        """Return the union of the affinities on candidates from the graph and from the codes (N, P)."""
        H = codes.double()
        shift, transform = to_unit_covariance(H, whiten=True)
        H = (H - shift) @ transform
        alpha = scaled_alpha(H, self.alpha)
        found = []
        width = default_width(len(codes))
        for weights in (graph, neighbour_graph(codes.cpu().numpy(), width, device=self.device_)):
            support = torch.from_numpy(strongest_edges(weights, width)).to(codes.device)
            found.append(edges(sparse(self_expression(H, support, alpha).coefficients, support)))
        return union(*found)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        weight, bias = (torch.from_numpy(array).to(self.device_) for array in (self.coef_, self.intercept_))

        def logits(rows: Tensor) -> Tensor:
            return F.linear(self.network_.encode(rows), weight, bias)

        labels: np.ndarray = in_chunks(logits, self.network_, on_device(X, self.device_)).argmax(dim=1).cpu().numpy()
        return labels

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        shares: np.ndarray = softmax(self._exact_codes(X) @ self.coef_.T.astype(np.float64) + self.intercept_, axis=1)
        return shares


class _Classifier(nn.Module):
    """The encoder and a linear layer to K logits, drawn uniformly in +-1/sqrt(P)."""

    def __init__(self, network: Autoencoder, n_clusters: int, seed: int) -> None:
        super().__init__()
        self.encoder = network.encoder
        n_embedding = [layer for layer in network.encoder if isinstance(layer, nn.Linear)][-1].out_features
        self.head = nn.Linear(n_embedding, n_clusters, device="meta").to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        nn.init.uniform_(self.head.weight, -(n_embedding**-0.5), n_embedding**-0.5, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(x))
        return logits
