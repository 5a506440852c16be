"""Slow tests run where they are asked for (--slow) and in continuous integration (CI set)."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.warm import warmed

# Matrices as small as the tests' gain nothing from threads; on a busy machine every operation would wait for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# pynndescent compiles for longer than a test searches: fewer passes take two thirds of that time
os.environ.setdefault("NUMBA_OPT", "1")

# groups that take minutes each, the longest first
FIRST = ("finished", "shared", "test_whole_grid.py", "grids", "pynndescent", "interrupted")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist
        _group(items)
    if config.getoption("slow") or os.environ.get("CI"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes; run with --slow"))


def _group(items: list[pytest.Item]) -> None:
    """Leave a file to one worker, so that its fixtures are made once, and begin with the groups that take longest.

    The file test_every_method.py has thousands of tests: there a worker has all of a method.
    """
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue
        params = item.callspec.params if hasattr(item, "callspec") else {}
        given = params.get("name", params.get("estimator"))
        method = given if isinstance(given, str) else type(given).__module__.rpartition(".")[-1]
        whole = given is None or item.path.name != "test_every_method.py"
        item.add_marker(pytest.mark.xdist_group(item.path.name if whole else method))
    items.sort(key=_turn)  # stable


def _turn(item: pytest.Item) -> int:
    groups = (mark.args[0] for mark in item.iter_markers("xdist_group"))
    return min((FIRST.index(group) for group in groups if group in FIRST), default=len(FIRST))


def pytest_make_parametrize_id(val: Any) -> None:
    """Refuse a name made of a file's bytes: an archive holds its second, and two workers would name two tests."""
    assert not (isinstance(val, bytes) and len(val) > 30), "name long bytes of a parameter by ids=[...]"


@pytest.fixture(scope="session")
def mirror() -> Path | None:
    """Return the folder with the real files: DEEPCLUST_MIRROR, or shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    for folder in (os.environ.get("DEEPCLUST_MIRROR"), beside):
        if folder and Path(folder).is_dir():
            return Path(folder)
    return None


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write an empty file in place of every image and page, for tests of which figures there are.

    The look of figures as files is the matter of tests/reporting/test_figures.py.
    """
    from matplotlib.figure import Figure

    def write_nothing(self: Figure, file: IO[bytes], **_: Any) -> None:
        file.write(b"")

    monkeypatch.setattr(Figure, "savefig", write_nothing)


@pytest.fixture
def ks_fitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the K of every fit of k-means from now on; a fit that finds three there is interrupted."""
    from deepclust.methods import load

    cls, found = load("kmeans"), list[int]()
    fit = cls._fit

    def stop(self: Any, *given: Any, **inputs: Any) -> None:
        if len(found) == 3:
            raise KeyboardInterrupt
        found.append(self.n_clusters)
        fit(self, *given, **inputs)

    monkeypatch.setattr(cls, "_fit", stop)
    return found


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return surroundings in which a `python` and a `dvc` start in no time."""
    with warmed(tmp_path_factory.mktemp("warm")) as variables:
        yield variables
