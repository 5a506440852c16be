"""Figures: the same bytes from run to run, what they show read back from their artists, hostile inputs survived."""

import importlib
import io
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from deepclust.errors import UserError
from deepclust.files import write_array, write_text
from deepclust.reporting import figures
from deepclust.reporting.figures import _criteria, _half_steps, _metric, _series
from deepclust.reporting.figures._saving import save_pdf, save_png
from deepclust.reporting.figures._style import styled
from deepclust.reporting.figures._tsne import sample, tsne
from deepclust.reporting.figures.cell import (
    affinity,
    alive,
    candidates,
    centers,
    certainty,
    confusion,
    convergence,
    cosine,
    curves,
    singular_values,
)
from deepclust.reporting.figures.cell import tsne as maps
from deepclust.reporting.figures.grid import accuracy
from deepclust.reporting.figures.sweep import gaps, scale_and_rank
from deepclust.reporting.finished import Cell, Grid, Needs, Sweep

SOURCE = str(Path(figures.__file__).parents[3])


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with styled():
        yield


def save(figure: Figure, stem: Path) -> None:
    """Write an image and a page; its letters are drawn (Type 3), as fonts to be embedded take a second to cut down."""
    save_png(figure, f"{stem}.png")
    with matplotlib.rc_context({"pdf.fonttype": 3}):
        save_pdf(figure, f"{stem}.pdf")


def blobs(n: int = 120, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    return rng.normal(size=(n, 4)) + 8 * rng.normal(size=(k, 4))[y], y


def trace(seed: int) -> pd.DataFrame:
    loss = np.linspace(1, 0.5, 8) + 0.01 * seed
    pretrain = pd.DataFrame({"phase": "pretrain", "epoch": range(8), "loss": loss, "loss_reconstruction": loss})
    cluster = pd.DataFrame({"phase": "cluster", "epoch": range(8), "loss": loss, "loss_kl": loss / 100})
    return pd.concat([pretrain, cluster.assign(label_change=np.linspace(0.2, 0, 8))], ignore_index=True)


def alternating() -> pd.DataFrame:
    """Return a trace as the stages read it: three epochs, the second undone, and a Z-step at the end."""
    rows: list[dict[str, float]] = [
        {"epoch": 0, "loss": 9.0, "z_objective": 8.0, "theta_objective": 7.0, "accepted": True},
        {"epoch": 1, "loss": 8.0, "z_objective": 6.0, "theta_objective": 60.0, "accepted": False},
        {"epoch": 2, "loss": 6.0, "z_objective": 5.0, "theta_objective": 4.0, "accepted": True},
        {"epoch": 3, "z_objective": 3.0},
    ]
    trace = pd.DataFrame(rows).assign(phase="cluster", code_scale=[10.0, 8.0, 8.0, 5.0], code_rank=[9.0, 8.0, 8.0, 6.0])
    return pd.read_csv(io.StringIO(trace.to_csv(index=False)))


def admm(n_epochs: int = 100) -> pd.DataFrame:
    """Return a trace whose residual falls far and whose clustering cost hardly; no label change in the first epoch."""
    epoch = np.arange(n_epochs)
    trace = pd.DataFrame({"phase": "cluster", "epoch": epoch, "primal_residual": 2.0 * np.exp(-epoch / 15)})
    return trace.assign(clustering=9 - epoch / n_epochs, label_change=[np.nan, *0.2 / epoch[1:]])


def points(grid: Mapping[str, Sequence[str]], values: dict[int, list[float]]) -> pd.DataFrame:
    """Return a sweep's results: of each seed, the values of all points in order."""
    rows: list[dict[str, object]] = []
    for seed, of_seed in values.items():
        for point, value in zip(itertools.product(*grid.values()), of_seed, strict=True):
            run = dict(zip(grid, point, strict=True)) | {"point": ",".join(point)}
            end = {"seed": seed, "status": "failed" if np.isnan(value) else "ok"}
            rows += [{**run, **end, "metric": m, "value": value if m == "acc" else 0.0} for m in ("acc", "nmi")]
    return pd.DataFrame(rows)


def printed(figure: Figure) -> list[str]:
    """Return the texts inside the axes of a figure, without those of ticks, titles and labels."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def along(line: Line2D) -> tuple[list[float], list[float]]:
    """Return the x and the y of a line's points."""
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def shares(figure: Figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


@pytest.fixture(scope="module")
def mapped() -> np.ndarray:
    return tsne(blobs()[0], random_state=0)


def test_tsne_repeats_to_the_bit_and_follows_its_seed(mapped: np.ndarray) -> None:
    X, y = blobs()
    assert mapped.shape == (120, 2)
    assert np.array_equal(tsne(X, random_state=0), mapped)
    centres = np.array([mapped[y == k].mean(axis=0) for k in range(3)])
    nearest = np.linalg.norm(mapped[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == y).all()


def test_tsne_does_not_depend_on_the_number_of_threads() -> None:
    from sklearn.datasets import load_digits
    from threadpoolctl import threadpool_limits

    digits = load_digits().data[:300]  # sums on two threads differ here
    with threadpool_limits(1):
        alone = tsne(digits, random_state=0)
    with threadpool_limits(2):
        assert np.array_equal(tsne(digits, random_state=0), alone)


@pytest.mark.parametrize("points", [np.ones((40, 3)), np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0), np.eye(4)])
def test_tsne_survives_collapsed_and_tiny_embeddings(points: np.ndarray) -> None:
    assert np.isfinite(tsne(points, random_state=0)).all()


def test_tsne_maps_one_dimension_too() -> None:
    assert tsne(np.linspace(0, 1, 40)[:, None], random_state=0).shape == (40, 2)


@pytest.mark.parametrize("points", [np.zeros((3, 2)), np.full((10, 2), np.nan)])
def test_tsne_refuses_what_it_cannot_map(points: np.ndarray) -> None:
    with pytest.raises(UserError, match="finite with at least 4 samples"):
        tsne(points, random_state=0)


def test_sample_is_all_or_a_seeded_choice() -> None:
    assert np.array_equal(sample(10, 0), np.arange(10))
    chosen = sample(20_000, 1)
    assert len(np.unique(chosen)) == len(chosen) == 5000
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, sample(20_000, 1))
    assert not np.array_equal(chosen, sample(20_000, 2))


def test_map_names_clusters_by_their_class_among_their_points(mapped: np.ndarray) -> None:
    _, y = blobs()
    figure = maps.plot(mapped, y, (y + 1) % 3)
    assert printed(figure) == ["0", "1", "2"] * 2
    for axes in figure.axes:
        for text in axes.texts:
            at = np.asarray(text.get_position())
            assert y[np.linalg.norm(mapped - at, axis=1).argmin()] == int(text.get_text())


def test_map_of_unlabelled_data_shows_clusters_alone(mapped: np.ndarray) -> None:
    figure = maps.plot(mapped, None, blobs()[1] + 5)
    assert len(figure.axes) == 1
    assert printed(figure) == ["5", "6", "7"]


def test_twenty_classes_differ_in_colour_or_marker(mapped: np.ndarray) -> None:
    figure = maps.plot(mapped, None, np.arange(120) % 20)
    shapes = {
        (np.asarray(collection.get_paths()[0].vertices).tobytes(), tuple(colour))
        for collection in figure.axes[0].collections
        for colour in np.unique(np.asarray(collection.get_facecolor()), axis=0)
    }
    assert len(shapes) == 20
    assert len({colour for _, colour in shapes}) == 20


@pytest.mark.parametrize("stretch", [[1, 1], [2, 1], [1, 1.25]])
@pytest.mark.parametrize("panels", [1, 2])
def test_maps_fill_most_of_their_figure(mapped: np.ndarray, stretch: list[float], panels: int) -> None:
    y = blobs()[1]
    unit = (mapped - mapped.min(axis=0)) / np.ptp(mapped, axis=0)
    figure = maps.plot(unit * stretch, y if panels == 2 else None, y)
    figure.draw_without_rendering()
    area = sum(axes.get_position().width * axes.get_position().height for axes in figure.axes)
    assert area > 0.55


def test_maps_before_and_after_colour_and_name_the_same_samples_by_class(mapped: np.ndarray) -> None:
    _, y = blobs()
    after = mapped[:, ::-1] * [3, 1]
    figure = maps.plot_before_after(mapped, after, y)
    assert [axes.get_title() for axes in figure.axes] == ["before clustering", "after clustering"]
    assert printed(figure) == ["0", "1", "2"] * 2
    left, right = (axes.collections[0] for axes in figure.axes)
    assert np.allclose(left.get_offsets(), mapped)
    assert np.allclose(right.get_offsets(), after)
    assert np.array_equal(np.asarray(left.get_facecolor()), np.asarray(right.get_facecolor()))


def test_sample_of_classes_is_at_most_a_hundred_of_each_in_the_order_of_the_classes() -> None:
    y = np.random.default_rng(0).permutation(np.repeat([4, 0, 2], [30, 100, 500]))
    chosen = cosine.sample_of_classes(y, 1)
    assert y[chosen].tolist() == [0] * 100 + [2] * 100 + [4] * 30
    assert len(np.unique(chosen)) == 230
    assert np.array_equal(chosen, cosine.sample_of_classes(y, 1))
    assert not np.array_equal(chosen, cosine.sample_of_classes(y, 2))


def test_confusion_prints_the_shares_of_each_class() -> None:
    y = np.repeat([0, 1], [10, 5])
    labels = np.array([7] * 8 + [3] * 2 + [3] * 5)
    assert np.allclose(shares(confusion.plot(y, labels)), [[80, 20], [0, 100]])
    assert printed(confusion.plot(y, labels)) == ["80", "20", "100"]


@pytest.mark.parametrize(("classes", "clusters"), [(3, 5), (5, 3), (4, 1), (1, 4), (30, 25)])
def test_confusion_takes_any_number_of_classes_and_clusters(classes: int, clusters: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    figure = confusion.plot(rng.integers(classes, size=900), rng.integers(clusters, size=900))
    assert shares(figure).shape == (classes, clusters)
    save_png(figure, f"{tmp_path}/confusion.png")


def named_tiles(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """Return the name and the pixels of each image of a grid, in reading order."""
    (axes,) = figure.axes
    title, *names = printed(figure)
    assert title == "title"
    return list(zip(names, [np.asarray(image.get_array()) for image in axes.images], strict=True))


def test_centers_are_named_by_most_of_their_members_in_the_order_of_classes() -> None:
    y = np.repeat([0, 1, 2], [6, 6, 4])
    labels = np.array([3] * 5 + [0] * 7 + [1] * 4)  # cluster 2 has no member
    images = np.arange(4 * 6).reshape(4, 6) / 30
    drawn = named_tiles(centers.plot(images, (1, 2, 3), y, labels, "title"))
    assert [name for name, _ in drawn] == ["0", "1", "2", "empty"]
    for (_, pixels), cluster in zip(drawn, [3, 0, 1, 2], strict=True):
        assert np.allclose(pixels, images[cluster].reshape(2, 3))


def test_a_duplicated_centre_stands_beside_its_like_and_points_to_the_class_it_is_matched_to() -> None:
    y = np.repeat([0, 1, 2], [10, 5, 6])
    labels = np.array([2] * 4 + [0] * 6 + [1] * 11)  # classes 1 and 2 share a cluster, class 0 has two
    drawn = named_tiles(centers.plot(np.eye(3, 4), (1, 2, 2), y, labels, "title"))
    assert [name for name, _ in drawn] == ["0", "0\N{RIGHTWARDS ARROW}1", "2"]
    assert [int(pixels.argmax()) for _, pixels in drawn] == [0, 2, 1]


def test_clusters_beyond_the_classes_bear_the_class_of_most_alone() -> None:
    drawn = named_tiles(centers.plot(np.zeros((4, 4)), (1, 2, 2), np.repeat([0, 1], 6), np.arange(12) // 3, "title"))
    assert [name for name, _ in drawn] == ["0", "0", "1", "1"]


def test_three_channels_are_colours_and_values_are_clipped() -> None:
    images = np.random.default_rng(0).normal(size=(2, 3 * 4 * 5))
    y = np.arange(8) % 2
    for (_, pixels), image in zip(named_tiles(centers.plot(images, (3, 4, 5), y, y, "title")), images, strict=True):
        assert pixels.shape == (4, 5, 3)
        assert np.allclose(pixels[..., 1], np.clip(image, 0, 1).reshape(3, 4, 5)[1])


@pytest.mark.parametrize("k", [1, 2, 5, 6, 23, 100])
def test_centers_of_any_number_are_square_inside_the_figure_and_apart(k: int) -> None:
    labels = np.arange(200) % k
    figure = centers.plot(np.zeros((k, 64)), (1, 8, 8), labels, labels, "title")
    (axes,) = figure.axes
    figure.canvas.draw()
    boxes = [image.get_window_extent() for image in axes.images]
    assert len(boxes) == k
    assert all(box.width == pytest.approx(box.height) for box in boxes)
    every = [*boxes, *(text.get_window_extent() for text in axes.texts)]
    assert all(figure.bbox.containsx(x) for box in every for x in box.intervalx)
    assert all(figure.bbox.containsy(y) for box in every for y in box.intervaly)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(every, 2))


def test_curves_show_every_seed_and_term_once() -> None:
    figure = curves.plot({0: trace(0), 1: trace(1)})
    assert [len(axes.lines) for axes in figure.axes] == [4, 4, 0, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["loss", "reconstruction", "kl"]
    assert [axes.get_yscale() for axes in figure.axes[:2]] == ["linear", "log"]
    assert np.allclose(figure.axes[3].lines[0].get_ydata(), np.linspace(20, 0, 8))


def test_curves_without_label_changes_have_no_axes_for_them() -> None:
    assert len(curves.plot({0: trace(0).drop(columns="label_change")}).axes) == 2


def test_a_single_epoch_is_visible() -> None:
    (axes,) = curves.plot({0: trace(0).iloc[:1, :3]}).axes
    assert axes.lines[0].get_marker() == "."


def test_curves_stop_where_the_last_row_has_no_loss() -> None:
    (axes,) = curves.plot({0: alternating()}).axes
    assert [along(line)[0] for line in axes.lines] == [[0, 1, 2]]


@pytest.mark.parametrize("traces", [{}, {0: trace(0).iloc[:0]}, {0: alternating().iloc[3:]}])
def test_curves_of_no_epoch_are_refused(traces: dict[int, pd.DataFrame]) -> None:
    with pytest.raises(UserError, match=f"at least one epoch, got none in {len(traces)} seeds"):
        curves.plot(traces)


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_criteria_have_their_means_a_ring_at_their_own_choice_and_a_line_at_the_choice_of_all(n_seeds: int) -> None:
    values = np.random.default_rng(0).random((4, n_seeds))
    places = {"n_clusters": np.repeat([2, 3, 4, 5], n_seeds), "seed": np.tile(range(n_seeds), 4)}
    table = pd.DataFrame(places | {"silhouette": values.ravel(), "modularity": 1 - values.ravel(), "stability": np.nan})
    figure = _criteria.plot(table, {"silhouette": 4, "modularity": 2}, 3)
    assert [axes.get_title("left") for axes in figure.axes] == ["Silhouette", "Modularity"]
    for axes, means, own in zip(figure.axes, (values.mean(axis=1), 1 - values.mean(axis=1)), (4, 2), strict=True):
        chosen, *dots, line, ring = axes.get_lines()
        assert np.array_equal(chosen.get_xdata(), [3, 3])
        assert len(dots) == (n_seeds > 1)
        assert np.array_equal(line.get_xdata(), [2, 3, 4, 5])
        assert np.allclose(line.get_ydata(), means)
        assert np.array_equal(ring.get_xdata(), [own])
        assert np.allclose(ring.get_ydata(), means[own - 2])


def test_half_steps_alternate_and_go_on_from_the_z_step_where_a_theta_step_was_undone() -> None:
    line, undone = _half_steps.plot({"hybrid": alternating()}).axes[0].lines
    assert along(line)[0] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert along(line)[1] == [8, 7, 6, 6, 5, 4, 3]
    assert (undone.get_marker(), along(undone)[0], along(undone)[1]) == ("x", [1.5], [60])


def test_half_steps_of_seeds_share_their_series_colour_and_name() -> None:
    seeds = pd.concat([alternating().assign(seed=seed) for seed in range(3)])
    figure = _half_steps.plot({"hybrid": seeds, "hybrid_literal": alternating()})
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert [len(along(line)[0]) for line in lines] == [7] * 4
    assert [line.get_color() == lines[0].get_color() for line in lines] == [True, True, True, False]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["hybrid", "hybrid_literal", "after a Z-step", "theta-step undone"]


def test_half_steps_have_a_log_axis_where_the_range_demands_it_and_no_cross_where_none_was_undone() -> None:
    trace = alternating()
    assert _half_steps.plot({"a": trace}).axes[0].get_yscale() == "linear"
    assert _half_steps.plot({"a": trace, "b": trace.assign(z_objective=500.0)}).axes[0].get_yscale() == "log"
    figure = _half_steps.plot({"a": trace.assign(accepted=True)})
    assert along(figure.axes[0].lines[0])[1] == [8, 7, 6, 60, 5, 4, 3]
    assert "theta-step undone" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_thirty_two_series_differ_in_colour_or_dash() -> None:
    figure = scale_and_rank.plot({f"alpha={i}": alternating() for i in range(_series.SERIES)})
    lines = figure.axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == _series.SERIES


def test_scale_and_rank_stand_one_above_the_other() -> None:
    scale, rank = scale_and_rank.plot({"a": alternating()}).axes
    assert (scale.get_yscale(), rank.get_yscale(), rank.get_ylim()[0]) == ("log", "linear", 0)
    assert along(scale.lines[0])[1] == [10, 8, 8, 5]
    assert along(rank.lines[0])[1] == [9, 8, 8, 6]


def test_a_scale_that_is_held_is_a_level_line_and_one_of_zero_is_left_out() -> None:
    held, collapsed = (alternating().assign(code_scale=value) for value in ([10, 10 + 1e-6, 10 - 1e-6, 10], 0.0))
    low, high = scale_and_rank.plot({"a": held, "b": collapsed}).axes[0].get_ylim()
    assert high / low == pytest.approx(10)
    assert low < 10 < high


def test_convergence_has_a_panel_for_each_measure_recorded() -> None:
    figure = convergence.plot({"seed 0": admm(), "seed 1": admm(50)})
    residual, clustering, change = figure.axes
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "symlog"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2]
    assert along(residual.lines[1])[0] == list(range(50))
    assert along(residual.lines[1])[1] == pytest.approx(2 * np.exp(-np.arange(50) / 15))
    assert along(change.lines[0])[0][0] == 1  # no change is known of the first epoch
    assert along(change.lines[0])[1][:2] == pytest.approx([20, 10])
    assert clustering.get_ylabel() == "clustering cost of Y"
    assert change.get_ylim()[0] == 0


def test_convergence_leaves_out_what_is_not_recorded_and_keeps_cosines_below_zero() -> None:
    cosines = admm().assign(largest_cosine=np.linspace(0.9, -0.1, 100), primal_residual=np.nan)
    change, cosine = convergence.plot({"seed 0": cosines.drop(columns="clustering")}).axes
    assert [axes.get_yscale() for axes in (change, cosine)] == ["symlog", "linear"]
    assert cosine.get_ylim()[0] < -0.1


def test_a_residual_that_starts_at_zero_is_on_a_log_axis_without_that_point() -> None:
    trace = admm()
    trace.loc[0, "primal_residual"] = 0.0
    axes = convergence.plot({"seed 0": trace}).axes[0]
    assert axes.get_yscale() == "log"
    assert 0.1 * trace["primal_residual"][99] < axes.get_ylim()[0] <= trace["primal_residual"][99]
    with np.errstate(divide="ignore"):
        height = axes.lines[0].get_transform().transform([(0, 0.0)])[0, 1]
    assert not np.isfinite(height)  # masked, where clipped would be a line down to the axis


def test_lines_of_equally_many_alive_clusters_lie_apart_by_less_than_a_cluster() -> None:
    trace = pd.DataFrame({"epoch": range(4), "alive": [9, 9, 8, 8]})
    figure = alive.plot({f"seed {seed}": trace for seed in range(5)}, 10)
    (axes,) = figure.axes
    *lines, top = axes.lines
    assert along(top)[1] == [10, 10]
    assert printed(figure) == ["K = 10"]
    assert [along(line)[1] for line in lines] == [[9, 9, 8, 8]] * 5
    to_data = axes.transData.inverted()
    heights = [to_data.transform(line.get_transform().transform((0, 9)))[1] for line in lines]
    assert (np.diff(heights) > 0.05).all()
    assert heights[-1] - heights[0] < 0.5
    low, high = axes.get_xlim()
    assert low <= 0 < 3 <= high < 4


def test_gaps_are_of_the_first_z_step_and_means_over_seeds_in_order_of_the_budget() -> None:
    rows = [("fista", "200", 0, 0.1), ("fista", "200", 0, 9.0), ("fista", "10", 0, 1.0), ("fista", "200", 1, 0.3)]
    traces = pd.DataFrame([*rows, ("admm", "10", 0, 0.0)], columns=["solver", "solver_iterations", "seed", "z_gap"])
    fista, admm, paper = gaps.plot(traces).axes[0].lines
    assert along(fista)[0] == [10, 200]
    assert along(fista)[1] == pytest.approx([1.0, 0.2])
    assert along(admm)[1][0] > 0
    assert along(paper)[0] == [50, 50]


def test_the_candidate_of_largest_modularity_is_ringed_whatever_its_accuracy() -> None:
    table = pd.DataFrame({"modularity": [0.80, 0.85, 0.85, 0.7], "normalized_cut": [0.5, 0.4, 0.4, 0.6]})
    figure = candidates.plot(table, [0.6, 0.8, 0.9, 0.95])
    dots, ring = figure.axes[0].collections
    assert np.allclose(dots.get_offsets(), np.c_[table["modularity"], [60, 80, 90, 95]])
    assert np.allclose(np.asarray(dots.get_array()), table["normalized_cut"])
    assert np.allclose(ring.get_offsets(), [[0.85, 80]])
    assert ring.get_label() == "chosen: modularity 0.8500, ACC 80.0 %"


def test_affinity_puts_classes_together_and_states_the_weight_between_them() -> None:
    y = np.array([1, 0, 1, 0])
    within = sp.csr_matrix(([3.0, 2.0], ([0, 1], [2, 3])), shape=(4, 4))
    across = sp.csr_matrix(([1.0, 3.0], ([0, 0], [1, 2])), shape=(4, 4))
    left, right = affinity.plot(across, within, y).axes[:2]
    assert "25.00 % between classes" in left.get_title()
    assert "0.00 % between classes" in right.get_title()
    # an even spread over the 16 pairs is 1; the order is samples 1, 3, 0, 2
    drawn = np.ma.filled(np.asarray(right.images[0].get_array()), np.nan)
    expected = np.full((4, 4), np.nan)
    expected[0, 1], expected[2, 3] = 16 * 2 / 5, 16 * 3 / 5
    assert np.allclose(drawn, expected, equal_nan=True)
    assert [label.get_text() for label in right.get_xticklabels()] == ["0", "1"]


@pytest.mark.parametrize("density", [0.0, 1e-4])
def test_affinity_of_any_size_is_binned_and_may_be_empty(density: float, tmp_path: Path) -> None:
    n = 1003
    rng = np.random.default_rng(0)
    count = int(density * n * n)
    Z = sp.csr_matrix((rng.random(count), rng.integers(n, size=(2, count))), shape=(n, n))
    figure = affinity.plot(sp.csr_matrix((n, n)), Z, np.arange(n) % 25)
    assert [np.asarray(axes.images[0].get_array()).shape for axes in figure.axes[:2]] == [(200, 200)] * 2
    assert "no weight" in figure.axes[0].get_title()
    assert len(figure.axes[0].get_xticklabels()) <= 10
    save_png(figure, f"{tmp_path}/affinity.png")


def test_binned_densities_average_to_one() -> None:
    rng = np.random.default_rng(0)
    Z = sp.csr_matrix(rng.random((700, 700)))
    drawn = np.asarray(affinity.plot(Z, Z, rng.integers(3, size=700)).axes[0].images[0].get_array())
    share = np.bincount(np.arange(700) * 200 // 700) / 700
    assert share @ drawn @ share == pytest.approx(1)


def test_cosines_are_in_the_order_of_classes_with_their_means_over_other_samples() -> None:
    y = np.array([1, 0, 1, 0])
    after = np.array([[0.0, 2.0], [3.0, 0.0], [0.0, 1.0], [5.0, 0.0]])
    before = np.array([[1.0], [1.0], [1.0], [-1.0]])
    left, right = cosine.plot(before, after, y).axes[:2]
    assert np.allclose(np.asarray(right.images[0].get_array()), np.kron(np.eye(2), np.ones((2, 2))))
    assert np.allclose(np.asarray(left.images[0].get_array()), np.outer([1, -1, 1, 1], [1, -1, 1, 1]))
    assert left.images[0].get_clim() == right.images[0].get_clim() == (-1, 1)
    assert right.get_title().splitlines() == ["after clustering", "within classes 1.00", "between classes 0.00"]
    assert left.get_title().splitlines()[1:] == ["within classes 0.00", "between classes 0.00"]
    assert [label.get_text() for label in right.get_xticklabels()] == ["0", "1"]


def test_a_block_of_cosines_is_their_mean() -> None:
    rng = np.random.default_rng(0)
    codes, y = rng.normal(size=(600, 5)), np.arange(600) // 100
    figure = cosine.plot(codes, -codes, y)
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    expected = (unit @ unit.T).reshape(200, 3, 200, 3).mean(axis=(1, 3))
    for axes in figure.axes[:2]:
        assert np.allclose(np.asarray(axes.images[0].get_array()), expected)
    within = unit.reshape(6, 100, 5) @ unit.reshape(6, 100, 5).transpose(0, 2, 1)
    mean = (within.sum() - 600) / (6 * 100 * 99)
    assert f"within classes {mean:.2f}".replace("-", "\N{MINUS SIGN}") in figure.axes[0].get_title()


@pytest.mark.parametrize("y", [np.arange(4), np.zeros(4, dtype=int)], ids=["a class each", "one class"])
def test_cosines_of_collapsed_codes_and_of_classes_without_pairs_are_drawn(y: np.ndarray, tmp_path: Path) -> None:
    figure = cosine.plot(np.zeros((4, 3)), np.ones((4, 2)), y)
    assert (np.asarray(figure.axes[0].images[0].get_array()) == 0).all()
    assert figure.axes[1].get_title().count("no pairs") == 1
    save(figure, tmp_path / "cosine")


def test_singular_values_are_pairs_with_their_means_and_an_empty_cluster_has_none() -> None:
    table = pd.DataFrame({"cluster": [0, 1, 2], "n": [5, 0, 7], "before": [60, np.nan, 50], "after": [20, np.nan, 40]})
    figure = singular_values.plot(table)
    before_mean, before, after_mean, after = figure.axes[0].lines
    assert [along(line)[1][0] for line in (before_mean, after_mean)] == [55, 30]
    for line, name in ((before, "before"), (after, "after")):
        assert np.allclose(np.asarray(line.get_ydata()), table[name], equal_nan=True)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["before fusion, mean 55.0 %", "after fusion, mean 30.0 %"]


def slow_exemplars(burn_in: int = 3) -> pd.DataFrame:
    """Return a trace of PC-X as the stages read it: two epochs of warm-up, five of clustering."""
    warm_up = pd.DataFrame({"phase": "warm_up", "epoch": range(2), "loss": 1.0, "loss_reconstruction": 1.0})
    cluster = pd.DataFrame({"phase": "cluster", "epoch": range(5), "loss_reconstruction": np.linspace(0.5, 0.1, 5)})
    cluster["loss_clustering"] = 1e-4
    cluster["loss_entropy"] = np.where(np.arange(5) < burn_in, 0, 1e-6)
    return pd.concat([warm_up, cluster.assign(certainty=[1, 0.9, 0.8, 0.9, 0.95])], ignore_index=True)


def test_certainty_and_both_losses_are_lines_over_the_epochs_of_clustering_with_one_at_the_burn_ins_end() -> None:
    figure = certainty.plot({"seed 0": slow_exemplars(), "seed 1": slow_exemplars()})
    for axes, column in zip(figure.axes, ("loss_reconstruction", "loss_clustering", "certainty"), strict=True):
        *seeds, burn_in = axes.lines
        assert [along(line) for line in seeds] == [([*range(5)], slow_exemplars()[column].iloc[2:].tolist())] * 2
        assert along(burn_in)[0] == [2.5, 2.5]
    assert printed(figure) == ["burn-in"]
    assert certainty.CAPTION in figure.axes[-1].get_xlabel()


@pytest.mark.parametrize("burn_in", [0, 5])
def test_without_a_burn_in_that_ends_there_is_no_line_for_it(burn_in: int) -> None:
    figure = certainty.plot({"seed 0": slow_exemplars(burn_in)})
    assert [len(axes.lines) for axes in figure.axes] == [1, 1, 1]
    assert printed(figure) == []


@pytest.mark.parametrize("alive", [0, 1])
def test_singular_values_keep_the_places_of_clusters_that_have_none(alive: int, tmp_path: Path) -> None:
    values = np.where(np.arange(10) < alive, 97.0, np.nan)
    figure = singular_values.plot(pd.DataFrame({"cluster": range(10), "before": values, "after": values}))
    low, high = figure.axes[0].get_xlim()
    assert low < 0 < 9 < high
    save_png(figure, f"{tmp_path}/singular_values.png")


def test_a_sweep_of_one_setting_is_a_line_of_means_with_a_dot_a_seed() -> None:
    figure = _metric.plot(points({"alpha": ["0", "0.1", "9"]}, {0: [0.5, 0.6, np.nan], 1: [0.7, 0.6, np.nan]}), "acc")
    means, dots = figure.axes[0].lines
    assert np.allclose(np.asarray(means.get_ydata()), [60, 60, np.nan], equal_nan=True)
    assert sorted(zip(*along(dots), strict=True))[:2] == [(0, 50), (0, 70)]
    assert printed(figure) == ["60.0", "60.0", "failed"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "0.1", "9"]


def test_a_sweep_without_an_effect_does_not_look_like_one() -> None:
    [axes] = _metric.plot(points({"alpha": ["0", "1"]}, {0: [0.500, 0.501]}), "acc").axes
    low, high = axes.get_ylim()
    assert low < 47.6 < 52.5 < high
    grid = {"alpha": ["0", "1"], "beta": ["0", "1"]}
    [axes, _] = _metric.plot(points(grid, {0: [0.500, 0.501, 0.502, 0.503]}), "acc").axes
    assert np.ptp(axes.images[0].get_clim()) == pytest.approx(5)


def test_a_sweep_of_two_settings_is_a_map_with_the_first_downwards() -> None:
    grid = {"alpha": ["1", "2"], "code": ["plain", "unit", "whitened"]}
    figure = _metric.plot(points(grid, {0: [0.1, 0.2, 0.3, 0.4, np.nan, 0.6]}), "acc")
    assert np.allclose(shares(figure), np.array([[10, 20, 30], [40, np.nan, 60]]), equal_nan=True)
    assert printed(figure) == ["10.0", "20.0", "30.0", "40.0", "failed", "60.0"]
    labels = [
        [label.get_text() for label in ticks()]
        for ticks in (figure.axes[0].get_yticklabels, figure.axes[0].get_xticklabels)
    ]
    assert labels == list(grid.values())


def test_a_sweep_of_three_settings_has_a_map_for_each_value_of_the_third() -> None:
    grid = {"alpha": ["1", "2"], "beta": ["3", "4", "5"], "gamma": ["6", "7"]}
    figure = _metric.plot(points(grid, {0: [i / 100 for i in range(12)]}), "acc")
    maps = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in maps] == ["gamma = 6", "gamma = 7"]
    assert np.allclose(np.asarray(maps[0].images[0].get_array()), [[0, 2, 4], [6, 8, 10]])
    assert np.allclose(np.asarray(maps[1].images[0].get_array()), [[1, 3, 5], [7, 9, 11]])
    assert maps[0].images[0].get_clim() == maps[1].images[0].get_clim() == (0, 11)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (5, 4), (2, 9, 3), (3, 3, 7)])
def test_sweeps_of_any_shape_are_drawn_even_if_nothing_finished(shape: tuple[int, ...], tmp_path: Path) -> None:
    grid = {f"setting_{i}": [f"value_{j}" for j in range(n)] for i, n in enumerate(shape)}
    save(_metric.plot(points(grid, {0: [np.nan] * int(np.prod(shape))}), "acc"), tmp_path / "sweep")


def test_bars_stand_for_means_and_marks_for_papers(summary: pd.DataFrame, reported: pd.DataFrame) -> None:
    figure = accuracy.plot(summary, reported, "usps")
    axes = figure.axes[0]
    assert [bar.get_extents().transformed(axes.transData.inverted()).width for bar in axes.patches] == pytest.approx(
        [91, 75, 0, 0]
    )
    assert printed(figure) == ["failed", "skipped"]
    marks = {line.get_label(): np.asarray(line.get_xdata()) for line in axes.lines}
    assert set(marks) >= {"reported, Hybrid", "reported, DECS", "reported, ULHE-DC"}
    assert sorted(marks["reported, Hybrid"]) == [76.9, 95.0, 96.66, 97.1]
    assert not any("PC-X" in str(label) for label in marks)


def test_bars_of_an_unknown_dataset_are_refused(summary: pd.DataFrame, reported: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="one of usps, toy, got 'mnist'"):
        accuracy.plot(summary, reported, "mnist")


def cell(folder: Path, traces: Mapping[int, pd.DataFrame] | None = None) -> Cell:
    """Return a cell whose seed left its labels and no more, which are those of the blobs."""
    X, y = blobs()
    write_array(folder / "labels.npy", y)
    return Cell("toy", "kmeans", X, y, None, 3, 0, folder, traces or {})


def test_saved_files_are_the_same_bytes_whatever_the_users_settings(tmp_path: Path) -> None:
    run, drawn = cell(tmp_path / "run", {0: trace(0)}), []
    for size, colour in ((10, "white"), (20, "red")):
        with matplotlib.rc_context({"font.size": size, "savefig.dpi": 30, "axes.facecolor": colour}):
            folder = tmp_path / colour
            assert set(figures.draw("cell", run, folder, folder)) == {"confusion", "curves", "tsne"}
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {f"{name}.{kind}" for name in ("confusion", "curves", "tsne") for kind in ("pdf", "png")}
    for content in drawn[0].values():
        assert not any(word in content for word in (b"matplotlib", b"Matplotlib", b"CreationDate"))


def test_new_processes_save_the_same_bytes_whatever_the_users_own_matplotlib(
    tmp_path: Path, summary: pd.DataFrame, reported: pd.DataFrame
) -> None:
    """A notebook exports its backend, which is not installed here; a file of settings may not even be text."""
    code = """
import os
import pandas as pd
from pathlib import Path
from deepclust.reporting import figures
from deepclust.reporting.finished import Grid
before = dict(os.environ)
run = Grid("usps", Path(), pd.read_csv("summary.csv").fillna({"reason": ""}), pd.read_csv("reported.csv"))
figures.draw("grid", run, Path("found"), Path("found"))
assert dict(os.environ) == before
"""
    drawn = figures.draw("grid", Grid("usps", tmp_path, summary, reported), tmp_path / "here", tmp_path / "here")
    assert list(drawn) == ["accuracy_usps"]
    expected = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert sorted(expected) == ["accuracy_usps.pdf", "accuracy_usps.png"]
    assert len(expected["accuracy_usps.pdf"]) < 200_000  # of its fonts, the letters in use alone
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "matplotlibrc").write_bytes(b"font.size: 30\nbackend: none\n\xff")
    for fonts in Path(matplotlib.get_cachedir()).glob("fontlist-*"):  # else a process takes seconds to find the fonts
        shutil.copy(fonts, theirs)
    summary.to_csv(tmp_path / "summary.csv", index=False)
    reported.to_csv(tmp_path / "reported.csv", index=False)
    backend = "module://matplotlib_inline.backend_inline"
    for variables in (
        {"MPLBACKEND": backend, "MPLCONFIGDIR": str(theirs), "PYTHONHASHSEED": "7"},
        {"MATPLOTLIBRC": str(theirs), "SOURCE_DATE_EPOCH": "1", "PYTHONHASHSEED": "8"},
    ):
        environment = {"PYTHONPATH": SOURCE} | variables
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "matplotlibrc" not in done.stderr
        assert {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()} == expected, variables
        shutil.rmtree(tmp_path / "found")


MADE = """
from matplotlib.figure import Figure
from deepclust.reporting.finished import Needs

NEEDS = Needs({needs})


def draw(run):
    figure = Figure()
    figure.text(0.5, 0.5, run.title)
    return figure if {when} else None
"""


@pytest.mark.usefixtures("unrendered")
def test_a_figure_is_a_file_dropped_in_and_drawn_where_its_needs_are_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = importlib.import_module("deepclust.reporting.figures.cell")
    folder = tmp_path / "dropped"
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    made = {
        "made_plain": ("", True),
        "made_of_classes": ("classes=True", True),
        "made_of_a_file": ('files=("absent.npy",)', True),
        "made_of_a_column": ('columns=frozenset({"absent"})', True),
        "made_of_nothing": ("", False),
        "_shared": ("", True),
    }
    for name, (needs, when) in made.items():
        write_text(folder / f"{name}.py", MADE.format(needs=needs, when=when))
    importlib.invalidate_caches()
    names = {f"{package.__name__}.{name}" for name in made}
    assert names - set(figures.modules("cell")) == {f"{package.__name__}._shared"}
    assert {*made} - dict(figures.of("cell")).keys() == {"_shared"}
    drawn = figures.draw("cell", cell(tmp_path / "run"), tmp_path / "images", tmp_path / "pages")
    assert set(drawn) == {"confusion", "tsne", "made_plain", "made_of_classes"}
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == sorted(f"{stem}.png" for stem in drawn)
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == sorted(f"{stem}.pdf" for stem in drawn)
    without = replace(cell(tmp_path / "run"), y=None)
    assert "made_of_classes" not in figures.draw("cell", without, tmp_path / "images", tmp_path / "pages")
    for name in figures.modules("cell"):
        if "made" in name:
            sys.modules.pop(name)


def test_every_public_file_is_a_figure_that_says_what_it_needs() -> None:
    root = Path(figures.__file__).parent
    files = [path for path in root.glob("*/*.py") if not path.name.startswith("_")]
    names = {f"deepclust.reporting.figures.{path.parent.name}.{path.stem}" for path in files}
    assert set(figures.modules()) == names
    assert {*figures.modules("cell"), *figures.modules("sweep", "grid")} == names
    for kind in figures.KINDS:
        for _, module in figures.of(kind):
            assert isinstance(module.NEEDS, Needs)
            assert callable(module.draw)
            assert kind == "cell" or isinstance(module.CAPTION, str)


def test_where_no_figure_can_be_drawn_the_folders_are_there_all_the_same(tmp_path: Path) -> None:
    run = replace(cell(tmp_path / "run"), y=None, X=np.zeros((3, 2)))
    assert figures.draw("cell", run, tmp_path / "images", tmp_path / "pages") == {}
    assert list((tmp_path / "images").iterdir()) == list((tmp_path / "pages").iterdir()) == []


@pytest.mark.usefixtures("unrendered")
def test_a_sweep_over_solvers_has_gaps_instead_of_half_steps_and_many_points_have_neither(tmp_path: Path) -> None:
    results = points({"alpha": ["1", "2"]}, {0: [0.1, 0.2]})
    traces = {f"alpha={i}": alternating() for i in range(_series.SERIES + 1)}
    few = dict(list(traces.items())[:2])
    solvers = {
        point: trace.assign(solver="fista", solver_iterations=10, z_gap=0.1, seed=0) for point, trace in few.items()
    }
    for of_points, expected in (
        (few, {"half_steps", "scale_and_rank"}),
        (solvers, {"gaps", "scale_and_rank"}),
        (traces, set()),
        (few | {"alpha=9": pd.DataFrame({"epoch": [0]})}, set()),
    ):
        drawn = figures.draw("sweep", Sweep("title", results, of_points), tmp_path, tmp_path)
        assert set(drawn) == {"acc", "nmi"} | expected


def test_figures_are_one_column_wide_and_small_on_disk(mapped: np.ndarray, tmp_path: Path) -> None:
    _, y = blobs()
    alternated = {f"alpha={i}": alternating() for i in range(20)}
    rng = np.random.default_rng(0)
    places = rng.integers(200, size=(2, 20_000)) + 200 * rng.integers(10, size=20_000)  # ten classes of 200
    W = sp.csr_matrix((rng.random(20_000), places), shape=(2000, 2000))
    table = pd.DataFrame({"modularity": rng.random(20), "normalized_cut": rng.random(20)})
    shares = pd.DataFrame(
        {"cluster": range(100), "before": rng.uniform(40, 60, 100), "after": rng.uniform(20, 40, 100)}
    )
    codes, of_class = rng.normal(size=(1000, 10)), np.arange(1000) // 100
    seeds = {f"seed {seed}": admm().assign(alive=100 - seed, largest_cosine=0.5) for seed in range(5)}
    of_solvers = alternating().assign(solver="fista", solver_iterations=10, seed=0, z_gap=0.1)
    judged = pd.DataFrame({"n_clusters": [2, 3], "seed": 0, "silhouette": [0.1, 0.2], "modularity": [0.3, 0.4]})
    drawn = {
        "criteria": _criteria.plot(judged, {"silhouette": 3, "modularity": 3}, 3),
        "gaps": gaps.plot(of_solvers, "title"),
        "centers": centers.plot(
            rng.random((100, 784)), (1, 28, 28), np.arange(500) % 10, np.arange(500) % 100, "title"
        ),
        "before_after": maps.plot_before_after(mapped, mapped, y),
        "cosine": cosine.plot(codes, codes + 2 * np.eye(10)[of_class], of_class, "title"),
        "singular_values": singular_values.plot(shares, "title"),
        "convergence": convergence.plot(seeds, "title"),
        "alive": alive.plot(seeds, 100, "title"),
        "certainty": certainty.plot({f"seed {seed}": slow_exemplars() for seed in range(5)}, "title"),
        "map": maps.plot(mapped, y, y),
        "confusion": confusion.plot(y, y),
        "curves": curves.plot({0: trace(0)}),
        "half_steps": _half_steps.plot(alternated, "title"),
        "scale_and_rank": scale_and_rank.plot(alternated, "title"),
        "affinity": affinity.plot(W, W, np.arange(2000) // 200, "title"),
        "candidates": candidates.plot(table, [0.5] * 20, "title"),
        "sweep": _metric.plot(
            points({"alpha": ["1", "2"], "beta": ["3", "4"]}, {0: [0.1, 0.2, 0.3, 0.4]}), "acc", "title"
        ),
    }
    for name, figure in drawn.items():
        much = name in {"centers", "cosine", "affinity", "map", "half_steps"}  # in it, so that its page counts, too
        (save if much else lambda figure, stem: save_png(figure, f"{stem}.png"))(figure, tmp_path / name)
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width == 680
        noisiest = 300_000 if name in {"centers", "cosine"} else 200_000  # images of noise, which no run draws
        assert (tmp_path / f"{name}.png").stat().st_size < noisiest
        assert not much or (tmp_path / f"{name}.pdf").stat().st_size < noisiest


def test_reporting_and_metrics_import_neither_torch_nor_pyplot_nor_tsne() -> None:
    code = (
        "import sys, deepclust.metrics, deepclust.reporting.readme; from deepclust.reporting import figures; "
        "[module for kind in figures.KINDS for module in figures.of(kind)]; "
        "print(sorted({'torch', 'torchvision', 'openTSNE', 'sklearn', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONPATH": SOURCE})
    assert out.stdout.decode().strip() == "[]"
