"""The accuracy of every point."""

from matplotlib.figure import Figure

from deepclust.reporting.figures import _metric
from deepclust.reporting.finished import Needs, Sweep

NEEDS = Needs()
CAPTION = "ACC"


def draw(run: Sweep) -> Figure:
    return _metric.plot(run.results, "acc", run.title)
