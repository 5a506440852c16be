"""The objective of alternating minimisation, of all cells that vary one method."""

from matplotlib.figure import Figure

from deepclust.reporting.figures import _half_steps
from deepclust.reporting.finished import Grid, Needs

NEEDS = Needs(one_method=True)
CAPTION = "Variants of `{method}` on {dataset}: objective after every half-step"


def draw(run: Grid) -> Figure | None:
    alternating = {cell: trace for cell, trace in run.traces.items() if set(trace) >= _half_steps.COLUMNS}
    if len(alternating) < 2:
        return None
    return _half_steps.plot(alternating, f"variants of {run.method} on {run.dataset}")
