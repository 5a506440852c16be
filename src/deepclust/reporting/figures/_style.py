"""The style of all figures: one column (3.4 in) wide, with matplotlib's own fonts and settings, not the user's."""

import functools
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes

WIDTH = 3.4

# Okabe and Ito's palette, safe for colour-blind readers; grey instead of black, which would drown the others
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#666666"]
_STYLE: list[str | dict[str, Any]] = [
    "default",
    {
        "font.size": 7,
        "axes.titlesize": 7.5,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.frameon": False,
        "legend.handlelength": 1.4,
        "lines.linewidth": 0.9,
        "pdf.fonttype": 42,
    },
]
styled = functools.partial(matplotlib.style.context, _STYLE)  # a context around drawing and saving


def log_if_wide(axes: Axes, values: np.ndarray) -> None:
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > 50 * values.min():
        axes.set_yscale("log", nonpositive="mask")
