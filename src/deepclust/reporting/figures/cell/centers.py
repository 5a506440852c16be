"""The decoded centres of clusters, as images."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from deepclust.metrics import match
from deepclust.reporting.figures._style import COLOURS, WIDTH
from deepclust.reporting.finished import Cell, Needs

NEEDS = Needs(files=("decoded_centers.npy",))  # `draw` itself looks for samples that are images


def draw(run: Cell) -> Figure | None:
    if not run.image_shape:
        return None
    y = run.labels if run.y is None else run.y
    return plot(run.array("decoded_centers.npy"), run.image_shape, y, run.labels, run.title_of_seed)


def plot(images: np.ndarray, image_shape: Sequence[int], y: np.ndarray, labels: np.ndarray, title: str = "") -> Figure:
    """Return the decoded centres of clusters as a grid of images, each named by the class of most of its members.

    Images are in the order of these classes, so that duplicates stand side by side. If a cluster is matched to another
    class, as in `confusion`, an arrow leads to the name of that class. A cluster without members is named empty.

    Parameters
    ----------
    images
        Centres (K, C * H * W), where row k belongs to label k. Values are drawn from black at 0 to white at 1, and
        clipped beyond. Three channels are red, green and blue; the mean is drawn for any other number of channels.
    image_shape
        (C, H, W)
    """
    channels, height, width = image_shape
    tiles = np.clip(images, 0, 1).reshape(len(images), channels, height, width)
    named = _classes_of_clusters(y, labels)
    order = sorted(named, key=lambda cluster: (named[cluster][0], len(set(named[cluster]))))
    order += [cluster for cluster in range(len(images)) if cluster not in named]

    # everything below is in inches, the units of the axes included
    columns = min(len(images), max(5, min(10, math.ceil(math.sqrt(2 * len(images))))))
    step = (WIDTH - 0.04) / max(columns, 5)  # fewer than five images are no larger than five
    side, left = step - 0.04, (WIDTH - columns * step + 0.04) / 2
    top, head, tall = 0.22 if title else 0.02, 0.15, side * height / width
    size = WIDTH, top + math.ceil(len(images) / columns) * (head + tall) + 0.02
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    axes.text(WIDTH / 2, 0.04, title, ha="center", va="top", fontsize=7.5)
    for place, cluster in enumerate(order):
        row, column = divmod(place, columns)
        x, upper = left + column * step, top + row * (head + tall) + head
        tile = tiles[cluster].transpose(1, 2, 0) if channels == 3 else tiles[cluster].mean(axis=0)
        extent = (x, x + side, upper + tall, upper)
        axes.imshow(tile, cmap="gray", vmin=0, vmax=1, interpolation="none", extent=extent)
        most, matched = named.get(cluster, ("empty", "empty"))
        name = str(most) if most == matched else f"{most}\N{RIGHTWARDS ARROW}{matched}"
        colour = "black" if most == matched != "empty" else COLOURS[5]
        axes.text(x + side / 2, upper - 0.03, name, ha="center", va="baseline", fontsize=7, color=colour)
    return figure


def _classes_of_clusters(y: np.ndarray, labels: np.ndarray) -> dict[int, tuple[int, int]]:
    """Return for each cluster the class of most of its members, and its matched class (the former again if none)."""
    matched, classes = match(y, labels), np.unique(y)
    found: dict[int, tuple[int, int]] = {}
    for cluster in np.unique(labels):
        members = labels == cluster
        most, partner = int(np.bincount(y[members]).argmax()), int(matched[members][0])
        found[int(cluster)] = most, partner if partner in classes else most
    return found
