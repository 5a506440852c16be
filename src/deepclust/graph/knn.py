"""k-nearest-neighbour graphs: exact, by symmetric blocks with a certificate, or approximate.

The exact search never trusts float32 arithmetic. A fast pass (matrix products in float32) keeps a few more candidates
than asked for. The candidates' distances are recomputed in float64 from the differences. A row is accepted only when an
error bound proves that no dismissed sample can be one of its neighbours; the other rows are searched again in float64.
The result is therefore a function of X alone: block size, number of threads and device do not change it.
"""

import hashlib
import mmap
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import ThreadpoolController

from deepclust.errors import UserError
from deepclust.mapped import AROUND, chunks, mapping_of

if TYPE_CHECKING:
    import torch

Parallel = Callable[[Callable[..., None], Iterable], None]
Samples = np.ndarray | sp.csr_matrix
Neighbors = tuple[np.ndarray, np.ndarray]  # indices (N, k) int64 and distances (N, k) float32, nearest first

_LARGEST = 1e30  # largest entry of X: squared distances then fit float64 and distances float32, for every D
_SMALLEST = 1e-42  # of the largest entry, unless that is 0: distances in float32 then differ from 0
_TOO_SMALL = "X must have its largest entry in [1e-42, 1e30], for distances in float32, got {:g}; rescale the data"
_BLOCK = 1024  # rows of one side of a block: its 4 MB of distances stay in cache
_SLACK = 6  # candidates kept beyond n_neighbors, so that rounding in the fast pass rarely calls for a second search
_PAIR_BYTES = 1 << 22  # float64 differences one thread holds while distances are recomputed
_MAPPED_BYTES = 1 << 27  # part of a mapped X's file that is in memory for one thread's distances
_REPEAT_BYTES = 1 << 26  # float64 distances one thread holds in the second search
_PROJECTED_BYTES = 1 << 30  # size of X in float32 beyond which the approximate search uses principal components
_COMPONENTS = 128
_SAMPLE = 10_000  # rows that the principal components are computed from
_DEVICE_BYTES = 1 << 30  # distances or differences held on an accelerator
_ROUNDING = float(np.finfo(np.float64).eps)


def knn_graph(
    X: "np.ndarray | sp.csr_matrix | torch.Tensor",
    n_neighbors: int,
    *,
    exact: bool = True,
    device: "str | torch.device | None" = None,
    random_state: int = 0,
) -> sp.csr_matrix:
    """Return the graph of each sample's nearest neighbours, its entries the Euclidean distances (not squared).

    Row i holds exactly `n_neighbors` entries, never i itself; distances of 0 between duplicates are stored explicitly.
    Columns ascend within a row, as in any canonical CSR matrix; they are not in order of distance. The distances to the
    last neighbours are therefore ``knn.data.reshape(N, n_neighbors).max(axis=1)``.

    Neighbours are ranked by (stored distance, index): among samples whose distances agree after rounding to float32, a
    smaller index counts as nearer. Distances that differ by less than float32 can tell are thus tied. Two distances
    that are equal on paper can, rarely, round apart. Duplicates are at distance exactly 0.

    Parameters
    ----------
    X : array, sparse matrix or tensor of shape (N, D), real, with entries in [-1e30, 1e30]
        A sparse one is never made dense: the exact search takes its products row by row with all others, on the CPU.
    n_neighbors : int in [1, N-1]
    exact : bool
        False searches by nearest-neighbour descent (package pynndescent) for m = max(25, n_neighbors + 15) neighbours
        and keeps the nearest `n_neighbors`; distances are as accurate as in the exact search. Data of N <= 2 m are
        searched exactly all the same. If X would take more than 1 GiB in float32, the descent sees 128 principal
        components of X, and the file of a mapped X is read as needed.
    device : None or "cpu", or the CUDA device that the exact search runs on
    random_state : int in [0, 2**32)
        Seed of the approximate search. The exact search has no randomness.

    Returns
    -------
    csr_matrix of shape (N, N), float32

    Raises
    ------
    UserError
        If X or `n_neighbors` is out of range, the device cannot be used, or pynndescent is missing.

    Notes
    -----
    The exact search takes N^2 D / 2 multiply-adds on a CPU (each pair once), on as many threads as BLAS would use.
    Memory beyond X: a centred float32 copy of X, 12 (n_neighbors + 6) N bytes, and some 80 MB a thread.
    Approximate search: Dong, Moses and Li, "Efficient k-nearest neighbor graph construction for generic similarity
    measures", WWW 2011.
    """
    X = _real_array(X)
    N = X.shape[0]
    if not (isinstance(n_neighbors, int | np.integer) and 1 <= n_neighbors <= N - 1):
        raise UserError(
            f"n_neighbors must be an integer in [1, N-1={N - 1}], got {n_neighbors!r}; "
            "lower graph.n_neighbors or use more samples"
        )
    k, on_cpu = int(n_neighbors), device is None or str(device) == "cpu"
    if exact:
        indices, distances = _exact_search(X, k, None if on_cpu or sp.issparse(X) else device)
    elif sp.issparse(X):
        raise UserError("exact=False searches dense samples, got sparse ones; use exact=True, or X.toarray()")
    elif on_cpu:
        indices, distances = _approximate_search(X, k, random_state)
    else:
        raise UserError(f"exact=False runs on the CPU only, got device={str(device)!r}; use exact=True on a GPU")
    order = np.argsort(indices, axis=1)
    index_type = np.dtype(np.int32 if N * k < 2**31 else np.int64)
    columns = np.take_along_axis(indices, order, axis=1).astype(index_type).ravel()
    entries = np.take_along_axis(distances, order, axis=1).ravel()
    return sp.csr_matrix((entries, columns, np.arange(0, N * k + 1, k, dtype=index_type)), shape=(N, N))


def _real_array(X: "np.ndarray | sp.csr_matrix | torch.Tensor") -> Samples:
    """Return X as a NumPy array, float32 or float64; an array of these types, or one in a file, is not copied.

    A sparse X becomes canonical CSR of float64, without stored zeros and without the features that are 0 throughout.
    """
    if sp.issparse(X):
        W = sp.csr_matrix(X, dtype=np.float64, copy=True)
        W.sum_duplicates()
        W.eliminate_zeros()
        if not (np.abs(W.data) <= _LARGEST).all():
            raise UserError("X must be finite with entries in [-1e30, 1e30], got others; clean or rescale the data")
        if 0 < (largest := np.abs(W.data).max(initial=0)) < _SMALLEST:
            raise UserError(_TOO_SMALL.format(largest))
        used, columns = np.unique(W.indices, return_inverse=True)  # as features without an entry add nothing
        return sp.csr_matrix((W.data, columns, W.indptr), shape=(W.shape[0], max(1, len(used))))
    if not isinstance(X, np.ndarray) and hasattr(X, "detach"):
        X = X.detach().cpu()
        X = (X.float() if X.is_floating_point() and X.element_size() < 4 else X).numpy()  # NumPy has no bfloat16
    array = np.asarray(X)
    if array.ndim != 2 or array.shape[1] < 1 or array.dtype.kind not in "fiub":
        raise UserError(f"X must be a real array of shape (N, D), got {array.dtype} of shape {array.shape}")
    if mapping_of(array) is None:
        array = array.astype(np.float32 if np.can_cast(array.dtype, np.float32) else np.float64, copy=False)
    start, largest = 0, 0.0
    for rows in chunks(array, _BLOCK):
        sizes = np.abs(rows)
        in_range = (sizes <= np.float64(_LARGEST)).all(axis=1)  # False for NaN
        if not in_range.all():
            raise UserError(
                f"X must be finite with entries in [-1e30, 1e30], got others in row {start + in_range.argmin()}; "
                "clean or rescale the data"
            )
        start, largest = start + len(rows), max(largest, float(sizes.max()))
    if 0 < largest < _SMALLEST:
        raise UserError(_TOO_SMALL.format(largest))
    return array


# ------------------------------------------------------------------------------------------------------ exact search


def _exact_search(X: Samples, k: int, device: "str | torch.device | None") -> Neighbors:
    """Return the k nearest neighbours, after setting aside surplus duplicates.

    Only the first k+1 of identical samples can be neighbours of any sample, as the other copies lose every tie. The
    neighbours of the other copies are the first k. Without this step, m copies would cost m^2 exact distances.
    """
    copies: dict[bytes, list[int]] = {}  # the first k+1 samples with the same content
    surplus: dict[int, list[int]] = {}
    for i in _perhaps_repeated(X, k + 1):
        group = copies.setdefault(hashlib.blake2b(_content(X, i), digest_size=16).digest(), [])
        if len(group) <= k:
            group.append(i)
        else:
            surplus[i] = group
    if not surplus:
        return _distinct_search(X, k, device)
    N = X.shape[0]
    kept = np.delete(np.arange(N), list(surplus))
    indices, distances = np.empty((N, k), dtype=np.int64), np.zeros((N, k), dtype=np.float32)
    found, distances[kept] = _distinct_search(X[kept], k, device)
    indices[kept] = kept[found]
    for i, group in surplus.items():
        indices[i] = group[:k]
    return indices, distances


def _content(X: Samples, i: int) -> bytes:
    """Return bytes that are equal for equal samples alone."""
    if isinstance(X, np.ndarray):
        return bytes((X[i] + 0.0).tobytes())  # -0.0 + 0.0 is 0.0
    entries = slice(X.indptr[i], X.indptr[i + 1])
    return bytes(X.indices[entries].tobytes() + X.data[entries].tobytes())


def _perhaps_repeated(X: Samples, times: int) -> list[int]:
    """Return, ascending, every sample of a group of more than `times` identical ones, and hardly any other."""
    weights: Any = np.random.default_rng(0).integers(2**63, size=X.shape[1]).view(np.uint64)
    bits = np.dtype(f"u{X.dtype.itemsize}")
    if isinstance(X, np.ndarray):
        sums = np.concatenate([(rows + rows.dtype.type(0)).view(bits) @ weights for rows in chunks(X, _BLOCK)])
    else:
        running = np.zeros(X.nnz + 1, dtype=np.uint64)
        np.cumsum(X.data.view(bits) * weights[X.indices], out=running[1:])
        sums = np.diff(running[X.indptr])  # modulo 2^64
    _, group, counts = np.unique(sums, return_inverse=True, return_counts=True)
    found: list[int] = np.flatnonzero(counts[group] > times).tolist()
    return found


def _distinct_search(X: Samples, k: int, device: "str | torch.device | None") -> Neighbors:
    N = X.shape[0]
    m = min(k + _SLACK, N - 1)
    with _threads() as parallel:
        if not isinstance(X, np.ndarray):
            frame, candidates, bound = _sparse_search(X, m)
            indices, distances = _nearest(X, candidates, k, parallel)
        elif device is None:
            frame, Z = _placed(X)
            candidates, bound = _block_search(Z, frame.norms, m, parallel)
            indices, distances = _nearest(X, candidates, k, parallel)
        else:
            frame, bound, indices, distances = _device_search(X, m, k, device)
        if m < N - 1:
            # A dismissed sample's computed half is at least `bound`. The true half could still be a neighbour's.
            reach = frame.reach(distances[:, -1])
            doubtful = np.flatnonzero(bound <= reach + frame.error(reach, bound.dtype.type))
            indices[doubtful], distances[doubtful] = _repeat_search(X, frame, doubtful, k, parallel)
    return indices, distances


@contextmanager
def _threads() -> Iterator[Parallel]:
    """Run blocks side by side on BLAS's number of threads, one thread each: work outside BLAS is then parallel too."""
    blas = ThreadpoolController().select(user_api="blas")
    count = max((library.num_threads for library in blas.lib_controllers), default=1)
    with blas.limit(limits=1), ThreadPoolExecutor(count) as pool:

        def parallel(function: Callable[..., None], items: Iterable) -> None:
            for _ in pool.map(function, items):
                pass

        yield parallel


@dataclass(frozen=True)
class _Frame:
    """X about its mean and scaled into [-1, 1]: there |z|^2/2 + |z'|^2/2 - z.z' cancels least and cannot overflow.

    The code calls such a value a half: it is half the squared distance in this frame.
    """

    mean: np.ndarray  # (D,) float64
    scale: float
    norms: np.ndarray  # (N,) float64: |z|^2 / 2

    def place(self, X: Samples) -> tuple[Any, np.ndarray]:
        """Return float64 Z and |z|^2 / 2 of rows of X; the mean of sparse ones is taken to be 0."""
        if not isinstance(X, np.ndarray):
            placed = X * (1 / self.scale)
            return placed, 0.5 * _squared_norms(placed)
        Z = (X - self.mean) / self.scale
        return Z, 0.5 * np.einsum("nd,nd->n", Z, Z)

    def reach(self, distance: np.ndarray) -> np.ndarray:
        """Return upper bounds on the halves of distances that round to `distance` (float32) or less."""
        above = np.nextafter(distance, np.float32(np.inf)).astype(np.float64)
        return np.asarray(0.5 * (above / self.scale) ** 2)

    def error(self, reach: np.ndarray, dtype: type, rows: np.ndarray | slice = np.s_[:]) -> np.ndarray:
        """Return a bound on the rounding error of the halves up to `reach` computed in `dtype`, row by row.

        A product sum of length D in any order of summation is off by at most D u |z||z'| <= D u (|z|^2 + |z'|^2) / 2,
        u the unit roundoff (Higham, "Accuracy and stability of numerical algorithms", section 3.1). Placing, norms and
        sums add some ten u. Within reach of z, |z'| <= |z| + |z - z'|: samples far away do not loosen the bound.
        """
        D = len(self.mean)
        norms = self.norms[rows]
        relative = (D + 20) * np.finfo(dtype).eps / 2
        underflow = D * 2.0**-120
        return np.asarray(relative * (norms + (np.sqrt(norms) + np.sqrt(reach)) ** 2) + underflow)


def _placed(X: np.ndarray) -> tuple[_Frame, np.ndarray]:
    """Return the frame of X (N, D), and Z (N, D) in float32."""
    mean = X.mean(axis=0, dtype=np.float64)
    scale = float(max((X.max(axis=0) - mean).max(), (mean - X.min(axis=0)).max())) or 1.0
    frame, Z = _Frame(mean, scale, np.empty(len(X))), np.empty(X.shape, dtype=np.float32)
    for start in range(0, len(X), _BLOCK):
        rows = slice(start, start + _BLOCK)
        Z[rows], frame.norms[rows] = frame.place(X[rows])
    return frame, Z


def _block_search(Z: np.ndarray, exact_norms: np.ndarray, m: int, parallel: Parallel) -> tuple[np.ndarray, np.ndarray]:
    """Return m candidates (N, m) of each sample, those of smallest float32 half, and their largest half (N,).

    Each pair of blocks is multiplied once and read from both sides; halves above a row's current m-th are skipped.
    """
    N = len(Z)
    norms = exact_norms.astype(np.float32)
    indices = np.zeros((N, m), dtype=np.int32 if N < 2**31 else np.int64)
    halves = np.full((N, m), np.inf, dtype=np.float32)
    bound = np.full(N, np.inf, dtype=np.float32)
    blocks = [slice(start, min(start + _BLOCK, N)) for start in range(0, N, _BLOCK)]
    locks = [threading.Lock() for _ in blocks]

    def merge(rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """Merge new candidates, sorted by row, into the rows' candidates."""
        touched, first, counts = np.unique(rows, return_index=True, return_counts=True)
        padded = np.full((len(touched), m + counts.max(initial=0)), np.inf, dtype=np.float32)
        padded_indices = np.zeros(padded.shape, dtype=indices.dtype)
        padded[:, :m], padded_indices[:, :m] = halves[touched], indices[touched]
        place = np.repeat(np.arange(len(touched)), counts), m + np.arange(len(rows)) - np.repeat(first, counts)
        padded[place], padded_indices[place] = values, columns
        best = np.argpartition(padded, m - 1, axis=1)[:, :m]
        halves[touched] = np.take_along_axis(padded, best, axis=1)
        indices[touched] = np.take_along_axis(padded_indices, best, axis=1)
        bound[touched] = halves[touched].max(axis=1)

    def visit(pair: tuple[int, int]) -> None:
        a, b = blocks[pair[0]], blocks[pair[1]]
        block = Z[a] @ Z[b].T
        np.subtract(norms[a, None], block, out=block)
        block += norms[b]
        if a == b:
            np.fill_diagonal(block, np.inf)
        # Another thread may be lowering the bounds: an outdated bound only lets more candidates through.
        i, j = np.divmod(np.flatnonzero(block < bound[a, None]), block.shape[1])
        with locks[pair[0]]:
            merge(a.start + i, b.start + j, block[i, j])
        if a != b:
            i, j = np.divmod(np.flatnonzero(block < bound[b]), block.shape[1])
            order = np.argsort(j, kind="stable")
            i, j = i[order], j[order]
            with locks[pair[1]]:
                merge(b.start + j, a.start + i, block[i, j])

    # By diagonals: the first, each block with itself, sets every bound; on later ones, successive visits share no rows.
    parallel(visit, [(i, i + shift) for shift in range(len(blocks)) for i in range(len(blocks) - shift)])
    return indices, bound


def _sparse_search(X: sp.csr_matrix, m: int) -> tuple[_Frame, np.ndarray, np.ndarray]:
    """Return what `_placed` and `_block_search` do, from float64 halves of sparse rows against all others."""
    N = X.shape[0]
    frame = _Frame(np.zeros(X.shape[1]), float(np.abs(X.data).max(initial=0)) or 1.0, np.empty(N))
    Z, frame.norms[:] = frame.place(X)
    candidates, bound = np.empty((N, m), dtype=np.int64), np.empty(N)
    step = max(1, _REPEAT_BYTES // (8 * N))
    for start in range(0, N, step):
        some = np.arange(start, min(start + step, N))
        halves = frame.norms[some, None] - _products(Z[some], Z) + frame.norms
        halves[some - start, some] = np.inf
        candidates[some] = np.argpartition(halves, m - 1, axis=1)[:, :m]
        bound[some] = np.take_along_axis(halves, candidates[some], axis=1).max(axis=1)
    return frame, candidates, bound


def _squared_norms(rows: Any) -> np.ndarray:
    """Return the squared norm of each row of a sparse matrix."""
    return np.asarray(rows.multiply(rows).sum(axis=1)).ravel()


def _products(one: Samples, other: Samples) -> np.ndarray:
    """Return the product of each row of one with each of the other, dense."""
    found = one @ other.T
    return found if isinstance(found, np.ndarray) else np.asarray(found.toarray())


def _device_search(
    X: np.ndarray, m: int, k: int, device: "str | torch.device"
) -> "tuple[_Frame, np.ndarray, np.ndarray, np.ndarray]":
    """Return the results of `_block_search` and `_nearest`, from whole rows of products on a CUDA device.

    A GPU sums distances in another order than a CPU. The few distances that may round to another float32 are computed
    on the CPU, so that both give the same graph.
    """
    import torch

    try:
        data = torch.from_numpy(np.asarray(X)).to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"device must be None, 'cpu' or a CUDA device present, got {str(device)!r}: {reason}"
        ) from error
    N, D = data.shape
    mean = torch.zeros(D, dtype=torch.float64, device=device)
    step = max(1, _DEVICE_BYTES // (8 * D))
    for start in range(0, N, step):
        mean += data[start : start + step].double().sum(dim=0) / N
    highest, lowest = data.amax(dim=0).double(), data.amin(dim=0).double()
    scale = float(torch.maximum(highest - mean, mean - lowest).max()) or 1.0
    Z = torch.empty(N, D, device=device)
    norms = torch.empty(N, dtype=torch.float64, device=device)
    for start in range(0, N, step):
        rows = slice(start, start + step)
        placed = (data[rows].double() - mean) / scale
        Z[rows], norms[rows] = placed, placed.square().sum(dim=1) / 2
    frame = _Frame(mean.cpu().numpy(), scale, norms.cpu().numpy())

    candidates = torch.empty(N, m, dtype=torch.int64, device=device)
    bound = torch.empty(N, device=device)
    halves = norms.float()
    step = max(1, _DEVICE_BYTES // (4 * N))
    precision = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"  # TensorFloat-32 would break the error bound
    try:
        for start in range(0, N, step):
            rows = slice(start, min(start + step, N))
            block = (Z[rows] @ Z.T).neg_().add_(halves[rows, None]).add_(halves)
            block.diagonal(start).fill_(torch.inf)
            values, candidates[rows] = block.topk(m, largest=False)
            bound[rows] = values[:, -1]
    finally:
        torch.backends.cuda.matmul.fp32_precision = precision

    length = torch.empty(N, m, dtype=torch.float64, device=device)
    step = max(1, _DEVICE_BYTES // (8 * m * D))
    for start in range(0, N, step):
        rows = slice(start, start + step)
        differences = data[rows, None].double() - data[candidates[rows]].double()
        length[rows] = differences.square_().sum(dim=2).sqrt_()
    found = length.float().cpu().numpy()
    indices = candidates.cpu().numpy()
    off = (D + 10) * _ROUNDING  # bound on how far two sums of D squares, and their roots, differ
    doubtful = np.nonzero(((length * (1 - off)).float() != (length * (1 + off)).float()).cpu().numpy())
    found[doubtful] = _distances(X, doubtful[0], indices[doubtful])
    order = np.lexsort((indices, found))[:, :k]
    return frame, bound.cpu().numpy(), np.take_along_axis(indices, order, 1), np.take_along_axis(found, order, 1)


def _repeat_search(X: Samples, frame: _Frame, rows: np.ndarray, k: int, parallel: Parallel) -> Neighbors:
    """Return the k nearest neighbours of some rows, from float64 halves against all samples."""
    N = X.shape[0]
    indices, distances = np.empty((len(rows), k), dtype=np.int64), np.empty((len(rows), k), dtype=np.float32)
    step = max(1, _REPEAT_BYTES // (8 * N))

    def search(start: int) -> None:
        some = rows[start : start + step]
        Z, norms = frame.place(X[some])
        halves = np.empty((len(some), N))
        for first in range(0, N, _BLOCK):
            columns = slice(first, first + _BLOCK)
            others, other_norms = frame.place(X[columns])
            halves[:, columns] = norms[:, None] - _products(Z, others) + other_norms
        halves[np.arange(len(some)), some] = np.inf
        kth = np.maximum(np.partition(halves, k - 1, axis=1)[:, k - 1], 0)
        kth += frame.error(kth, np.float64, some)
        reach = frame.reach((frame.scale * np.sqrt(2 * kth)).astype(np.float32))
        reach += frame.error(reach, np.float64, some)
        for offset, i in enumerate(some):
            candidates = np.flatnonzero(halves[offset] <= reach[offset])
            length = _distances(X, np.full(len(candidates), i), candidates)
            nearest = np.lexsort((candidates, length))[:k]
            indices[start + offset], distances[start + offset] = candidates[nearest], length[nearest]

    parallel(search, range(0, len(rows), step))
    return indices, distances


def _nearest(X: Samples, candidates: np.ndarray, k: int, parallel: Parallel) -> Neighbors:
    """Return the k nearest of each sample's candidates (N, m); the sample and negative indices are infinitely far."""
    N, m = candidates.shape
    indices, distances = np.empty((N, k), dtype=np.int64), np.empty((N, k), dtype=np.float32)

    def rank(start: int) -> None:
        some = candidates[start : start + _BLOCK]
        rows = np.repeat(np.arange(start, start + len(some)), m)
        length = _distances(X, rows, some.ravel())
        length[(some.ravel() < 0) | (some.ravel() == rows)] = np.inf
        length = length.reshape(some.shape)
        order = np.lexsort((some, length))[:, :k]
        indices[start : start + _BLOCK] = np.take_along_axis(some, order, axis=1)
        distances[start : start + _BLOCK] = np.take_along_axis(length, order, axis=1)

    parallel(rank, range(0, N, _BLOCK))
    return indices, distances


def _distances(X: Samples, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance (float32) of each pair, from differences in float64; symmetric in the pair."""
    squared = np.empty(len(rows))
    if not isinstance(X, np.ndarray):
        step = max(1, _PAIR_BYTES // (32 * (1 + X.nnz // X.shape[0])))
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            squared[some] = _squared_norms(X[rows[some]] - X[columns[some]])
        return np.sqrt(squared).astype(np.float32)
    mapping = mapping_of(X)
    step = max(1, _PAIR_BYTES // (8 * X.shape[1]) if mapping is None else _MAPPED_BYTES // AROUND)
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        differences = np.subtract(X[rows[some]], X[columns[some]], dtype=np.float64)
        squared[some] = np.einsum("pd,pd->p", differences, differences)
        if mapping is not None:  # rows lie all over the file: the system's cache keeps the pages, this process does not
            mapping.madvise(mmap.MADV_DONTNEED)
    return np.sqrt(squared).astype(np.float32)


# ------------------------------------------------------------------------------------------------ approximate search


def _approximate_search(X: np.ndarray, k: int, random_state: int) -> Neighbors:
    try:
        from pynndescent import NNDescent
    except ImportError as error:
        raise UserError("exact=False needs pynndescent: pip install 'deepclust[approximate]'") from error
    m = max(25, k + 15)
    if len(X) <= 2 * m:
        return _exact_search(X, k, None)
    searched = X if 4 * X.size <= _PROJECTED_BYTES else _principal_components(X)
    frame, Z = _placed(searched)
    # The descent gains little from threads, and its result depends on their number: always one.
    candidates, _ = NNDescent(Z, n_neighbors=m + 1, random_state=random_state, n_jobs=1).neighbor_graph
    found = (candidates >= 0) & (candidates != np.arange(len(X))[:, None])
    short = np.flatnonzero(found.sum(axis=1) < k)  # the descent may leave a row incomplete
    with _threads() as parallel:
        candidates[short, :k], candidates[short, k:] = _repeat_search(searched, frame, short, k, parallel)[0], -1
        return _nearest(X, candidates, k, parallel)


def _principal_components(X: np.ndarray) -> np.ndarray:
    """Return centred X (N, D) along the `_COMPONENTS` directions in which a sample of rows varies most, in float32.

    If the features' variance lies in fewer directions, nearest neighbours are nearly those of all features. Candidates
    found along these directions are ranked by their true distances.
    """
    sample = X[:: max(1, len(X) // _SAMPLE)]
    some = np.concatenate([rows.astype(np.float64) for rows in chunks(sample, _MAPPED_BYTES // AROUND)])
    mean = some.mean(axis=0)
    _, vectors = np.linalg.eigh((some - mean).T @ (some - mean))
    axes = vectors[:, : -_COMPONENTS - 1 : -1].astype(np.float32)
    return np.concatenate([(rows.astype(np.float32) - mean.astype(np.float32)) @ axes for rows in chunks(X, _BLOCK)])
