"""The smooth end of a graph's spectrum: the smallest eigenpairs of its normalised Laplacian."""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from threadpoolctl import threadpool_limits

from deepclust.errors import SeedFailed, UserError
from deepclust.graph.laplacian import scaled_weights

_DENSE = 500  # up to this many nodes a dense decomposition takes milliseconds
_TOLERANCE = 1e-10  # residual norm relative to an eigenvalue of about 1; 0 (rounding) costs a third more
_RESTARTS = 2000  # 1e4 to 1e5 products with the matrix; image graphs of 70,000 nodes need some 50
_LIGHT = 1e-6  # root of a degree, as a share of a heavy node's, below which an entry is rounding
_PASSES = 100


class Eigenpairs(NamedTuple):
    values: np.ndarray  # (n_components,) ascending, in [0, 2]
    vectors: np.ndarray  # (N, n_components), orthonormal columns


def smallest_eigenvectors(W: sp.csr_matrix, n_components: int, *, random_state: int = 0) -> Eigenpairs:
    """Return the smallest eigenvalues of the normalised Laplacian I - D^-1/2 W D^-1/2 and their eigenvectors.

    Every connected component is decomposed by itself: an eigenvalue shared by several components is then found once for
    each, whereas Lanczos iterations on the whole graph can miss copies. The eigenvector of eigenvalue 0 of a component
    is known: D^1/2 times the component's indicator. These eigenvectors come first, from the largest component (then
    smallest index) to the smallest; an isolated node is a component. The others come from ARPACK, as the largest
    eigenpairs of D^-1/2 W D^-1/2, which takes a fraction of the time of shift-invert (no factorisation). Small
    components are decomposed densely. Signs make a vector's entry of largest modulus (the first such) positive. Entries
    keep their digits where a node's degree D is next to nothing, so that D^-1/2 times a vector is right there as well:
    see `_settled`.

    Parameters
    ----------
    W : csr_matrix of shape (N, N), symmetric, of weights > 0 where stored, with an empty diagonal
    n_components : int in [1, N]
    random_state : int in [0, 2**32)
        Seed of ARPACK's start vectors; eigenvectors of simple eigenvalues depend on it by rounding only.

    Returns
    -------
    Eigenpairs
        values (n_components,) and vectors (N, n_components), float64

    Raises
    ------
    UserError
        If W is not a graph's weight matrix, or `n_components` is out of range.
    SeedFailed
        ARPACK does not converge (long chains).
    """
    N = W.shape[0]
    if not (isinstance(n_components, int | np.integer) and 1 <= n_components <= N):
        raise UserError(f"n_components must be an integer in [1, N={N}], got {n_components!r}; ask for fewer")
    degrees, S = scaled_weights(W)
    _, component = connected_components(W, directed=False)  # numbered in order of their first nodes
    largest_first = np.argsort(-np.bincount(component), kind="stable")[:n_components]
    values, vectors = np.zeros(n_components), np.zeros((N, n_components))
    found: list[tuple[float, np.ndarray, np.ndarray]] = []  # eigenvalue, nodes, the eigenvector's entries at these
    for column, label in enumerate(largest_first):
        nodes = np.flatnonzero(component == label)
        null = np.sqrt(degrees[nodes]) if len(nodes) > 1 else np.ones(1)
        null /= np.linalg.norm(null)
        vectors[nodes, column] = null
        count = min(n_components - len(largest_first), len(nodes) - 1)
        if count > 0:
            within = S[nodes][:, nodes]
            part = _settled(within, null, _largest(within, null, count, random_state))
            found += [(1 - value, nodes, vector) for value, vector in zip(part.values, part.vectors.T, strict=True)]
    found.sort(key=lambda pair: pair[0])
    for column, (value, nodes, vector) in zip(range(len(largest_first), n_components), found, strict=False):
        values[column] = min(max(value, 0.0), 2.0)
        vectors[nodes, column] = vector
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(n_components)]
    return Eigenpairs(values, vectors * np.where(peaks < 0, -1.0, 1.0))


def _largest(S: sp.csr_matrix, null: np.ndarray, count: int, random_state: int) -> Eigenpairs:
    """Return the `count` largest eigenpairs of S after that of `null`, the eigenvector of the largest eigenvalue, 1.

    Deflation: S - 3 u u' moves the eigenvalue 1 of u = `null` to -2, below all others. BLAS is held to one thread: on
    vectors more threads cost more than they give, and the result would depend on their number.
    """
    n = S.shape[0]
    with threadpool_limits(1, user_api="blas"):
        if n <= _DENSE or count >= n - 1:
            dense = S.toarray() - 3 * np.outer(null, null)
            return Eigenpairs(*scipy.linalg.eigh(dense, subset_by_index=(n - count, n - 1)))
        rng = np.random.default_rng(random_state)
        start = rng.uniform(-1, 1, n)
        deflated = LinearOperator(S.shape, matvec=lambda v: S @ v - 3 * (null @ v) * null, dtype=np.float64)
        try:
            return Eigenpairs(
                *eigsh(deflated, k=count, which="LA", v0=start, tol=_TOLERANCE, maxiter=_RESTARTS, rng=rng)
            )
        except ArpackNoConvergence as error:
            raise SeedFailed(
                f"eigenvalues too close together: {len(error.eigenvalues)} of the {count} eigenpairs sought converged; "
                "raise graph.n_neighbors or lower n_components"
            ) from error


def _settled(S: sp.csr_matrix, null: np.ndarray, pairs: Eigenpairs) -> Eigenpairs:
    """Return eigenpairs of S with the entries of light nodes taken from their neighbours', by S u = mu u.

    An entry is near the root of its node's degree, as those of `null` are. Where that is far below the root at the
    vector's peak, as for an outlier whose weights are 1e-300, the decomposition gives rounding in its place: 1e-17,
    which a division by the root of the degree makes 1e130. The light nodes of a vector hold next to nothing of it, so
    that their entries follow from those of the others.
    """
    values, vectors = pairs
    light = null[:, None] < _LIGHT * null[np.abs(vectors).argmax(axis=0)]
    if not light.any():
        return pairs
    nodes = np.flatnonzero(light.any(axis=1))
    found = np.where(light, 0, vectors)
    for _ in range(_PASSES):  # one for each light node between a light one and a heavy one
        found[nodes] = np.where(light[nodes], S[nodes] @ found / np.maximum(values, 0.5), found[nodes])
    return Eigenpairs(values, found)
