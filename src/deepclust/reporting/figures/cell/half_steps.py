"""The objective of alternating minimisation after every half-step, a line a seed."""

from matplotlib.figure import Figure

from deepclust.reporting.figures import _half_steps
from deepclust.reporting.finished import Cell, Needs

NEEDS = Needs(columns=_half_steps.COLUMNS)


def draw(run: Cell) -> Figure:
    return _half_steps.plot(run.by_seed, run.title)
