"""Maps from many dimensions to two, the same to the bit for every number of threads."""

import numpy as np

from deepclust.errors import UserError

SAMPLE = 5000


def sample(n: int, random_state: int) -> np.ndarray:
    """Return the sorted numbers (M,) of the samples that `tsne` maps: all `n`, or 5,000 without replacement."""
    if n <= SAMPLE:
        return np.arange(n)
    return np.sort(np.random.default_rng(random_state).choice(n, SAMPLE, replace=False))


def tsne(embedding: np.ndarray, random_state: int) -> np.ndarray:
    """Return the t-SNE coordinates of the samples `sample(N, random_state)` of an (N, P) embedding, shape (M, 2).

    Perplexity is 30 (less below 91 samples); the start is the principal components. t-SNE runs on one thread: sums on
    several threads differ in their last bits, and t-SNE amplifies the difference. An embedding collapsed to a point is
    mapped to a point.

    Raises
    ------
    UserError
        If there are fewer than 4 samples or the embedding is not finite.
    """
    from openTSNE import TSNE
    from openTSNE.affinity import MultiscaleMixture
    from openTSNE.nearest_neighbors import Sklearn
    from threadpoolctl import threadpool_limits

    points = np.asarray(embedding)[sample(len(embedding), random_state)].astype(np.float64)
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
        # an index made here: choosing one itself, openTSNE takes a second to load pynndescent where that is installed
        index = Sklearn(points, min(len(points) - 1, int(3 * perplexity)), n_jobs=1)
        return np.asarray(model.fit(points, MultiscaleMixture(perplexities=perplexity, knn_index=index)))
