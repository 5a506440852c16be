"""Partitions of highest modularity come from a short search here: methods hand their graph on and keep what returns.

The whole search is held to what it promises in tests/graph/test_partition.py.
"""

import itertools
from collections.abc import Iterator

import pytest

from deepclust.graph import partition


@pytest.fixture(scope="module", autouse=True)
def short_search() -> Iterator[None]:
    """Refine the first two starts by k-means, and improve neither further."""
    starts = partition._starts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "_STARTS", 1)
        patch.setattr(partition, "_IMPROVED", 0)
        patch.setattr(partition, "_starts", lambda *graph: itertools.islice(starts(*graph), 2))
        patch.setattr(partition, "_louvain_starts", lambda *graph: ())
        yield
