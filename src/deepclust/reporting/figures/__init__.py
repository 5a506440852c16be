"""Figures, found by their files: a figure in `cell/`, `sweep/` or `grid/` is drawn wherever its `NEEDS` are met.

A figure's module defines `NEEDS`, the results without which the figure is not drawn, and `draw(run)`. In `sweep/` and
`grid/` it also defines a `CAPTION`. `draw` takes a `Cell`, `Sweep` or `Grid` of `deepclust.reporting.finished` and
returns a matplotlib figure, or None where there is nothing to show. The file's name is the figure's. Files whose names
start with an underscore are shared code.
"""

import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

KINDS = ("cell", "grid", "sweep")


class Run(Protocol):
    """Results that a figure shows: a `Cell`, `Sweep` or `Grid`."""

    def has(self, needs: Any) -> bool:
        """Return whether a figure with these needs can be drawn."""
        ...

    def stem(self, figure: str) -> str:
        """Return the name of the file of a figure."""
        ...


def modules(*kinds: str) -> list[str]:
    """Return the dotted names of the figures of these kinds (of all kinds by default), without importing them."""
    packages = [importlib.import_module(f"{__name__}.{kind}") for kind in kinds or KINDS]
    found = [m.name for package in packages for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    return sorted(name for name in found if not name.rpartition(".")[2].startswith("_"))


def of(kind: str) -> Iterator[tuple[str, ModuleType]]:
    """Yield the name and the module of every figure of a kind, in the order of the names."""
    _load_matplotlib()
    for name in modules(kind):
        yield name.rpartition(".")[2], importlib.import_module(name)


def draw(kind: str, run: Run, images: Path, pages: Path) -> dict[str, ModuleType]:
    """Draw every figure of a kind whose needs are met: `STEM.png` among the images, `STEM.pdf` among the pages.

    Both folders exist afterwards, empty or not. Return the figures' modules by their stems.
    """
    _load_matplotlib()  # half a second
    from deepclust.reporting.figures._saving import save_pdf, save_png
    from deepclust.reporting.figures._style import styled

    drawn = {}
    for folder in (images, pages):
        folder.mkdir(parents=True, exist_ok=True)
    for name, module in of(kind):
        with styled():
            figure = module.draw(run) if run.has(module.NEEDS) else None
            if figure is None:
                continue
            stem = run.stem(name)
            save_png(figure, images / f"{stem}.png")
            save_pdf(figure, pages / f"{stem}.pdf")
        drawn[stem] = module
    return drawn


def _load_matplotlib() -> None:
    """Import matplotlib as it comes, whatever backend and settings the user has.

    A notebook exports a backend of its own (MPLBACKEND), which matplotlib refuses where it is not installed. Figures
    that go to files need none.
    """
    found: Any = importlib.util.find_spec("matplotlib")
    theirs = {name: os.environ.pop(name, None) for name in ("MPLBACKEND", "MATPLOTLIBRC")}
    os.environ["MATPLOTLIBRC"] = str(Path(found.origin).with_name("mpl-data") / "matplotlibrc")
    try:
        importlib.import_module("matplotlib")
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ.update({name: value for name, value in theirs.items() if value is not None})
