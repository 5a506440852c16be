"""The normalised mutual information of every point."""

from matplotlib.figure import Figure

from deepclust.reporting.figures import _metric
from deepclust.reporting.finished import Needs, Sweep

NEEDS = Needs()
CAPTION = "NMI"


def draw(run: Sweep) -> Figure:
    return _metric.plot(run.results, "nmi", run.title)
