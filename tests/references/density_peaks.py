"""Density peaks as DDC has them (Ren et al. 2020, and its released code), by plain loops over all distances."""

import math

import numpy as np


def distances(points: np.ndarray) -> list[list[float]]:
    return [[math.dist(a, b) for b in points] for a in points]


def peaks(points: np.ndarray, share: float) -> tuple[list[float], list[float], list[int], float]:
    """Return rho, delta, the first clusters by the order of their centres' densities, and d_c."""
    d = distances(points)
    n = len(d)
    cutoff = share * sum(map(sum, d)) / n**2
    rho = [sum(math.exp(-((value / cutoff) ** 2)) for value in row) - 1 for row in d]
    order = sorted(range(n), key=lambda i: -rho[i])
    delta, labels, count = [0.0] * n, [-1] * n, 0
    for place, i in enumerate(order):
        denser = order[:place]
        nearest = min(denser, key=lambda j: d[i][j], default=i)
        delta[i] = d[i][nearest] if denser else max(d[i])
        if not denser or (rho[i] > sum(rho) / n and delta[i] > cutoff):
            labels[i], count = count, count + 1
        else:
            labels[i] = labels[nearest]
    return rho, delta, labels, cutoff


def merged(points: np.ndarray, rho: list[float], labels: list[int], cutoff: float) -> list[int]:
    """Return the clusters after any two were joined of which core samples lie within d_c, relabelled pair by pair."""
    d = distances(points)
    members = {k: [i for i in range(len(labels)) if labels[i] == k] for k in set(labels)}
    mean = {k: sum(rho[i] for i in found) / len(found) for k, found in members.items()}
    core = [i for i in range(len(labels)) if rho[i] > mean[labels[i]]]
    now = list(labels)
    for i in core:
        for j in core:
            if now[i] != now[j] and d[i][j] < cutoff:
                one, other = min(now[i], now[j]), max(now[i], now[j])
                now = [one if label == other else label for label in now]
    return now
