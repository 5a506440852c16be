"""The loss of every seed over the epochs."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deepclust.errors import UserError
from deepclust.reporting.figures._style import COLOURS, WIDTH, log_if_wide
from deepclust.reporting.finished import Cell, Needs

NEEDS = Needs(columns=frozenset({"loss"}))


def draw(run: Cell) -> Figure | None:
    return plot(run.traces, run.title) if "loss" in run.recorded else None


def plot(traces: Mapping[int, pd.DataFrame], title: str = "") -> Figure:
    """Return the loss curves of every seed, one column of axes a phase, and below them the label changes if recorded.

    Parameters
    ----------
    traces
        The trace of each seed: `phase`, `epoch`, `loss`, further terms as `loss_*`, and perhaps `label_change`, a
        fraction. A term that a phase does not have is empty there. All seeds of a term share its colour.
    """
    if not any("loss" in trace and trace["loss"].notna().any() for trace in traces.values()):
        raise UserError(f"traces must hold the loss of at least one epoch, got none in {len(traces)} seeds")
    rows = pd.concat([trace.assign(seed=seed) for seed, trace in traces.items()])
    phases = list(dict.fromkeys(rows["phase"]))
    terms = [name for name in rows.columns if name.startswith("loss_")]
    # the total is drawn beneath its terms and broader: it shows even where it consists of a single term
    colours = {"loss": "black"} | {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(terms)}
    changes = "label_change" in rows and rows["label_change"].notna().any()
    figure = Figure(figsize=(WIDTH, 3.4 if changes else 2.2), layout="constrained")
    figure.suptitle(title, fontsize=7.5)
    grid = figure.subplots(
        2 if changes else 1, len(phases), squeeze=False, sharex="col", height_ratios=[3, 2][: 1 + changes]
    )
    for column, phase in enumerate(phases):
        part = rows[rows["phase"] == phase]
        top, bottom = grid[0, column], grid[-1, column]
        top.set_title(phase)
        for term, colour in colours.items():
            _lines(top, part, term, 1, colour, 1.6 if term == "loss" else 0.8)
        log_if_wide(top, part[list(colours)].to_numpy())
        if changes:
            _lines(bottom, part, "label_change", 100, COLOURS[0], 0.8)
            if part["label_change"].isna().all():
                bottom.set_yticks([])
                bottom.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=bottom.transAxes)
            else:
                bottom.set_ylim(bottom=0)
        bottom.set_xlabel("epoch")
        bottom.xaxis.get_major_locator().set_params(integer=True, nbins=5)
    grid[0, 0].set_ylabel("loss")
    if changes:
        grid[1, 0].set_ylabel("labels changed (%)")
    handles = [
        Line2D([], [], color=colour, label=term.removeprefix("loss_").replace("_", " "))
        for term, colour in colours.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), columnspacing=1.2)
    return figure


def _lines(axes: Axes, rows: pd.DataFrame, name: str, scale: float, colour: str, width: float) -> None:
    for _, trace in rows.dropna(subset=[name]).groupby("seed"):
        marker = "." if len(trace) == 1 else ""
        axes.plot(trace["epoch"], scale * trace[name], color=colour, linewidth=width, marker=marker, alpha=0.7)
