"""The self-expressive network (SENet; Zhang, You, Vidal and Li, CVPR 2021)."""

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import Field
from sklearn.preprocessing import normalize
from torch import Tensor, nn

from deepclust.errors import UserError
from deepclust.graph.knn import knn_graph
from deepclust.graph.spectral import smallest_eigenvectors
from deepclust.methods._deep import DeepClusterer
from deepclust.methods._flat_clustering import k_means
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.settings import Count, Length, Positive, Weight, setting
from deepclust.training.loop import EpochSteps, batches_of, in_chunks, iterations_of, make_optimizer

_SMALLEST = 1e-6  # added to a sample's length
_ENTRIES = 2**24  # of the rows of C that are held at a time


class SENet(DeepClusterer):
    """Two networks whose products are self-expressive coefficients; then spectral clustering of these.

        mean_j [ (`gamma` / 2) ||x_j - sum_(i != j) c_ij x_i||^2 + sum_(i != j) r(c_ij) ]
        c_ij = s_b(q(x_j)' k(x_i)) / P,    s_b(t) = sign(t) max(|t| - b, 0)
        r(c) = `sparsity` |c| + ((1 - `sparsity`) / 2) c^2

    is minimised by the networks q and k and the threshold b, 0 at first. The mean is over a batch, the sums are
    over the samples that train: a random `n_train` of all. x are the samples' codes at length 1, and P = `width` is the
    size of q and k, whose outputs are tanh units. The rate falls along a half cosine to 0 over the epochs, and the
    gradient's norm is held to `clip`.

    All samples then have their coefficients on all others, of which the `n_nonzero` largest by modulus stay. The
    vectors of coefficients at length 1 have a graph of `n_neighbors` nearest neighbours, (A + A') / 2 with A of 0 and
    1. `labels_` come from k-means on the rows, at length 1, of `n_vectors` eigenvectors of its normalised Laplacian.

    Reduced, paper and released code say / we do / because:

    1. Features are scattering transforms of the images, 500 principal components of them (features of another trained
       network for CIFAR-10). Ours are the code of a network that is left as it is: any under `networks`, among them
       `pca`. The released code holds no program without such features, and its authors say that results fall there.
    2. The released code takes 15 eigenvectors for 10 clusters on MNIST and Fashion, by hand. Ours are K by default.
    3. 100,000 batches of 100 samples, three hidden layers of 1024 and up to 20,000 training samples stay the defaults.
       These lengths and sizes are for a GPU; the grids name their own.

    The cost of a batch is that of k on all training samples. `docs/papers/baselines.md` has more.
    """

    paper: ClassVar[str] = "Zhang, You, Vidal and Li 2021"
    why_no_predict: ClassVar[str] = "the spectral clustering is one of the samples of the fit"

    gamma: Weight = setting("of the squared error against the coefficients' norms", default=200.0)
    sparsity: Annotated[float, Field(ge=0, le=1)] = setting("share of the 1-norm, against half the square", default=0.9)
    depth: Count = setting("hidden layers of q and of k", default=3)
    width: Count = setting("units of each layer, the outputs too", default=1024)
    n_train: Count = setting("samples that train, drawn from all; all if there are fewer", default=20_000)
    epochs: Length = setting("of the networks; there is no other end", default="100000 iterations")
    batch_size: Count = setting("rows of a batch", default=100)
    learning_rate: Positive = setting("of Adam, at first", default=1e-3)
    clip: Positive = setting("largest norm of the gradient", default=1e-3)
    n_nonzero: Count = setting("largest coefficients of a sample that are kept", default=1000)
    n_neighbors: Count = setting("nearest neighbours among the coefficients", default=3)
    n_vectors: Count | None = setting("eigenvectors; None: as many as clusters", default=None)
    n_init: Count = setting("starts of k-means on the eigenvectors", default=20)

    def _memory(self, n_samples: int, n_features: int) -> int:
        return n_samples * (4 * self.width + 24 * min(self.n_nonzero, n_samples))  # keys; C, a copy, its transpose

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        if len(X) < 2:
            raise UserError("self-expression needs at least 2 samples, got 1 sample; give more")
        data = self._start(X, network)
        codes = self._encode(data)
        x = codes / (codes.norm(dim=1, keepdim=True) + _SMALLEST)
        drawn = torch.randperm(len(x), generator=torch.Generator().manual_seed(derive_seed(self._seed, "subset")))
        taught = x[drawn[: self.n_train].sort().values.to(x.device)]
        state = SENetState(x.shape[1], self.depth, self.width, derive_seed(self._seed, "weights")).to(x.device)

        def terms(rows: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            c = state.coefficients(state.query(rows), state.key(taught)).float()
            c = c.scatter(1, index.unsqueeze(1), 0.0)  # no sample expresses itself
            error, norms = objective(c, rows, taught, self.sparsity)
            return {"expression": self.gamma / 2 * error, "norms": norms}

        optimizer = make_optimizer("adam", state, self.learning_rate)

        def clip(*_: Any) -> None:
            nn.utils.clip_grad_norm_(state.parameters(), self.clip)

        optimizer.register_step_pre_hook(clip)
        n_batches = batches_of(len(taught), self.batch_size)
        n_epochs = -(-iterations_of(self.epochs, n_batches) // n_batches)

        def before() -> None:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * (1 + math.cos(math.pi * int(state.epoch) / n_epochs)) / 2

        self._learn(state, taught, terms, optimizer, steps=EpochSteps(before, state.columns))
        C = self._coefficients(state, x)
        vectors = self._vectors(C)
        self.labels_ = k_means(vectors, self.n_clusters, n_init=self.n_init, random_state=self._seed).labels_
        self.embedding_ = codes.cpu().numpy()
        self.extras_ = {"coefficients": C}

    @torch.no_grad()
    def _coefficients(self, state: "SENetState", x: Tensor) -> sp.csr_matrix:
        """Return C (N, N), row j the coefficients of sample j: the largest of each row, the others 0."""
        n_samples = len(x)
        keys, kept = in_chunks(state.key, state, x), min(self.n_nonzero, n_samples - 1)
        values, columns = np.empty((n_samples, kept), np.float32), np.empty((n_samples, kept), np.int32)
        size = max(1, _ENTRIES // n_samples)
        for start in range(0, n_samples, size):
            rows = slice(start, start + size)
            c = state.coefficients(state.query(x[rows]), keys)
            c.diagonal(start).zero_()
            places = c.abs().topk(kept, dim=1).indices.sort(dim=1).values
            values[rows], columns[rows] = c.gather(1, places).cpu().numpy(), places.cpu().numpy()
        ends = np.arange(0, n_samples * kept + 1, kept)
        C = sp.csr_matrix((values.ravel(), columns.ravel(), ends), shape=(n_samples, n_samples))
        C.eliminate_zeros()
        return C

    def _vectors(self, C: sp.csr_matrix) -> np.ndarray:
        """Return the eigenvectors (N, m) of the graph of the rows of C (N, N), their rows at length 1."""
        n_samples = C.shape[0]
        A = knn_graph(sp.csr_matrix(normalize(C)), min(self.n_neighbors, n_samples - 1)).astype(np.float64)
        A.data[:] = 1
        count = min(self.n_vectors or self.n_clusters, n_samples)
        found: np.ndarray = normalize(
            smallest_eigenvectors(sp.csr_matrix((A + A.T) / 2), count, random_state=self._seed).vectors
        )
        return found


class SENetState(nn.Module):
    """The whole state of a checkpoint: the networks q and k, the threshold, and how many epochs there were.

    Hidden weights are He's, the last layer's Glorot's, the threshold 0 at first, as in the released code.
    """

    def __init__(self, n_features: int, depth: int, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.query, self.key = (_layers([n_features, *[width] * (depth + 1)], generator) for _ in range(2))
        self.threshold = nn.Parameter(torch.zeros(()))
        self._width = width
        self.epoch: Tensor
        self.register_buffer("epoch", torch.tensor(0))

    def coefficients(self, q: Tensor, k: Tensor) -> Tensor:
        """Return s_b(q k') / P (B, M) of queries (B, P) and keys (M, P)."""
        return soft_threshold(q @ k.T, self.threshold) / self._width

    def columns(self) -> dict[str, float]:
        """Return the trace's column: the threshold."""
        self.epoch += 1
        return {"threshold": self.threshold.item()}


def soft_threshold(t: Tensor, b: Tensor) -> Tensor:
    """Return sign(t) max(|t| - b, 0), of t's shape; b is a number, its gradient that of the sum over what is left."""
    return t.sign() * (t.abs() - b).relu()


def objective(c: Tensor, x: Tensor, atoms: Tensor, sparsity: float) -> tuple[Tensor, Tensor]:
    """Return the mean over rows of ||x_j - sum_i c_ji a_i||^2, and that of the elastic net of the coefficients.

    c (B, M), whose entry of a sample on itself is 0; x (B, P); atoms (M, P).
    """
    error = (x - c @ atoms).square().sum(dim=1).mean()
    return error, (sparsity * c.abs() + (1 - sparsity) / 2 * c.square()).sum(dim=1).mean()


def _layers(sizes: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Return linear layers of these sizes with ReLU between them and tanh at the end."""
    modules: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layer = nn.Linear(n_in, n_out, device="meta").to_empty(device="cpu")
        bound = (6 / n_in) ** 0.5 if len(modules) < 2 * len(sizes) - 4 else (6 / (n_in + n_out)) ** 0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.zeros_(layer.bias)
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1], nn.Tanh())
