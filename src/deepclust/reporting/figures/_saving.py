"""Figures as files: the same bytes for the same figure whenever it is drawn, because the files carry no date."""

from pathlib import Path

from matplotlib.figure import Figure

from deepclust import files


def save_png(figure: Figure, path: Path | str) -> None:
    """Write an image (200 dpi), the same bytes for the same figure whenever it is drawn."""
    with files.atomic(path) as file:
        figure.savefig(file, format="png", dpi=200, metadata={"Software": None}, pil_kwargs={"optimize": True})


def save_pdf(figure: Figure, path: Path | str) -> None:
    """Write a page, the same bytes for the same figure whenever it is drawn."""
    with files.atomic(path) as file:
        nothing = {"Creator": None, "Producer": None, "CreationDate": None}
        figure.savefig(file, format="pdf", dpi=300, metadata=nothing)
