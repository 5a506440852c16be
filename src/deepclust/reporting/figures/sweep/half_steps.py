"""The objective of alternating minimisation after every half-step, a colour a point."""

from matplotlib.figure import Figure

from deepclust.reporting.figures import _half_steps
from deepclust.reporting.figures._series import SERIES, SOLVERS
from deepclust.reporting.finished import Needs, Sweep

NEEDS = Needs(columns=_half_steps.COLUMNS)
CAPTION = "objective after every half-step"


def draw(run: Sweep) -> Figure | None:
    """Return None for a sweep over solvers, whose lines would nearly coincide, and for more points than colours."""
    if len(run.traces) > SERIES or run.columns >= SOLVERS:
        return None
    return _half_steps.plot(run.traces, run.title)
