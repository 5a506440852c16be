"""Results that figures show: a cell on one data set, a sweep, a grid on one data set; and a figure's needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from deepclust.files import read_array, read_sparse
from deepclust.reporting.aggregate import is_unlabelled


@dataclass(frozen=True)
class Needs:
    """Results without which a figure is not drawn. A figure checks further needs itself, and returns None."""

    classes: bool = False  # the samples have classes
    files: tuple[str, ...] = ()  # names of files in the folder of a cell's seed
    columns: frozenset[str] = frozenset()  # columns of some trace of a cell, or of the traces of all points of a sweep
    one_method: bool = False  # for a grid: the cells of one method, instead of all


@dataclass(frozen=True)
class Cell:
    """The results of a cell on a data set: the files of one finished seed, and the traces of all.

    Attributes
    ----------
    X, y, image_shape, n_clusters
        The data set; `y` is None without classes, `image_shape` (C, H, W) is None where samples are no images.
    seed, folder
        The seed that is shown, and the folder of its files.
    traces
        The trace of each finished seed that left one.
    """

    dataset: str
    cell: str
    X: np.ndarray
    y: np.ndarray | None
    image_shape: Sequence[int] | None
    n_clusters: int
    seed: int
    folder: Path
    traces: Mapping[int, pd.DataFrame] = field(default_factory=dict)

    def has(self, needs: Needs) -> bool:
        return (
            not (needs.classes and self.y is None)
            and all((self.folder / name).exists() for name in needs.files)
            and needs.columns <= set[str]().union(*self.traces.values())
        )

    def stem(self, figure: str) -> str:
        return figure

    @property
    def title(self) -> str:
        return f"{self.cell} on {self.dataset}"

    @property
    def title_of_seed(self) -> str:
        return f"{self.title}, seed {self.seed}"

    @property
    def classes(self) -> np.ndarray:
        """The classes, for a figure that needs them."""
        assert self.y is not None
        return self.y

    @cached_property
    def labels(self) -> np.ndarray:
        return self.array("labels.npy")

    @property
    def by_seed(self) -> dict[str, pd.DataFrame]:
        """The traces by the names of their lines."""
        return {f"seed {number}": trace for number, trace in self.traces.items()}

    @property
    def recorded(self) -> set[str]:
        """The columns of the traces in which there is a value."""
        return {str(name) for trace in self.traces.values() for name in trace.columns[trace.notna().any()]}

    def array(self, name: str) -> np.ndarray:
        return read_array(self.folder / name)

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / name)

    def sparse(self, name: str) -> sp.csr_matrix:
        return read_sparse(self.folder / name)


@dataclass(frozen=True)
class Sweep:
    """The results of a sweep.

    Attributes
    ----------
    results
        A row for every point, seed and metric, as in `results.csv`.
    traces
        The traces of the seeds of each point that left any, with the settings in columns of their own.
    """

    title: str
    results: pd.DataFrame
    traces: Mapping[str, pd.DataFrame]

    def has(self, needs: Needs) -> bool:
        return needs.columns <= self.columns

    def stem(self, figure: str) -> str:
        return figure

    @property
    def columns(self) -> set[str]:
        """The columns that the traces of all points have."""
        of_points = [set(map(str, trace)) for trace in self.traces.values()]
        return set.intersection(*of_points) if of_points else set()


@dataclass(frozen=True)
class Grid:
    """The results of a grid on a data set, for all cells or for those of one method.

    Attributes
    ----------
    folder
        The folder of the traces, one `CELL.csv` for each cell.
    summary
        The result of `summarise` for the whole grid.
    reported
        The papers' numbers.
    """

    dataset: str
    folder: Path
    summary: pd.DataFrame
    reported: pd.DataFrame
    method: str | None = None

    def has(self, needs: Needs) -> bool:
        if needs.one_method != (self.method is not None):
            return False
        return not (needs.classes and is_unlabelled(self.summary, self.dataset))

    def stem(self, figure: str) -> str:
        return "_".join(part for part in (figure, self.method, self.dataset) if part)

    @cached_property
    def traces(self) -> dict[str, pd.DataFrame]:
        """The traces of the cells that have any, with all seeds."""
        chosen = self.summary[self.summary["method"] == self.method] if self.method else self.summary
        paths = {cell: self.folder / f"{cell}.csv" for cell in chosen["cell"].unique()}
        return {cell: pd.read_csv(path) for cell, path in paths.items() if path.exists()}
