"""Maps of many dimensions in two, the same to the bit whatever the number of threads."""

import numpy as np

from deepclust.errors import UserError

SAMPLE = 5000


def sample(n: int, random_state: int) -> np.ndarray:
    """Return which of `n` samples `tsne` maps, shape (M,), sorted: all, or 5,000 drawn without replacement."""
    if n <= SAMPLE:
        return np.arange(n)
    return np.sort(np.random.default_rng(random_state).choice(n, SAMPLE, replace=False))


def tsne(embedding: np.ndarray, random_state: int) -> np.ndarray:
    """Return the t-SNE coordinates of the samples `sample(N, random_state)` of an (N, P) embedding, shape (M, 2).

    Perplexity 30 (less below 91 samples), started from the principal components. On one thread, since sums on more
    differ in their last bits, and t-SNE amplifies those. An embedding collapsed to a point is mapped to a point.

    Raises
    ------
    UserError
        If there are fewer than 4 samples or the embedding is not finite.
    """
    from openTSNE import TSNE
    from openTSNE.affinity import MultiscaleMixture
    from openTSNE.nearest_neighbors import Sklearn
    from threadpoolctl import threadpool_limits

    points = np.asarray(embedding, dtype=np.float64)[sample(len(embedding), random_state)]
    if len(points) < 4 or not np.isfinite(points).all():
        raise UserError(f"embedding must be finite with at least 4 samples, got shape {np.shape(embedding)}")
    if not np.ptp(points, axis=0).any():
        return np.zeros((len(points), 2))
    if points.shape[1] == 1:
        points = np.pad(points, ((0, 0), (0, 1)))  # the start takes two principal components
    perplexity = min(30, (len(points) - 1) / 3)
    # Barnes-Hut: at 5,000 points it takes half the time of the interpolation that pays off beyond 10,000
    model = TSNE(initialization="pca", negative_gradient_method="bh", n_jobs=1, random_state=random_state)
    with threadpool_limits(1):
        # an index of its own: to choose one, openTSNE loads pynndescent, for a second, where that is installed
        index = Sklearn(points, min(len(points) - 1, int(3 * perplexity)), n_jobs=1)
        return np.asarray(model.fit(points, MultiscaleMixture(perplexities=perplexity, knn_index=index)))
