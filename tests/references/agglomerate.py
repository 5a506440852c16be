"""Graph degree linkage and path integrals by plain loops and dense inverses, every affinity anew before every merge."""

import math
from collections.abc import Callable

import numpy as np

Affinity = Callable[[list[int], list[int]], float]


def digraph(X: np.ndarray, k: int, scale: str) -> np.ndarray:
    """Return dense weights W (N, N), its diagonal included, for data without ties."""
    N = len(X)
    squared = [[math.dist(x, y) ** 2 for y in X] for x in X]
    near = [sorted((squared[i][j], j) for j in range(N) if j != i)[:k] for i in range(N)]
    mean = float(np.mean([s for row in near for s, _ in row]))
    while min(math.exp(-row[0][0] / mean) for row in near) < 1e-5:
        mean *= 2
    W = np.zeros((N, N))
    for i, row in enumerate(near):
        own = row[k // 2 - 1][0]
        for s, j in [*row, (0.0, i)]:
            W[i, j] = math.exp(-s / mean) if scale == "global" else math.exp(-s / (2 * own)) / math.sqrt(own)
    return W


def components(X: np.ndarray) -> np.ndarray:
    """Return the weak components of the 1-nearest-neighbour graph, numbered by first samples."""
    names = list(range(len(X)))
    for i, x in enumerate(X):
        _, j = min((math.dist(x, y), j) for j, y in enumerate(X) if j != i)
        a, b = names[i], names[j]
        names = [min(a, b) if name in (a, b) else name for name in names]
    return np.unique(names, return_inverse=True)[1]


def gdl(W: np.ndarray, A: list[int], B: list[int]) -> float:
    total = 0.0
    for v in B:
        total += sum(W[u, v] for u in A) * sum(W[v, u] for u in A) / len(A) ** 2
    for v in A:
        total += sum(W[u, v] for u in B) * sum(W[v, u] for u in B) / len(B) ** 2
    return total


def path_integral(P: np.ndarray, z: float, A: list[int], within: list[int]) -> float:
    """Return 1' (I - z P)^-1 1 / |A|^2 over paths that start and end in A and are inside `within` between."""
    ends = np.isin(within, A).astype(float)
    return float(ends @ np.linalg.solve(np.eye(len(within)) - z * P[np.ix_(within, within)], ends)) / len(A) ** 2


def gain(P: np.ndarray, z: float, A: list[int], B: list[int]) -> float:
    return sum(path_integral(P, z, one, [*A, *B]) - path_integral(P, z, one, one) for one in (A, B))


def third_order(P: np.ndarray, z: float, A: list[int], B: list[int]) -> float:
    """Return the terms of `gain` / z^2 that are of orders 0 and 1 in z: paths of two and of three steps."""
    total = 0.0
    for one, other in ((A, B), (B, A)):
        stay, leave = P[np.ix_(one, one)], P[np.ix_(one, other)]
        there, enter = P[np.ix_(other, other)], P[np.ix_(other, one)]
        paths = leave @ enter + z * (stay @ leave @ enter + leave @ there @ enter + leave @ enter @ stay)
        total += paths.sum() / len(one) ** 2
    return float(total)


def merges(start: np.ndarray, K: int, affinity: Affinity) -> list[list[int]]:
    """Return the pairs of the start's clusters that are merged, in order; ties go to the smallest pair."""
    clusters = {int(c): np.flatnonzero(start == c).tolist() for c in np.unique(start)}
    merged = []
    while len(clusters) > K:
        pairs = [(a, b) for a in sorted(clusters) for b in sorted(clusters) if a < b]
        found = [affinity(clusters[a], clusters[b]) for a, b in pairs]
        a, b = pairs[found.index(max(found))]
        clusters[a] += clusters.pop(b)
        merged.append([a, b])
    return merged
