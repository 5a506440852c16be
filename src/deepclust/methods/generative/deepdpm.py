"""DeepDPM: a mixture that finds its number of clusters by splits and merges (Ronen, Finder and Freifeld, CVPR 2022)."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist
from scipy.special import gammaln, logsumexp, multigammaln, softmax
from sklearn.preprocessing import normalize

from deepclust.errors import UserError
from deepclust.methods._deep import DeepClusterer
from deepclust.methods._flat_clustering import k_means
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.settings import Count, Positive, setting

_SMALL = 5  # members of a sub-cluster: with as few, its cluster is not split
_CANDIDATES = 3  # nearest clusters with which a merge is proposed
_ROUNDING = 1e-6  # share of the largest code by which codes of equal samples may differ, in float32


class DeepDPM(DeepClusterer):
    """A Dirichlet process mixture of Gaussians on the code of a network that is left as it is; it finds its own K.

    A component has a mean and a full covariance under a normal-inverse-Wishart prior, and two sub-components fitted to
    its members alone. Both are fitted by EM with posterior modes. After every `n_steps` of it come proposals, in turn:
    a component of members X, of sub-components with X1 and X2, becomes these two with probability min(1, H),

        H = `concentration` Gamma(N1) f(X1) Gamma(N2) f(X2) / (Gamma(N) f(X)),

    f the marginal likelihood under the prior; and two near components become one with probability min(1, 1/H). Fitting
    ends once a round of splits and one of merges changed nothing, or after `max_rounds`. The prior's scatter is `scale`
    times the identity, in the `units` of the codes: features of unit standard deviation, rows of length 1, or as they
    are.

    The number found is `n_components_`, and its labels are the read-out `own`, the paper's. `labels_` have K =
    `n_clusters` clusters, so that they compare with those of methods that are told K. If more components were found,
    pairs with the largest 1/H are joined, one after the other, and a sample has the label of the largest sum of
    responsibilities. If fewer were found, components with the largest H are split, and EM goes on.

    Reduced, paper and released code say / we do / because:

    1. A network with a softmax learns the responsibilities of EM, and others those of the sub-components. Ours are the
       responsibilities themselves: the networks' targets.
    2. Codes are UMAP's, or those of an autoencoder that is trained on in turns with the mixture. Ours stay.
    3. The scatter of the prior is set for each data set. Ours is 0.005 for all, the released code's default, on codes
       of unit deviation, where it means the same whatever the network's scale. The released code's own default is rows
       of length 1, and its command for an autoencoder on MNIST leaves codes as they are: `units` has all three.
    4. A merge is proposed with one of the three nearest, as in the released code; ours takes the best pairs first.

    `docs/papers/baselines.md` has more.
    """

    paper: ClassVar[str] = "Ronen, Finder and Freifeld 2022"

    initial: Count = setting("components at first, by k-means", default=1)
    concentration: Positive = setting("alpha of the Dirichlet process", default=10.0)
    kappa: Positive = setting("samples that the prior's mean counts for", default=1e-4)
    nu: Count | None = setting("degrees of freedom of the prior, at least P; None: P + 2", default=None)
    scale: Positive = setting("of the prior's scatter", default=0.005)
    units: Literal["deviation", "length", "raw"] = setting(
        "of codes: features of unit deviation, rows of length 1, or as they are", default="deviation", later=True
    )
    n_steps: Count = setting("of EM before each round of proposals", default=10)
    max_rounds: Count = setting("of splits and of merges, at most", default=100)

    def _memory(self, n_samples: int, n_features: int) -> int:
        return 24 * n_samples * self.n_clusters  # responsibilities, their logarithms, and a copy

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        self.embedding_ = self._encode(self._start(X, network)).cpu().numpy()
        deviation = self.embedding_.std(axis=0, dtype=np.float64)
        rounding = _ROUNDING * np.abs(self.embedding_).max(axis=0)  # a constant feature's, in a place of the batch
        kept = (deviation <= rounding) | (self.units != "deviation")
        self.deviation_ = np.where(kept, 1.0, deviation)
        rows = self._rows(self.embedding_)
        n_features = rows.shape[1]
        nu = n_features + 2 if self.nu is None else self.nu
        if nu < n_features:
            raise UserError(f"nu must be at least the code's size, {n_features}, got {nu}; raise it, or leave it out")
        self._prior = Prior(rows.mean(axis=0), self.kappa, nu, self.scale * np.eye(n_features), self.concentration)

        mixture, self.trace_, self.converged_ = self._own(rows)
        kept, own = np.unique(log_joint(rows, mixture).argmax(axis=1), return_inverse=True)
        self.n_components_ = len(kept)
        self.readouts_ = {"own": own.astype(np.int64)}
        if len(kept) < self.n_clusters:
            mixture = self._em(rows, self._more(rows, own))
            of = np.arange(len(mixture.means))
        else:
            mixture = Mixture(*(part[kept] for part in mixture))
            of = self._fewer([moments(rows[own == k]) for k in range(len(kept))])
        self.means_, self.covariances_, self.log_weights_, self.cluster_of_ = *mixture, of
        self.labels_ = self._shares(self.embedding_).argmax(axis=1)
        self.n_iter_ = len(self.trace_)

    def _rows(self, codes: np.ndarray) -> np.ndarray:
        """Return codes (N, P) in the units of the mixture, in float64."""
        rows: np.ndarray = codes / self.deviation_
        return normalize(rows) if self.units == "length" else rows

    def _own(self, rows: np.ndarray) -> tuple["Mixture", list[dict[str, Any]], bool]:
        """Return the mixture of the components found in rows (N, P), the trace, and whether the rounds came to rest."""
        rng = np.random.default_rng(derive_seed(self._seed, "proposals"))
        count = min(self.initial, len(rows))
        groups = k_means(rows, count, n_init=1, random_state=self._seed).labels_
        trace: list[dict[str, Any]] = []
        quiet = 0  # rounds without a change, in succession
        while True:
            mixture = self._em(rows, groups)
            joint = log_joint(rows, mixture)
            groups = np.unique(joint.argmax(axis=1), return_inverse=True)[1]
            loss = -float(logsumexp(joint, axis=1).mean())
            row = {"phase": "cluster", "epoch": len(trace), "loss": loss, "components": int(groups.max()) + 1}
            if quiet == 2 or len(trace) == self.max_rounds:
                return mixture, [*trace, row | {"changes": 0}], quiet == 2
            groups, changes = (self._merged if len(trace) % 2 else self._split)(rows, groups, rng)
            trace.append(row | {"changes": changes})
            quiet = 0 if changes else quiet + 1

    def _split(self, rows: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Return the groups (N,) after a round of proposals to split, and how many were taken."""
        found, count = groups.copy(), int(groups.max()) + 1
        for k in range(count):
            members = np.flatnonzero(groups == k)
            second = self._halves(rows[members])
            if second is None or min(second.sum(), (~second).sum()) <= _SMALL:
                continue
            ratio = self._prior.log_ratio(moments(rows[members[~second]]), moments(rows[members[second]]))
            if math.log(1 - rng.random()) < ratio:
                found[members[second]] = found.max() + 1
        return found, int(found.max()) + 1 - count

    def _merged(self, rows: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Return the groups (N,) after a round of proposals to merge, and how many were taken; each group once."""
        found = [moments(rows[groups == k]) for k in range(groups.max() + 1)]
        means = np.stack([m.mean for m in found])
        near = cdist(means, means).argsort(axis=1, kind="stable")[:, 1 : _CANDIDATES + 1]
        pairs = {(min(k, other), max(k, other)) for k in range(len(found)) for other in near[k].tolist()}
        ratios = sorted((self._prior.log_ratio(found[a], found[b]), a, b) for a, b in pairs)
        into = np.arange(len(found))
        free = np.ones(len(found), dtype=bool)
        for ratio, a, b in ratios:
            if free[a] and free[b] and math.log(1 - rng.random()) < -ratio:
                into[b], free[a], free[b] = a, False, False
        return np.unique(into[groups], return_inverse=True)[1], int((into != np.arange(len(into))).sum())

    def _more(self, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return K groups (N,) by splits of these, each time the one with the largest ratio; fewer if none divides."""
        groups = groups.copy()

        def proposal(k: int) -> tuple[float, np.ndarray]:
            members = np.flatnonzero(groups == k)
            second = self._halves(rows[members])
            if second is None:
                return -math.inf, members
            parts = members[~second], members[second]
            return self._prior.log_ratio(*(moments(rows[part]) for part in parts)), parts[1]

        proposals = [proposal(k) for k in range(groups.max() + 1)]
        while len(proposals) < self.n_clusters:
            best = max(range(len(proposals)), key=lambda k: proposals[k][0])
            if proposals[best][0] == -math.inf:
                break
            groups[proposals[best][1]] = len(proposals)
            proposals[best] = proposal(best)
            proposals.append(proposal(len(proposals)))
        return groups

    def _fewer(self, found: list["Moments"]) -> np.ndarray:
        """Return the cluster (C,) in [0, K) of each of C components: the pair with the least H is joined till K."""
        of = np.arange(len(found))
        if len(found) == self.n_clusters:
            return of
        ratios = np.full((len(found), len(found)), np.inf)  # above the diagonal
        for a in range(len(found)):
            for b in range(a + 1, len(found)):
                ratios[a, b] = self._prior.log_ratio(found[a], found[b])
        for _ in range(len(found) - self.n_clusters):
            a, b = divmod(int(ratios.argmin()), len(found))
            found[a] = union(found[a], found[b])
            of[of == b] = a
            ratios[b], ratios[:, b] = np.inf, np.inf
            for other in set(of.tolist()) - {a}:
                ratios[min(a, other), max(a, other)] = self._prior.log_ratio(found[a], found[other])
        clusters: np.ndarray = np.unique(of, return_inverse=True)[1]
        return clusters

    def _halves(self, rows: np.ndarray) -> np.ndarray | None:
        """Return which rows (n, P) are in the second of two sub-clusters (n,); None for rows that are all the same.

        The start is 2-means along the first principal axis.
        """
        centred = rows - rows.mean(axis=0)
        along = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
        if not np.ptp(along) > 0:
            return None
        second = two_means(along)
        refined = self._em(rows, second.astype(np.int64))
        found = log_joint(rows, refined).argmax(axis=1) == 1
        return found if 0 < found.sum() < len(rows) else second

    def _em(self, rows: np.ndarray, groups: np.ndarray) -> "Mixture":
        """Return the mixture after EM from groups (N,) of rows (N, P)."""
        mixture = self._mixture(rows, groups)
        for _ in range(self.n_steps):
            mixture = self._prior.modes(rows, softmax(log_joint(rows, mixture), axis=1))
        return mixture

    def _mixture(self, rows: np.ndarray, groups: np.ndarray) -> "Mixture":
        return self._prior.modes(rows, (groups[:, None] == np.arange(groups.max() + 1)).astype(np.float64))

    def _shares(self, codes: np.ndarray) -> np.ndarray:
        """Return the responsibilities (N, K) of the clusters for codes (N, P)."""
        mixture = Mixture(self.means_, self.covariances_, self.log_weights_)
        parts = softmax(log_joint(self._rows(codes), mixture), axis=1)
        shares: np.ndarray = parts @ (self.cluster_of_[:, None] == np.arange(self.n_clusters)).astype(np.float64)
        return shares

    def _predict(self, X: np.ndarray) -> np.ndarray:
        labels: np.ndarray = self._shares(self._codes(X)).argmax(axis=1)
        return labels

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the responsibilities (M, K) of the clusters, sums over their components."""
        return self._shares(self._exact_codes(X))


class Mixture(NamedTuple):
    """Components in rows' units: means (C, P), covariances (C, P, P), logarithms of the weights (C,)."""

    means: np.ndarray
    covariances: np.ndarray
    log_weights: np.ndarray


class Moments(NamedTuple):
    """The number of rows, their mean (P,), and the sum (P, P) of the products of their differences from it."""

    n: float
    mean: np.ndarray
    scatter: np.ndarray


def moments(rows: np.ndarray, weights: np.ndarray | None = None) -> Moments:
    """Return the moments of rows (n, P), counted by weights (n,)."""
    weights = np.ones(len(rows)) if weights is None else weights
    n = float(weights.sum())
    mean = weights @ rows / max(n, np.finfo(np.float64).tiny)
    centred = rows - mean
    return Moments(n, mean, (weights[:, None] * centred).T @ centred)


def union(a: Moments, b: Moments) -> Moments:
    """Return the moments of the rows of both."""
    n, apart = a.n + b.n, b.mean - a.mean
    return Moments(n, a.mean + b.n / n * apart, a.scatter + b.scatter + a.n * b.n / n * np.outer(apart, apart))


@dataclass(frozen=True)
class Prior:
    """Normal-inverse-Wishart prior of a component: Sigma ~ IW(psi, nu), mu given Sigma ~ N(mean, Sigma / kappa).

    `alpha` is the concentration of the Dirichlet process.
    """

    mean: np.ndarray  # (P,)
    kappa: float
    nu: float
    psi: np.ndarray  # (P, P)
    alpha: float

    def psi_after(self, m: Moments) -> np.ndarray:
        """Return the posterior's scatter (P, P)."""
        apart = m.mean - self.mean
        pull = self.kappa * m.n / (self.kappa + m.n)
        after: np.ndarray = self.psi + m.scatter + pull * np.outer(apart, apart)
        return after

    def log_marginal(self, m: Moments) -> float:
        """Return ln f, the logarithm of the density of rows of these moments with the component integrated out."""
        P = len(self.mean)
        nu, kappa = self.nu + m.n, self.kappa + m.n
        volumes = self.nu * np.linalg.slogdet(self.psi)[1] - nu * np.linalg.slogdet(self.psi_after(m))[1]
        gammas = float(multigammaln(nu / 2, P) - multigammaln(self.nu / 2, P))
        return float(gammas + volumes / 2 - m.n * P / 2 * math.log(math.pi) + P / 2 * math.log(self.kappa / kappa))

    def log_ratio(self, a: Moments, b: Moments) -> float:
        """Return ln H of the split into two groups of rows; that of their merge is -ln H."""
        both = union(a, b)
        counts = math.log(self.alpha) + float(gammaln(a.n) + gammaln(b.n) - gammaln(both.n))
        return counts + self.log_marginal(a) + self.log_marginal(b) - self.log_marginal(both)

    def modes(self, rows: np.ndarray, shares: np.ndarray) -> Mixture:
        """Return the posterior modes of C components for rows (N, P) with responsibilities (N, C).

        Weights are means of their posterior, whose prior spreads `alpha` evenly.
        """
        found = [moments(rows, part) for part in shares.T]
        P, C = rows.shape[1], len(found)
        means = np.stack([(self.kappa * self.mean + m.n * m.mean) / (self.kappa + m.n) for m in found])
        covariances = np.stack([self.psi_after(m) / (self.nu + m.n + P + 2) for m in found])
        sizes = np.array([m.n for m in found])
        return Mixture(means, covariances, np.log((sizes + self.alpha / C) / (len(rows) + self.alpha)))


def log_joint(rows: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Return ln w_k + ln N(x_i; mu_k, Sigma_k) (N, C) of rows (N, P)."""
    found = np.empty((len(rows), len(mixture.means)))
    for k, (mean, covariance, log_weight) in enumerate(zip(*mixture, strict=True)):
        root = np.linalg.cholesky(covariance)
        apart = solve_triangular(root, (rows - mean).T, lower=True)
        volume = float(np.log(2 * math.pi * root.diagonal() ** 2).sum())
        found[:, k] = log_weight - (np.einsum("pn,pn->n", apart, apart) + volume) / 2
    return found


def two_means(values: np.ndarray) -> np.ndarray:
    """Return which values (n,) are above the cut into two groups of least squared distances to their means."""
    order = np.sort(values)
    sizes, sums = np.arange(1, len(order)), order.cumsum()
    between = sums[:-1] ** 2 / sizes + (sums[-1] - sums[:-1]) ** 2 / (len(order) - sizes)
    found: np.ndarray = values > order[np.where(np.diff(order) > 0, between, -np.inf).argmax()]
    return found
