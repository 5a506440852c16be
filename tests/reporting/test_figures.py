"""Figures: the same bytes from run to run, what they show read back from their artists, hostile inputs survived."""

import io
import itertools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deepclust.errors import UserError
from deepclust.reporting import figures
from deepclust.reporting.figures import (
    accuracy_bars,
    affinity,
    candidates,
    confusion,
    curves,
    gaps,
    half_steps,
    sample,
    save,
    scale_and_rank,
    sweep,
    tsne,
    tsne_map,
)


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
    figure = tsne_map(mapped, y, (y + 1) % 3)
    assert printed(figure) == ["0", "1", "2"] * 2
    for axes in figure.axes:
        for text in axes.texts:
            at = np.asarray(text.get_position())
            assert y[np.linalg.norm(mapped - at, axis=1).argmin()] == int(text.get_text())


def test_map_of_unlabelled_data_shows_clusters_alone(mapped: np.ndarray) -> None:
    figure = tsne_map(mapped, None, blobs()[1] + 5)
    assert len(figure.axes) == 1
    assert printed(figure) == ["5", "6", "7"]


def test_twenty_classes_differ_in_colour_or_marker(mapped: np.ndarray) -> None:
    figure = tsne_map(mapped, None, np.arange(120) % 20)
    shapes = {
        (np.asarray(collection.get_paths()[0].vertices).tobytes(), tuple(colour))
        for collection in figure.axes[0].collections
        for colour in np.unique(np.asarray(collection.get_facecolor()), axis=0)
    }
    assert len(shapes) == 20


def test_confusion_prints_the_shares_of_each_class() -> None:
    y = np.repeat([0, 1], [10, 5])
    labels = np.array([7] * 8 + [3] * 2 + [3] * 5)
    assert np.allclose(shares(confusion(y, labels)), [[80, 20], [0, 100]])
    assert printed(confusion(y, labels)) == ["80", "20", "100"]


@pytest.mark.parametrize(("classes", "clusters"), [(3, 5), (5, 3), (4, 1), (1, 4), (30, 25)])
def test_confusion_takes_any_number_of_classes_and_clusters(classes: int, clusters: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    figure = confusion(rng.integers(classes, size=900), rng.integers(clusters, size=900))
    assert shares(figure).shape == (classes, clusters)
    save(figure, tmp_path / "confusion")


def test_curves_show_every_seed_and_term_once() -> None:
    figure = curves({0: trace(0), 1: trace(1)})
    assert [len(axes.lines) for axes in figure.axes] == [4, 4, 0, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["loss", "reconstruction", "kl"]
    assert [axes.get_yscale() for axes in figure.axes[:2]] == ["linear", "log"]
    assert np.allclose(figure.axes[3].lines[0].get_ydata(), np.linspace(20, 0, 8))


def test_curves_without_label_changes_have_no_axes_for_them() -> None:
    assert len(curves({0: trace(0).drop(columns="label_change")}).axes) == 2


def test_a_single_epoch_is_visible() -> None:
    (axes,) = curves({0: trace(0).iloc[:1, :3]}).axes
    assert axes.lines[0].get_marker() == "."


def test_curves_stop_where_the_last_row_has_no_loss() -> None:
    (axes,) = curves({0: alternating()}).axes
    assert [along(line)[0] for line in axes.lines] == [[0, 1, 2]]


@pytest.mark.parametrize("traces", [{}, {0: trace(0).iloc[:0]}, {0: alternating().iloc[3:]}])
def test_curves_of_no_epoch_are_refused(traces: dict[int, pd.DataFrame]) -> None:
    with pytest.raises(UserError, match=f"at least one epoch, got none in {len(traces)} seeds"):
        curves(traces)


def test_half_steps_alternate_and_go_on_from_the_z_step_where_a_theta_step_was_undone() -> None:
    line, undone = half_steps({"hybrid": alternating()}).axes[0].lines
    assert along(line)[0] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert along(line)[1] == [8, 7, 6, 6, 5, 4, 3]
    assert (undone.get_marker(), along(undone)[0], along(undone)[1]) == ("x", [1.5], [60])


def test_half_steps_of_seeds_share_their_series_colour_and_name() -> None:
    seeds = pd.concat([alternating().assign(seed=seed) for seed in range(3)])
    figure = half_steps({"hybrid": seeds, "hybrid_literal": alternating()})
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert [len(along(line)[0]) for line in lines] == [7] * 4
    assert [line.get_color() == lines[0].get_color() for line in lines] == [True, True, True, False]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["hybrid", "hybrid_literal", "after a Z-step", "theta-step undone"]


def test_half_steps_have_a_log_axis_where_the_range_demands_it_and_no_cross_where_none_was_undone() -> None:
    trace = alternating()
    assert half_steps({"a": trace}).axes[0].get_yscale() == "linear"
    assert half_steps({"a": trace, "b": trace.assign(z_objective=500.0)}).axes[0].get_yscale() == "log"
    figure = half_steps({"a": trace.assign(accepted=True)})
    assert along(figure.axes[0].lines[0])[1] == [8, 7, 6, 60, 5, 4, 3]
    assert "theta-step undone" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_thirty_two_series_differ_in_colour_or_dash() -> None:
    figure = scale_and_rank({f"alpha={i}": alternating() for i in range(figures.SERIES)})
    lines = figure.axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == figures.SERIES


def test_scale_and_rank_stand_one_above_the_other() -> None:
    scale, rank = scale_and_rank({"a": alternating()}).axes
    assert (scale.get_yscale(), rank.get_yscale(), rank.get_ylim()[0]) == ("log", "linear", 0)
    assert along(scale.lines[0])[1] == [10, 8, 8, 5]
    assert along(rank.lines[0])[1] == [9, 8, 8, 6]


def test_a_scale_that_is_held_is_a_level_line_and_one_of_zero_is_left_out() -> None:
    held, collapsed = (alternating().assign(code_scale=value) for value in ([10, 10 + 1e-6, 10 - 1e-6, 10], 0.0))
    low, high = scale_and_rank({"a": held, "b": collapsed}).axes[0].get_ylim()
    assert high / low == pytest.approx(10)
    assert low < 10 < high


def test_gaps_are_of_the_first_z_step_and_means_over_seeds_in_order_of_the_budget() -> None:
    rows = [("fista", "200", 0, 0.1), ("fista", "200", 0, 9.0), ("fista", "10", 0, 1.0), ("fista", "200", 1, 0.3)]
    traces = pd.DataFrame([*rows, ("admm", "10", 0, 0.0)], columns=["solver", "solver_iterations", "seed", "z_gap"])
    fista, admm, paper = gaps(traces).axes[0].lines
    assert along(fista)[0] == [10, 200]
    assert along(fista)[1] == pytest.approx([1.0, 0.2])
    assert along(admm)[1][0] > 0
    assert along(paper)[0] == [50, 50]


def test_the_candidate_of_largest_modularity_is_ringed_whatever_its_accuracy() -> None:
    table = pd.DataFrame({"modularity": [0.80, 0.85, 0.85, 0.7], "normalized_cut": [0.5, 0.4, 0.4, 0.6]})
    figure = candidates(table, [0.6, 0.8, 0.9, 0.95])
    dots, ring = figure.axes[0].collections
    assert np.allclose(dots.get_offsets(), np.c_[table["modularity"], [60, 80, 90, 95]])
    assert np.allclose(np.asarray(dots.get_array()), table["normalized_cut"])
    assert np.allclose(ring.get_offsets(), [[0.85, 80]])
    assert ring.get_label() == "chosen: modularity 0.8500, ACC 80.0 %"


def test_affinity_puts_classes_together_and_states_the_weight_between_them() -> None:
    y = np.array([1, 0, 1, 0])
    within = sp.csr_matrix(([3.0, 2.0], ([0, 1], [2, 3])), shape=(4, 4))
    across = sp.csr_matrix(([1.0, 3.0], ([0, 0], [1, 2])), shape=(4, 4))
    left, right = affinity(across, within, y).axes[:2]
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
    figure = affinity(sp.csr_matrix((n, n)), Z, np.arange(n) % 25)
    assert [np.asarray(axes.images[0].get_array()).shape for axes in figure.axes[:2]] == [(200, 200)] * 2
    assert "no weight" in figure.axes[0].get_title()
    assert len(figure.axes[0].get_xticklabels()) <= 10
    save(figure, tmp_path / "affinity")


def test_binned_densities_average_to_one() -> None:
    rng = np.random.default_rng(0)
    Z = sp.csr_matrix(rng.random((700, 700)))
    drawn = np.asarray(affinity(Z, Z, rng.integers(3, size=700)).axes[0].images[0].get_array())
    share = np.bincount(np.arange(700) * 200 // 700) / 700
    assert share @ drawn @ share == pytest.approx(1)


def test_a_sweep_of_one_setting_is_a_line_of_means_with_a_dot_a_seed() -> None:
    figure = sweep(points({"alpha": ["0", "0.1", "9"]}, {0: [0.5, 0.6, np.nan], 1: [0.7, 0.6, np.nan]}), "acc")
    means, dots = figure.axes[0].lines
    assert np.allclose(np.asarray(means.get_ydata()), [60, 60, np.nan], equal_nan=True)
    assert sorted(zip(*along(dots), strict=True))[:2] == [(0, 50), (0, 70)]
    assert printed(figure) == ["60.0", "60.0", "failed"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "0.1", "9"]


def test_a_sweep_of_two_settings_is_a_map_with_the_first_downwards() -> None:
    grid = {"alpha": ["1", "2"], "code": ["plain", "unit", "whitened"]}
    figure = sweep(points(grid, {0: [0.1, 0.2, 0.3, 0.4, np.nan, 0.6]}), "acc")
    assert np.allclose(shares(figure), np.array([[10, 20, 30], [40, np.nan, 60]]), equal_nan=True)
    assert printed(figure) == ["10.0", "20.0", "30.0", "40.0", "failed", "60.0"]
    labels = [
        [label.get_text() for label in ticks()]
        for ticks in (figure.axes[0].get_yticklabels, figure.axes[0].get_xticklabels)
    ]
    assert labels == list(grid.values())


def test_a_sweep_of_three_settings_has_a_map_for_each_value_of_the_third() -> None:
    grid = {"alpha": ["1", "2"], "beta": ["3", "4", "5"], "gamma": ["6", "7"]}
    figure = sweep(points(grid, {0: [i / 100 for i in range(12)]}), "acc")
    maps = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in maps] == ["gamma = 6", "gamma = 7"]
    assert np.allclose(np.asarray(maps[0].images[0].get_array()), [[0, 2, 4], [6, 8, 10]])
    assert np.allclose(np.asarray(maps[1].images[0].get_array()), [[1, 3, 5], [7, 9, 11]])
    assert maps[0].images[0].get_clim() == maps[1].images[0].get_clim() == (0, 11)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (5, 4), (2, 9, 3), (3, 3, 7)])
def test_sweeps_of_any_shape_are_drawn_even_if_nothing_finished(shape: tuple[int, ...], tmp_path: Path) -> None:
    grid = {f"setting_{i}": [f"value_{j}" for j in range(n)] for i, n in enumerate(shape)}
    save(sweep(points(grid, {0: [np.nan] * int(np.prod(shape))}), "acc"), tmp_path / "sweep")


def test_bars_stand_for_means_and_marks_for_papers(summary: pd.DataFrame, reported: pd.DataFrame) -> None:
    figure = accuracy_bars(summary, reported, "usps")
    axes = figure.axes[0]
    assert [bar.get_extents().transformed(axes.transData.inverted()).width for bar in axes.patches] == pytest.approx(
        [75, 91, 0, 0]
    )
    assert printed(figure) == ["failed", "skipped"]
    marks = {line.get_label(): np.asarray(line.get_xdata()) for line in axes.lines}
    assert set(marks) >= {"reported, Hybrid", "reported, DECS", "reported, ULHE-DC"}
    assert sorted(marks["reported, Hybrid"]) == [76.9, 95.0, 96.66, 97.1]
    assert not any("PC-X" in str(label) for label in marks)


def test_bars_of_an_unknown_dataset_are_refused(summary: pd.DataFrame, reported: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="one of usps, toy, got 'mnist'"):
        accuracy_bars(summary, reported, "mnist")


def test_saved_files_are_the_same_bytes_whatever_the_users_settings(mapped: np.ndarray, tmp_path: Path) -> None:
    _, y = blobs()
    save(tsne_map(mapped, y, y, "title"), tmp_path / "a")
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 30, "axes.facecolor": "red"}):
        save(tsne_map(mapped, y, y, "title"), tmp_path / "b")
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]
    for word in (b"matplotlib", b"Matplotlib", b"CreationDate"):
        assert word not in (tmp_path / "a.pdf").read_bytes()
        assert word not in (tmp_path / "a.png").read_bytes()


def test_a_new_process_saves_the_same_bytes(summary: pd.DataFrame, reported: pd.DataFrame, tmp_path: Path) -> None:
    save(accuracy_bars(summary, reported, "usps"), tmp_path / "a")
    summary.to_pickle(tmp_path / "summary")
    reported.to_pickle(tmp_path / "reported")
    code = (
        "import sys, pandas as pd; from deepclust.reporting.figures import *; f = sys.argv[1]; "
        "save(accuracy_bars(pd.read_pickle(f + '/summary'), pd.read_pickle(f + '/reported'), 'usps'), f + '/b')"
    )
    source = str(Path(figures.__file__).parents[2])
    environment = {"PYTHONPATH": source, "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_figures_are_one_column_wide_and_small_on_disk(mapped: np.ndarray, tmp_path: Path) -> None:
    from PIL import Image

    _, y = blobs()
    alternated = {f"alpha={i}": alternating() for i in range(20)}
    rng = np.random.default_rng(0)
    places = rng.integers(200, size=(2, 20_000)) + 200 * rng.integers(10, size=20_000)  # ten classes of 200
    W = sp.csr_matrix((rng.random(20_000), places), shape=(2000, 2000))
    table = pd.DataFrame({"modularity": rng.random(20), "normalized_cut": rng.random(20)})
    drawn = {
        "map": tsne_map(mapped, y, y),
        "confusion": confusion(y, y),
        "curves": curves({0: trace(0)}),
        "half_steps": half_steps(alternated, "title"),
        "scale_and_rank": scale_and_rank(alternated, "title"),
        "affinity": affinity(W, W, np.arange(2000) // 200, "title"),
        "candidates": candidates(table, [0.5] * 20, "title"),
        "sweep": sweep(points({"alpha": ["1", "2"], "beta": ["3", "4"]}, {0: [0.1, 0.2, 0.3, 0.4]}), "acc", "title"),
    }
    for name, figure in drawn.items():
        save(figure, tmp_path / name)
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width == 680
        assert (tmp_path / f"{name}.png").stat().st_size < 200_000


def test_reporting_and_metrics_import_neither_torch_nor_pyplot_nor_tsne() -> None:
    code = (
        "import sys, deepclust.metrics, deepclust.reporting.figures, deepclust.reporting.readme; "
        "print(sorted({'torch', 'torchvision', 'openTSNE', 'sklearn', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    source = str(Path(figures.__file__).parents[2])
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONPATH": source})
    assert out.stdout.decode().strip() == "[]"
