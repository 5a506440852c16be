"""Convex self-expression and graph regularisation on an autoencoder's code (Jahanian et al., the hybrid)."""

import copy
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepclust.errors import SeedFailed
from deepclust.graph.laplacian import laplacian
from deepclust.graph.partition import partition
from deepclust.methods._deep import DeepClusterer
from deepclust.methods._flat_clustering import k_means
from deepclust.methods._graph_cuts import candidate_extras, ncut_vectors, neighbour_graph
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
from deepclust.settings import Count, LengthOrZero, Positive, Weight, setting
from deepclust.solvers.self_expression import SelfExpression
from deepclust.training.loop import EpochSteps, in_chunks, make_optimizer

_ROUNDING = 1e-9  # share by which two evaluations of one value of F may differ


class Hybrid(DeepClusterer):
    """Alternating minimisation of one objective over a sparse affinity Z and an autoencoder (Eq. (4)).

        F = (1/N) [ ||H - Z H||_F^2 + a ||Z||_1 + beta Tr(H' L H) ] + gamma (1/N) sum_i ||x_i - g(f(x_i))||^2

    with H (N, P) the code, a = `alpha` times the mean of ||h_i||^2 at the start, L the normalised Laplacian of the
    graph; squared norms, sums over features. An epoch is a Z-step, which is convex and solved row by row to a duality
    gap, then a theta-step, one pass of Adam. Labels are a partition of the affinity |Z| + |Z'| of highest modularity;
    `readouts_` holds spectral clustering of the same affinity, k-means on H, and the partition of the union of this
    affinity and the one on the other set of candidates, each scaled to sum 1.

    Eq. (4) as printed has no useful minimiser. By default four constraints are therefore added, each with a setting
    that takes it away (`docs/papers/hybrid.md` has the reasons and the experiments):

    1. diag(Z) = 0 (always), and Z >= 0 (`nonnegative`) on the `n_candidates` strongest edges of each sample in a graph
       of the pretrained code, or in the input graph (`candidates`). None stands for the integer nearest to ln N, at
       which random neighbourhood graphs become connected.
    2. `code: whitened`: H is the code affinely mapped to mean 0 and H'H / N = I over all data. `standardized` maps each
       feature by itself, `unit` divides by each row's norm, `plain` leaves the code as it is. The map of the first two
       is made anew after each theta-step.
    3. `edges: bank`: the theta-step's gradient of both global terms uses the codes of all samples as last seen, not
       only the few edges inside a batch, and goes through the map to H. `batch` takes this map as a constant.
    4. `safeguard`: BatchNorm statistics are frozen, and a theta-step that does not lower F is undone and the learning
       rate halved, so that F never rises.

    `solver` is `admm`, `fista` (the paper's, with restart) or `subgradient` (no convex relaxation, with the same step
    1/L and budget of `solver_iterations`); `lambda2` adds Eq. (2)'s ||L Z||_F^2, which Eq. (4) drops. The rows of Z
    then depend on each other, and the Z-step is FISTA on the CPU, whatever `solver` says. `bandwidth: median` replaces
    the graph handed in by the paper's: `n_neighbors` neighbours and one global scale. Without a graph, `fit` makes one
    of `n_neighbors` with local scaling.
    """

    reads_graph: ClassVar[bool] = True
    default_network: ClassVar[str] = "mlpbn"
    paper: ClassVar[str] = "Jahanian, Asayesh, Yarahmadi, Charkhestani and Chegeni 2025"
    not_in_params: ClassVar[tuple[str, ...]] = (*DeepClusterer.not_in_params, "n_neighbors")
    why_no_predict: ClassVar[str] = "the affinity Z is defined between the samples of the fit"

    alpha: Positive = setting("weight of the 1-norm of Z, relative to the mean of ||h||^2", default=0.03)
    beta: Weight = setting("weight of the graph regularisation Tr(H' L H)", default=1.0)
    gamma: Weight = setting("weight of the reconstruction error", default=1.0)
    lambda2: Weight = setting("weight of ||L Z||^2 (Eq. (2))", default=0.0)
    candidates: Literal["code", "graph"] = setting("graph whose edges Z may have", default="code")
    n_candidates: Count | None = setting("edges a sample; None: the integer nearest to ln N", default=None)
    bandwidth: Literal["median"] | None = setting("median: one scale for the weights of all edges", default=None)
    nonnegative: bool = setting("whether Z >= 0", default=True)
    code: Literal["whitened", "standardized", "unit", "plain"] = setting("constraint on the code H", default="whitened")
    edges: Literal["bank", "batch"] = setting("codes that a batch's gradient sees: all, or its own", default="bank")
    safeguard: bool = setting("undo a theta-step that does not lower F", default=True)
    solver: Literal["admm", "fista", "subgradient"] = setting("of the Z-step", default="admm")
    solver_iterations: Count = setting("of the Z-step, at most", default=300)
    epochs: LengthOrZero = setting("pairs of a Z-step and a theta-step", default=20)
    batch_size: Count = setting("rows of a batch", default=256)
    learning_rate: Positive = setting("of Adam", default=1e-3)
    n_neighbors: Count = setting("neighbours a sample in a graph that `fit` makes", default=10)

    def _fit(
        self, X: np.ndarray, graph: sp.csr_matrix | None = None, network: Autoencoder | None = None, **_: Any
    ) -> None:
        if graph is None or self.bandwidth is not None:
            graph = neighbour_graph(X, self.n_neighbors, self.bandwidth or "local")
        data = self._start(X, network)
        width = self.n_candidates or default_width(len(X))
        from_code = neighbour_graph(self._codes(X), width, device=self.device_)
        weights, others = (graph, from_code) if self.candidates == "graph" else (from_code, graph)
        support, other = (torch.from_numpy(strongest_edges(W, width)).to(data.device) for W in (weights, others))
        problem = _Problem(self, data, graph, HybridState(self.network_, data, support, self.safeguard))
        steps = EpochSteps(problem.z_step, problem.after_theta_step)
        self._learn(problem.state, data, problem.terms, problem.optimizer, steps=steps)
        last = problem.update_z()
        self.trace_ = [*self.trace_, {"phase": "cluster", "epoch": len(self.trace_), "loss": None, **last}]
        self.converged_ = bool(last["z_converged"])
        Z = problem.state.affinity()
        self._read_out(edges(Z), problem.state.bank.cpu().numpy())
        both = union(edges(Z), edges(sparse(problem.solve(other).coefficients, other)))
        self.readouts_["union"] = partition(both, self.n_clusters, random_state=self._seed).labels
        self.extras_ |= {"affinity": Z, "candidate_weights": _restricted(weights, support)}
        self.map_ = {name: getattr(problem.state, name).cpu().numpy() for name in ("shift", "transform")}

    def _transform(self, X: np.ndarray) -> np.ndarray:
        """Return rows of H: the network's code under the constraint `code`, by the map of the fit's samples."""
        parts = self._exact_codes(X), self.map_["shift"], self.map_["transform"]
        codes, shift, transform = (torch.from_numpy(part).double() for part in parts)
        return _constrained(codes, self.code, shift, transform).numpy()

    def _read_out(self, affinity: sp.csr_matrix, H: np.ndarray) -> None:
        """Set every label, from the affinity and from H, and the candidate partitions."""
        found = partition(affinity, self.n_clusters, random_state=self._seed)
        vectors = ncut_vectors(affinity, self.n_clusters, random_state=self._seed)
        self.embedding_ = H
        self.labels_ = found.labels
        self.readouts_ = {
            name: k_means(features, self.n_clusters, n_init=20, random_state=self._seed).labels_
            for name, features in (("spectral", vectors), ("kmeans", H))
        }
        self.extras_ = candidate_extras(found)


class HybridState(nn.Module):
    """The whole state of a checkpoint: the network, the map to H, the codes H last seen and Z on its support."""

    def __init__(self, network: Autoencoder, data: Tensor, support: Tensor, frozen: bool) -> None:
        super().__init__()
        n_samples, n_embedding = len(data), in_chunks(network.encode, network, data[:1]).shape[1]
        self.network = network
        self.frozen = frozen
        self.support: Tensor
        self.bank: Tensor
        self.coefficients: Tensor
        self.shift: Tensor
        self.transform: Tensor
        self.reconstruction: Tensor
        self.register_buffer("support", support, persistent=False)
        self.register_buffer("bank", torch.zeros(n_samples, n_embedding, device=data.device))
        self.register_buffer("coefficients", data.new_zeros(support.shape, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(n_embedding, device=data.device))
        self.register_buffer("transform", torch.eye(n_embedding, device=data.device))
        self.register_buffer("reconstruction", data.new_zeros((), dtype=torch.float64))

    def affinity(self) -> sp.csr_matrix:
        """Return Z (N, N), zeros dropped."""
        return sparse(self.coefficients, self.support)

    def train(self, mode: bool = True) -> "HybridState":
        """Keep BatchNorm's statistics of the pretraining while `frozen`, so that H is a function of the weights."""
        return super().train(mode and not self.frozen)


class _Problem:
    """The objective of one fit, its value, and the two half-steps that lower it."""

    def __init__(self, settings: Hybrid, data: Tensor, graph: sp.csr_matrix, state: HybridState) -> None:
        self.settings = settings
        self.data = data
        self.laplacian = laplacian(graph)
        self.state = state
        self.optimizer = make_optimizer("adam", state.network, settings.learning_rate)
        self._encode_all()
        self.reached = np.inf  # F after the last accepted half-step
        self.alpha = scaled_alpha(state.bank, settings.alpha)

    def update_z(self) -> dict[str, Any]:
        """Minimise F over Z with the codes of the bank, and return the trace's columns of this half-step."""
        state = self.state
        found = self.solve(state.support, state.coefficients)
        state.coefficients.copy_(found.coefficients)
        return {
            **{f"z_{name}": value for name, value in self.value().items()},
            "z_gap": float(found.gap.max()),
            "z_iterations": found.n_iter,
            "z_converged": found.converged,
            "nonzeros": float((state.coefficients != 0).sum(dim=1).double().mean()),
            **_diagnostics(state.bank),
        }

    def solve(self, support: Tensor, start: Tensor | None = None) -> SelfExpression:
        """Return the minimiser over Z on these candidates, at the codes of the bank."""
        settings = self.settings
        return self_expression(
            self.state.bank,
            support,
            self.alpha,
            laplacian=self.laplacian,
            lambda2=settings.lambda2,
            solver=settings.solver,
            nonnegative=settings.nonnegative,
            max_iter=settings.solver_iterations,
            start=start,
        )

    def value(self) -> dict[str, float]:
        """Return F and its weighted terms, in float64, at the bank's codes and the current Z."""
        H = self.state.bank.double().cpu().numpy()
        Z = self.state.affinity()
        parts = {
            "self_expression": float(np.square(H - Z @ H).sum(axis=1).mean()),
            "sparsity": self.alpha * float(abs(Z).sum()) / len(H),
            "smoothness": self.settings.beta * float((H * (self.laplacian @ H)).sum()) / len(H),
            "reconstruction": self.settings.gamma * float(self.state.reconstruction),
        }
        if self.settings.lambda2:
            LZ = self.laplacian @ Z
            parts["smoothness_of_z"] = self.settings.lambda2 * float(LZ.multiply(LZ).sum()) / len(H)
        return {"objective": sum(parts.values())} | parts

    def z_step(self) -> None:
        """Take the convex half-step, and keep its gradient and the way back for the theta-step."""
        self.columns = self.update_z()
        if self.settings.safeguard and self.columns["z_objective"] > self.reached * (1 + _ROUNDING):
            raise SeedFailed(f"the Z-step raised F from {self.reached} to {self.columns['z_objective']}")
        if self.settings.edges == "bank":
            difference = sp.eye_array(len(self.data), format="csr") - self.state.affinity()
            M = sp.csr_matrix(difference.T @ difference + self.settings.beta * self.laplacian)
            self.rows = _Rows(M, self.state.bank)
            self.mean, self.moments = self._through_the_map(M)
        else:
            self.rows = _Rows(self.laplacian, self.state.bank)
        if self.settings.safeguard:
            self.before = copy.deepcopy((self.state.state_dict(), self.optimizer.state_dict()))

    def terms(self, x: Tensor, index: Tensor, _: torch.Generator) -> dict[str, Tensor]:
        """Return a batch's share of those terms of F that depend on the weights."""
        codes, output = self.state.network(x)
        h = self._embed(codes).float()
        loss = self._from_bank(h, index) if self.settings.edges == "bank" else self._from_batch(h, index)
        return {"structure": loss, "reconstruction": self.settings.gamma * (x - output).square().sum(dim=1).mean()}

    def after_theta_step(self) -> dict[str, Any]:
        """Evaluate F at the new weights, undo the step if F did not fall, and return the epoch's columns."""
        rate = self.optimizer.param_groups[0]["lr"]
        self._encode_all()
        value = self.value()
        lowered = value["objective"] < self.columns["z_objective"]
        if self.settings.safeguard and not lowered:
            weights, optimizer = self.before
            self.state.load_state_dict(weights)
            self.optimizer.load_state_dict(optimizer)
            self.optimizer.param_groups[0]["lr"] = rate / 2
        self.reached = min(value["objective"], self.columns["z_objective"])
        return {
            **self.columns,
            **{f"theta_{name}": number for name, number in value.items()},
            "accepted": lowered or not self.settings.safeguard,
            "learning_rate": rate,
        }

    def _from_bank(self, h: Tensor, index: Tensor) -> Tensor:
        """Return the batch's part of Tr(H' M H) / N, of exact gradient at the bank's other rows, the map included.

        d Tr(H'MH) = 2 <dH, MH> at a fixed map. The map follows the mean and the covariance of all codes; by its
        derivative the rows of MH lose their mean and, with S = H'MH / N, the rows of HS. Mean and S are of the Z-step.
        """
        with torch.no_grad():
            self.state.bank[index] = h
            product = self.rows.times(self.state.bank, index)
            gradient = 2 * (product - self.mean - h @ self.moments)
        return (h.detach() * product + (h - h.detach()) * gradient).sum(dim=1).mean()

    def _through_the_map(self, M: sp.csr_matrix) -> tuple[Tensor, Tensor]:
        """Return the mean (P,) of MH's rows and S (P, P), as `_from_bank` needs them; 0 where the map is a row's own.

        Standardized codes have the diagonal of S: each feature's variance alone is kept.
        """
        H = self.state.bank.double().cpu().numpy()
        product = M @ H
        mean, moments = product.mean(axis=0), H.T @ product / len(H)
        if self.settings.code == "standardized":
            moments = np.diag(moments.diagonal())
        elif self.settings.code != "whitened":
            mean, moments = np.zeros_like(mean), np.zeros_like(moments)
        return torch.from_numpy(mean).to(self.state.bank), torch.from_numpy(moments).to(self.state.bank)

    def _from_batch(self, h: Tensor, index: Tensor) -> Tensor:
        """Return both terms over the edges inside the batch alone, as a plain mini-batch implementation has them."""
        state = self.state
        place = torch.full((len(self.data) + 1,), -1, device=h.device)
        place[index] = torch.arange(len(h), device=h.device)
        inside = place[state.support[index]]
        z = (state.coefficients[index] * (inside >= 0)).float()
        fit = (h - torch.einsum("bk,bkp->bp", z, h[inside.clamp(min=0)])).square().sum(dim=1).mean()
        owner, column, entry = self.rows.entries(index)
        other = place[column]
        # L's entries are -w_ij / sqrt(d_i d_j): this is the edge sum without degrees, which a batch does not have
        differences = (h[owner] - h[other.clamp(min=0)]).square().sum(dim=1)
        return fit - self.settings.beta * ((other >= 0) * entry * differences).sum() / (2 * len(h))

    def _encode_all(self) -> None:
        """Refresh the bank, the map from codes to H and the reconstruction error from the current weights."""

        def both(rows: Tensor) -> Tensor:
            codes, output = self.state.network(rows)
            return torch.cat([codes, (rows - output).square().sum(dim=1, keepdim=True)], dim=1)

        found = in_chunks(both, self.state.network, self.data)
        if not bool(found.isfinite().all()):
            raise SeedFailed("the network's code or reconstruction is not finite; lower the learning rate")
        codes = found[:, :-1]
        if self.settings.code in {"whitened", "standardized"}:
            shift, transform = to_unit_covariance(codes.double(), whiten=self.settings.code == "whitened")
            self.state.shift.copy_(shift)
            self.state.transform.copy_(transform)
        self.state.bank.copy_(self._embed(codes))
        self.state.reconstruction.copy_(found[:, -1].double().mean())

    def _embed(self, codes: Tensor) -> Tensor:
        """Return rows of H from rows of the network's code (B, P)."""
        return _constrained(codes, self.settings.code, self.state.shift, self.state.transform)


def _constrained(codes: Tensor, constraint: str, shift: Tensor, transform: Tensor) -> Tensor:
    """Return rows of H from rows of the network's code (B, P)."""
    return F.normalize(codes) if constraint == "unit" else (codes - shift) @ transform


class _Rows:
    """A sparse matrix (N, N) whose product with a dense one is taken for some rows at a time, on the data's device.

    A look-up returns as many entries as that number of rows can have at most: a GPU replays only fixed shapes.
    """

    def __init__(self, matrix: sp.csr_matrix, like: Tensor) -> None:
        self.most = np.sort(np.diff(matrix.indptr))[::-1].cumsum()
        self.starts = torch.from_numpy(matrix.indptr.astype(np.int64)).to(like.device)
        self.columns = torch.from_numpy(matrix.indices.astype(np.int64)).to(like.device)
        self.values = torch.from_numpy(matrix.data).to(like)

    def entries(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the entries of the rows `index` (B,), all different: place in the batch, column, value; then zeros."""
        first, lengths = self.starts[index], self.starts[index + 1] - self.starts[index]
        ends = lengths.cumsum(0)
        number = torch.arange(self.most[len(index) - 1], device=index.device)
        owner = torch.searchsorted(ends, number, right=True).clamp(max=len(index) - 1)
        there = number < ends[-1]
        flat = torch.where(there, number + (first - ends + lengths)[owner], 0)
        return owner, self.columns[flat], self.values[flat] * there

    def times(self, dense: Tensor, index: Tensor) -> Tensor:
        """Return the rows `index` (B,) of matrix @ dense, (B, P)."""
        owner, column, value = self.entries(index)
        return dense.new_zeros(len(index), dense.shape[1]).index_add_(0, owner, value[:, None] * dense[column])


def _restricted(W: sp.csr_matrix, support: Tensor) -> sp.csr_matrix:
    """Return the weights of the candidates' edges alone, which stand for Z without the convex step."""
    allowed = sparse(torch.ones(support.shape), support)
    return sp.csr_matrix(W.multiply(allowed + allowed.T > 0))


def _diagnostics(H: Tensor) -> dict[str, float]:
    """Return the mean of ||h_i||^2 and the effective rank of H's covariance: exp of its spectrum's entropy (nats)."""
    H = H.double()
    shares = torch.linalg.eigvalsh(torch.cov(H.T, correction=0).reshape(H.shape[1], H.shape[1])).clamp(min=0)
    shares = shares / shares.sum().clamp(min=torch.finfo(shares.dtype).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum()
    return {"code_scale": float(H.square().sum(dim=1).mean()), "code_rank": float(entropy.exp())}
