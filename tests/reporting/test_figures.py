"""Figures: the same bytes from run to run, what they show read back from their artists, hostile inputs survived."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from deepclust.errors import UserError
from deepclust.reporting import figures
from deepclust.reporting.figures import accuracy_bars, confusion, curves, sample, save, tsne, tsne_map


def blobs(n: int = 120, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    return rng.normal(size=(n, 4)) + 8 * rng.normal(size=(k, 4))[y], y


def trace(seed: int) -> pd.DataFrame:
    loss = np.linspace(1, 0.5, 8) + 0.01 * seed
    pretrain = pd.DataFrame({"phase": "pretrain", "epoch": range(8), "loss": loss, "loss_reconstruction": loss})
    cluster = pd.DataFrame({"phase": "cluster", "epoch": range(8), "loss": loss, "loss_kl": loss / 100})
    return pd.concat([pretrain, cluster.assign(label_change=np.linspace(0.2, 0, 8))], ignore_index=True)


def printed(figure: Figure) -> list[str]:
    """Return the texts inside the axes of a figure, without those of ticks, titles and labels."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


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


@pytest.mark.parametrize("traces", [{}, {0: trace(0).iloc[:0]}])
def test_curves_of_no_epoch_are_refused(traces: dict[int, pd.DataFrame]) -> None:
    with pytest.raises(UserError, match=f"at least one epoch, got none in {len(traces)} seeds"):
        curves(traces)


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
    drawn = {"map": tsne_map(mapped, y, y), "confusion": confusion(y, y), "curves": curves({0: trace(0)})}
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
