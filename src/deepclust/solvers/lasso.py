"""Batches of lasso problems in the forms self-expression needs, each with its duality gap.

    F(z) = ||h - A z||^2 + alpha ||z||_1        (sums, squared, no factor 1/2), optionally with z >= 0

for every row h of a batch. The dual problem is: maximise u'h - ||u||^2 / 4 subject to |A'u| <= alpha (A'u <= alpha
where z >= 0). Let r = h - A z, q = 2 A'r and s = min(1, alpha / max_j |q_j|) (max_j q_j where z >= 0). The point u =
2 s r is then feasible, so that min F >= 2 s r'h - s^2 ||r||^2: the certificate. Every term of a useful bound is at most
of the order of ||h||^2. The bound is therefore wrong by rounding of ||h||^2 only, even at the absurd z that a singular
system may give.

References: Kim, Koh, Lustig, Boyd and Gorinevsky, "An interior-point method for large-scale l1-regularized least
squares", 2007, Section III (the scaled residual as dual point).
"""

import copy
from abc import ABC, abstractmethod
from typing import NamedTuple, Self

import scipy.sparse as sp
import torch
from torch import Tensor

from deepclust.solvers.prox import prox_l1, prox_nonnegative_l1

_STEPS = 60  # most steps of the active-set method on a row; some ten atoms take far fewer
_RIDGE = 1e-13  # relative to the largest squared norm: Gram matrices of duplicate atoms stay positive definite
_MARGIN = 1e-9  # relative to alpha: correlations this little above it are rounding
_COLUMN_ROUNDS = 50  # most rounds of column generation, for rows that may use all atoms
_SPARE_CANDIDATES = 10  # atoms beyond the rank that may enter in a round
_MOST_CANDIDATES = 128  # most atoms in a round: time grows with the cube of their number


class Fit(NamedTuple):
    """A point's residuals r = h - A z."""

    squared: Tensor  # (B,) ||r||^2
    with_target: Tensor  # (B,) r'h
    correlations: Tensor  # (B, n) q = 2 A'r, minus the gradient of ||r||^2


class Lasso(ABC):
    """B rows h with one penalty; subclasses define the rows' atoms. `subset` takes rows of the tensors in `batched`."""

    batched: tuple[str, ...]

    def __init__(self, alpha: float, nonnegative: bool) -> None:
        self.alpha = alpha
        self.nonnegative = nonnegative

    @abstractmethod
    def fit(self, z: Tensor) -> Fit:
        """Return the quantities through which the residuals at z (B, n) enter."""

    @abstractmethod
    def divergence(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ||A (x - y)||^2 (B,): the smooth part at x minus its linearisation at y."""

    def gradient(self, z: Tensor) -> Tensor:
        return -self.fit(z).correlations

    def prox(self, x: Tensor, step: Tensor) -> Tensor:
        return (prox_nonnegative_l1 if self.nonnegative else prox_l1)(x, self.alpha * step)

    def project(self, x: Tensor) -> Tensor:
        """Return the nearest point that meets the constraints."""
        return x.clamp_min(0) if self.nonnegative else x

    def violation(self, q: Tensor) -> Tensor:
        """Return the numbers that dual feasibility bounds by alpha: |q|, or q if z >= 0; 0 for a fixed coefficient."""
        return q.clamp_min(0) if self.nonnegative else q.abs()

    def certificate(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objective and the dual objective, (B,)."""
        squared, with_target, q = self.fit(z)
        largest = self.violation(q).amax(dim=1)
        s = torch.where(largest > self.alpha, self.alpha / largest, 1.0)
        return squared + self.alpha * z.abs().sum(dim=1), 2 * s * with_target - s.square() * squared

    def subset(self, rows: Tensor) -> Self:
        part = copy.copy(self)
        for name in self.batched:
            setattr(part, name, getattr(self, name)[rows])
        return part


class SeparableLasso(Lasso):
    """Lasso problems that do not couple the rows; every solver accepts them."""

    @abstractmethod
    def curvature(self) -> Tensor:
        """Return the largest diagonal entry of 2 A'A (B, 1), which bounds the largest eigenvalue below; 1 for 0."""

    @abstractmethod
    def lipschitz(self) -> Tensor:
        """Return the largest eigenvalue of 2 A'A, the gradient's Lipschitz constant, (B, 1); 1 for 0."""

    @abstractmethod
    def factor(self, penalty: Tensor) -> Tensor:
        """Return the tensor (B, ...) that `minimize` reuses for as long as the penalties (B, 1) stay the same."""

    @abstractmethod
    def minimize(self, factor: Tensor, w: Tensor, penalty: Tensor) -> Tensor:
        """Return argmin over v of ||h - A v||^2 + penalty/2 ||v - w||^2, (B, n)."""

    @abstractmethod
    def polish(self, z: Tensor) -> Tensor:
        """Return the results (B, n) of the active-set method from a feasible z: in all likelihood minimisers."""


class OwnAtoms(SeparableLasso):
    """Every row has k atoms of its own: atoms (B, k, P), h (B, P)."""

    batched = ("atoms", "h", "gram", "linear")

    def __init__(self, atoms: Tensor, h: Tensor, alpha: float, nonnegative: bool) -> None:
        super().__init__(alpha, nonnegative)
        self.atoms, self.h = atoms, h
        self.gram = 2 * atoms @ atoms.mT  # (B, k, k)
        self.linear = 2 * _times(atoms, h)  # (B, k)

    def fit(self, z: Tensor) -> Fit:
        r = self.h - _times(self.atoms.mT, z)
        return Fit(r.square().sum(dim=1), (r * self.h).sum(dim=1), 2 * _times(self.atoms, r))

    def divergence(self, x: Tensor, y: Tensor) -> Tensor:
        return _times(self.atoms.mT, x - y).square().sum(dim=1)

    def curvature(self) -> Tensor:
        return _positive(self.gram.diagonal(dim1=1, dim2=2).amax(dim=1, keepdim=True))

    def lipschitz(self) -> Tensor:
        return _positive(torch.linalg.eigvalsh(self.gram)[:, -1:])

    def factor(self, penalty: Tensor) -> Tensor:
        """Return (gram + rho I)^-1, (B, k, k)."""
        shifted = self.gram.clone()
        shifted.diagonal(dim1=1, dim2=2).add_(penalty)
        return torch.cholesky_inverse(torch.linalg.cholesky_ex(shifted).L)  # the certificate rejects a failure

    def minimize(self, factor: Tensor, w: Tensor, penalty: Tensor) -> Tensor:
        return _times(factor, self.linear + penalty * w)

    def polish(self, z: Tensor) -> Tensor:
        return active_set(self.gram, self.linear, z, self.alpha, self.nonnegative)


class SharedAtoms(SeparableLasso):
    """All rows share the N atoms (N, R), whose Gram matrix over features is diagonal: A A' = diag(`squares`).

    `own` (B,) names the atom whose coefficient is fixed at 0, or is None.
    """

    def __init__(
        self, atoms: Tensor, squares: Tensor, h: Tensor, own: Tensor | None, alpha: float, nonnegative: bool
    ) -> None:
        super().__init__(alpha, nonnegative)
        self.atoms, self.squares, self.h, self.own = atoms, squares, h, own
        self.batched = ("h",) if own is None else ("h", "own")

    @staticmethod
    def n_candidates(n_atoms: int, rank: int) -> int:
        """Return the number of atoms in a round of `polish`: a solution in general position uses at most `rank`."""
        return min(n_atoms, rank + _SPARE_CANDIDATES, _MOST_CANDIDATES)

    def fit(self, z: Tensor) -> Fit:
        r = self.h - z @ self.atoms
        return Fit(r.square().sum(dim=1), (r * self.h).sum(dim=1), 2 * r @ self.atoms.T)

    def divergence(self, x: Tensor, y: Tensor) -> Tensor:
        return ((x - y) @ self.atoms).square().sum(dim=1)

    def curvature(self) -> Tensor:
        return _positive(2 * self.atoms.square().sum(dim=1).max()).expand(len(self.h), 1)

    def lipschitz(self) -> Tensor:
        return _positive(2 * self.squares.max()).expand(len(self.h), 1)

    def prox(self, x: Tensor, step: Tensor) -> Tensor:
        return self._cleared(super().prox(x, step))

    def project(self, x: Tensor) -> Tensor:
        return self._cleared(super().project(x).clone())

    def violation(self, q: Tensor) -> Tensor:
        return self._cleared(super().violation(q))

    def factor(self, penalty: Tensor) -> Tensor:
        """Return 1 / (squares + rho / 2), (B, R): all that depends on the penalty, by Woodbury's identity."""
        return 1 / (self.squares + penalty / 2)

    def minimize(self, factor: Tensor, w: Tensor, penalty: Tensor) -> Tensor:
        # v = w + A'(A A' + rho/2)^-1 (h - A w)
        return w + ((self.h - w @ self.atoms) * factor) @ self.atoms.T

    def polish(self, z: Tensor) -> Tensor:
        """Return the solution (B, n) by column generation, from the atoms that correlate most with z's residual.

        A round is the active-set method on few atoms: those in use and those of largest correlation. Rounds end when no
        other atom's correlation exceeds alpha. The support of z is ignored: before ADMM has converged, z may use nearly
        all atoms.
        """
        n_free = len(self.atoms) - (self.own is not None)
        n_candidates = self.n_candidates(n_free, len(self.squares))
        part, result = self, torch.zeros_like(z)
        rows = each = torch.arange(len(z), device=z.device)
        score, z = self._score(z), result
        for _ in range(_COLUMN_ROUNDS):
            candidates = score.topk(n_candidates, dim=1).indices
            atoms = part.atoms[candidates]
            gram, linear, chosen = 2 * atoms @ atoms.mT, 2 * _times(atoms, part.h), z.gather(1, candidates)
            z = torch.zeros_like(z)
            z[each[:, None], candidates] = active_set(gram, linear, chosen, self.alpha, self.nonnegative)
            result[rows] = z
            score = part._score(z)
            going = ((score > self.alpha * (1 + _MARGIN)) & (z == 0)).any(dim=1)
            score = score.masked_fill(z != 0, torch.inf)
            if not going.any():
                break
            part, rows, z, score = part.subset(going), rows[going], z[going], score[going]
            each = each[: len(z)]
        return result

    def _score(self, z: Tensor) -> Tensor:
        """Return the violations; a fixed coefficient has -1, which is below all others."""
        return self._cleared(super().violation(self.fit(z).correlations), -1.0)

    def _cleared(self, x: Tensor, value: float = 0.0) -> Tensor:
        if self.own is not None:
            x[torch.arange(len(x), device=x.device), self.own] = value
        return x


class SmoothedAtoms(Lasso):
    """All rows in one problem: ||H - Z H||_F^2 + lambda2 ||L Z||_F^2 on a support (N, k), Z as one row of N k entries.

    A stacks the rows' atoms, block-diagonal, and sqrt(lambda2) times the map from Z's entries to L Z; h is padded with
    zeros. `coupling` (csr, N k x N k) is that map's Gram matrix: z'coupling z = ||L Z||_F^2.
    """

    batched = ()

    def __init__(self, rows: OwnAtoms, coupling: sp.csr_matrix, lambda2: float, coupling_bound: float) -> None:
        super().__init__(rows.alpha, rows.nonnegative)
        self.rows, self.coupling, self.lambda2, self.coupling_bound = rows, coupling, lambda2, coupling_bound

    def fit(self, z: Tensor) -> Fit:
        rows = self.rows.fit(z.view(self.rows.linear.shape))
        smoothing = self.lambda2 * self._coupled(z)
        squared = rows.squared.sum() + (z * smoothing).sum()
        return Fit(squared.view(1), rows.with_target.sum().view(1), rows.correlations.view(1, -1) - 2 * smoothing)

    def divergence(self, x: Tensor, y: Tensor) -> Tensor:
        d = x - y
        fidelity = _times(self.rows.atoms.mT, d.view(self.rows.linear.shape)).square().sum()
        return (fidelity + self.lambda2 * (d * self._coupled(d)).sum()).view(1)

    def metric(self) -> Tensor:
        """Return a diagonal (1, N k) that majorises 2 A'A: each row's Lipschitz constant plus that of the coupling."""
        k = self.rows.linear.shape[1]
        return self.rows.lipschitz().expand(-1, k).reshape(1, -1) + 2 * self.lambda2 * self.coupling_bound

    def _coupled(self, z: Tensor) -> Tensor:
        return torch.from_numpy(self.coupling @ z[0].numpy()).view(1, -1)


def active_set(gram: Tensor, linear: Tensor, start: Tensor, alpha: float, nonnegative: bool) -> Tensor:
    """Return argmin over z of z'gram z / 2 - linear'z + alpha ||z||_1 for each row, (B, k), up to rounding.

    The active set is first that of `start`: the non-zeros with their signs. A step goes towards the minimiser on the
    active set, as far as all signs hold. If a coefficient would change its sign, the first to do so is dropped;
    otherwise the coefficient whose optimality condition is violated most is added. No step raises the objective, and no
    set recurs while the objective falls. The method therefore ends at the minimum, after few more steps than
    coefficients change; it takes at most `_STEPS`. A ridge of the order of rounding solves systems of linearly
    dependent atoms.

    Lawson and Hanson, "Solving least squares problems", 1974, Section 23.3, with signs and from any feasible start.
    """
    z = start
    result = z.clone()
    rows = each = torch.arange(len(z), device=z.device)
    sign = z.sign()
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal = diagonal + _RIDGE * _positive(diagonal.amax(dim=1, keepdim=True))
    for _ in range(_STEPS):
        active = sign != 0
        system = gram * (active[:, :, None] & active[:, None, :])
        system.diagonal(dim1=1, dim2=2).copy_(torch.where(active, diagonal, 1.0))
        right = torch.where(active, linear - alpha * sign, 0.0)
        factor = torch.linalg.cholesky_ex(system).L  # a failure leaves numbers that the certificate rejects
        target = torch.cholesky_solve(right[:, :, None], factor).squeeze(2)

        turning = active & (target * sign <= 0)
        reach, first = torch.where(turning, (z / (z - target)).nan_to_num(0.0), torch.inf).min(dim=1)
        z = torch.where(active, z + reach.clamp(max=1)[:, None] * (target - z), 0.0)
        stopped = reach <= 1
        leaving = stopped[:, None] & (torch.arange(z.shape[1], device=z.device) == first[:, None])
        z, sign = z.masked_fill(leaving, 0.0), sign.masked_fill(leaving, 0.0)
        result[rows] = z

        pull = linear - _times(gram, z)
        excess = torch.where(sign == 0, (pull if nonnegative else pull.abs()) - alpha * (1 + _MARGIN), 0.0)
        worst, entering = excess.max(dim=1)
        grows = ~stopped & (worst > 0)
        sign[each[grows], entering[grows]] = pull[each[grows], entering[grows]].sign()
        going = stopped | grows
        if not going.any():
            break
        rows, gram, linear, sign, diagonal, z = (t[going] for t in (rows, gram, linear, sign, diagonal, z))
        each = each[: len(z)]
    return result


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Return the product of each matrix (B, m, n) with its vector (B, n)."""
    return torch.bmm(matrices, vectors.unsqueeze(2)).squeeze(2)


def _positive(curvature: Tensor) -> Tensor:
    """Return the curvatures with 1 in place of 0: any step will do for a function without curvature."""
    return torch.where(curvature > 0, curvature, 1.0)
