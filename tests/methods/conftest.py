"""Partitions of highest modularity come from a short search here: methods hand their graph on and keep what returns.

The whole search is held to what it promises in tests/graph/test_partition.py. A fixture shows what epochs begin with.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import Tensor

from deepclust.graph import partition
from deepclust.methods import _deep
from deepclust.training.loop import EpochSteps, Outcome, train


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


@pytest.fixture
def watched_epochs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], list[Any]]:
    """Let a method train as ever, and list what `look(state, data, optimizer)` sees as epochs begin."""

    def watch(look: Callable[..., Any]) -> list[Any]:
        found: list[Any] = []

        def training(state: Any, data: Tensor, terms: Any, *, steps: EpochSteps, **rest: Any) -> Outcome:
            def before() -> None:
                steps.before()
                found.append(look(state, data, rest["optimizer"]))

            return train(state, data, terms, steps=EpochSteps(before, steps.after), **rest)

        monkeypatch.setattr(_deep, "train", training)
        return found

    return watch
