"""The command `deepclust`: own data from the file to the page, what there is, and thin commands for a clone."""

import errno
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from PIL import Image

from deepclust import __version__, datasets, grids, layout, methods
from deepclust.cli import clone, main, own, run
from deepclust.errors import SeedFailed, UserError
from deepclust.reporting.papers import PAPERS

SMALL = ["--set", "pretraining.hidden=[8]", "--set", "pretraining.epochs=1", "--set", "epochs=1", "--threads", "1"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("deepclust")
    level = log.level
    yield tmp_path
    log.setLevel(level)  # `run` shows progress, which other tests of this process do not expect


@pytest.fixture
def flowers(here: Path) -> pd.DataFrame:
    """Write flowers.csv: 60 named rows of three well separated kinds."""
    rng = np.random.default_rng(0)
    kinds = rng.permutation(np.repeat(["iris", "lily", "rose"], 20))
    place = pd.Series(kinds).map({"iris": 0.0, "lily": 1.0, "rose": 2.0}).to_numpy()
    table = pd.DataFrame({"name": [f"f{i}" for i in range(60)], "kind": kinds})
    table["petal"], table["sepal"] = place + rng.normal(0, 0.05, 60), 100 * place + rng.normal(0, 5, 60)
    table.to_csv("flowers.csv", index=False)
    return table


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_draw", lambda *_: {})  # seconds


def cluster(*words: str, method: str = "kmeans", out: str = "out") -> pd.DataFrame:
    main("cluster", *words, "--method", method, "--out", out)
    return pd.read_csv(f"{out}/labels.csv")


TABLE = ("flowers.csv", "-k", "3", "--index", "name", "--labels", "kind")


def test_a_table_becomes_labels_a_map_a_page_and_a_record(
    flowers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    found = cluster(*TABLE)
    assert found["sample"].tolist() == flowers["name"].tolist()
    assert len({*zip(found["cluster"], flowers["kind"], strict=True)}) == 3
    record = json.loads(Path("out/run.json").read_text())
    assert record["scores"]["acc"] == record["scores"]["ari"] == 1
    assert record["scores"].keys() >= {"silhouette", "davies_bouldin", "modularity"}
    assert record["settings"]["random_state"] == 0
    assert record["read"] == {"scale": "feature", "labels": "kind", "index": "name", "edges": False}
    for stem in ("tsne", "confusion"):
        with Image.open(f"out/figures/{stem}.png") as image:
            assert min(image.size) > 200
        assert Path(f"out/files/figures/{stem}.pdf").exists()
    page = Path("out/index.html").read_text()
    assert page.count("<img ") == 2
    assert "flowers.csv: 3 clusters by kmeans" in page
    assert 'src="http' not in page
    said = capsys.readouterr().out
    assert "2 features in [0, 1], each scaled by its own range" in said
    assert "ACC                              100.0" in said
    assert all(f"out/{name}" in said for name in ("labels.csv", "index.html", "figures/tsne.png"))


@pytest.mark.usefixtures("undrawn")
def test_without_labels_there_are_internal_scores_alone(flowers: pd.DataFrame) -> None:
    found = cluster("flowers.csv", "-k", "3", "--columns", "petal,sepal")
    assert found["sample"].tolist() == list(range(60))
    scores = json.loads(Path("out/run.json").read_text())["scores"]
    assert scores.keys() == {"silhouette", "davies_bouldin", "modularity"}
    assert "order of their labels" not in Path("out/index.html").read_text()


def test_a_report_of_a_grid_that_has_not_run_says_how_to_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/params.yaml").write_text("grid: mine\n")
    monkeypatch.setattr(layout, "GRIDS", tmp_path)
    with pytest.raises(UserError, match=r"^grid 'mine' has not run yet; run make repro GRID=mine$"):
        main("report", "mine")


@pytest.mark.usefixtures("undrawn")
def test_labels_reach_the_scores_and_no_fit(flowers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    cls = methods.load("kmeans")
    fit = cls.fit

    def spy(self: Any, *given: Any, **inputs: Any) -> Any:
        seen.append((len(given), inputs.keys()))
        return fit(self, *given, **inputs)

    monkeypatch.setattr(cls, "fit", spy)
    right = cluster(*TABLE)
    flowers.assign(kind=np.roll(flowers["kind"], 1)).to_csv("flowers.csv", index=False)
    wrong = cluster(*TABLE, out="other")
    assert seen == [(1, set()), (1, set())]
    assert right.equals(wrong)
    first, second = (json.loads(Path(folder, "run.json").read_text()) for folder in ("out", "other"))
    assert first["data"] == second["data"]
    assert first["scores"]["acc"] > second["scores"]["acc"]


def test_a_network_is_trained_with_the_settings_given(flowers: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        cluster(*TABLE, *SMALL, "--set", "gamma=.5", method="idec")
    record = json.loads(Path("out/run.json").read_text())
    assert record["settings"]["pretraining"] == {"hidden": [8], "epochs": 1}
    assert record["settings"]["gamma"] == 0.5
    assert Path("out/figures/curves.png").exists()
    assert np.load("out/files/embedding.npy", allow_pickle=False).shape == (60, 10)
    assert "pretrain: epoch 1 of 1" in caplog.text


@pytest.mark.usefixtures("undrawn")
def test_images_have_a_network_for_images(here: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(24):
        path = here / "photos" / f"kind{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8) // (1 + number % 2)).save(path)
    short = ["--set", "pretraining.channels=[2,3]", "--set", "pretraining.epochs=1", "--set", "epochs=1"]
    found = cluster("photos", "-k", "2", "--labels", "folders", *short, method="decs")
    assert found["sample"].iloc[0] == "kind0/00.png"
    assert json.loads(Path("out/run.json").read_text())["settings"]["pretraining"]["channels"] == [2, 3]


@pytest.mark.usefixtures("undrawn")
def test_what_is_no_image_is_read_by_another_network_and_that_is_said(
    flowers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(*TABLE, *SMALL, method="decs")
    assert "decs has a network for images by its paper; these are none" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_a_graph_of_another_size_is_made_by_the_fit(flowers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    cls = methods.load("sc_ncut")
    fit = cls._fit

    def spy(self: Any, X: Any, **inputs: Any) -> None:
        seen.append("graph" in inputs)
        fit(self, X, **inputs)

    monkeypatch.setattr(cls, "_fit", spy)
    cluster(*TABLE, method="sc_ncut")
    cluster(*TABLE, "--set", "n_neighbors=5", method="sc_ncut", out="other")
    assert seen == [True, False]


@pytest.mark.parametrize("shape", [(30, 4), (30, 2, 2)])
@pytest.mark.usefixtures("undrawn")
def test_arrays_are_scaled_as_a_whole(here: Path, shape: tuple[int, ...], capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("both.npz", X=np.random.default_rng(0).random(shape) * 7, y=np.arange(30) % 3)
    cluster("both.npz", "-k", "3", "--array", "X", "--labels", "y")
    assert json.loads(Path("out/run.json").read_text())["read"]["scale"] == "global"
    assert "30 samples, 4 features in [0, 1], scaled by the range of all" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------- labels of more samples


@pytest.mark.usefixtures("undrawn")
def test_more_rows_are_labelled_by_the_columns_and_ranges_of_the_fit(
    flowers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    found = cluster(*TABLE)
    far = pd.DataFrame({"name": ["far"], "petal": [9.0], "sepal": [900.0]})
    flowers[["sepal", "name", "petal"]].to_csv("same.csv", index=False)  # in another order, without the labels
    pd.concat([flowers[:3], far]).assign(more=1).to_csv("more.csv", index=False)
    pd.read_csv("same.csv")[:1].to_csv("one.csv", index=False)
    for name in ("same", "more", "one"):
        main("label", "out", f"{name}.csv")
    pd.testing.assert_frame_equal(pd.read_csv("same-labels.csv"), found)
    more = pd.read_csv("more-labels.csv")
    assert more["sample"].tolist() == ["f0", "f1", "f2", "far"]
    rose = found["cluster"][flowers["kind"] == "rose"].iloc[0]
    assert more["cluster"].tolist() == [*found["cluster"][:3], rose]
    assert pd.read_csv("one-labels.csv")["cluster"].tolist() == [found["cluster"][0]]
    assert "more.csv: 1 of 4 samples have values outside the range of the fit" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int64, np.uint8])
@pytest.mark.usefixtures("undrawn")
def test_more_rows_of_an_array_are_labelled(here: Path, kind: Any) -> None:
    X = (np.random.default_rng(0).random((40, 6)) * 200).astype(kind)
    np.savez("both.npz", X=X, y=np.arange(40) % 3)
    found = cluster("both.npz", "-k", "3", "--array", "X", "--labels", "y", *SMALL, method="idec")
    np.savez("more.npz", X=X[10:20])
    main("label", "out", "more.npz")
    assert pd.read_csv("more-labels.csv")["cluster"].tolist() == found["cluster"][10:20].tolist()


@pytest.mark.usefixtures("undrawn")
def test_more_images_are_labelled(here: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(24):
        path = here / ("more" if number > 20 else "photos") / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8) // (1 + 3 * (number % 2))).save(path)
    cluster("photos", "-k", "2")
    main("label", "out", "more", "--out", "labels.csv")
    found = pd.read_csv("labels.csv")
    assert found["sample"].tolist() == ["21.png", "22.png", "23.png"]
    assert found["cluster"].tolist() in ([0, 1, 0], [1, 0, 1])


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_label_more_samples_says_why(flowers: pd.DataFrame) -> None:
    cluster(*TABLE, method="ward", out="ward")
    cluster(*TABLE, "--seeds", "2", out="several")
    cluster(*TABLE)
    flowers.drop(columns="sepal").to_csv("less.csv", index=False)
    np.save("array.npy", np.zeros((3, 2)))
    before = sorted(Path().iterdir())
    for words, message in {
        (
            "ward",
            "less.csv",
        ): "^ward: ward cannot label new samples: a merge tree has no rule for them; cluster by",
        ("several", "less.csv"): "^several: it has no fitted method; cluster by another method, and with one seed$",
        ("nowhere", "less.csv"): "^nowhere holds no results of `deepclust cluster`; name its folder$",
        ("out", "less.csv"): "^less.csv has no column 'sepal'; it has name, kind, petal$",
        ("out", "none.csv"): "^none.csv does not exist; correct the path$",
        ("out", "array.npy"): "^array.npy must be a .csv, as the data of the fit were, and is a .npy; convert it$",
        ("out", "flowers.csv", "--out", "less.csv"): "^less.csv is there already; name another file with --out$",
        ("out", "flowers.csv", "--out", "no/where.csv"): "^no/where.csv lies in no folder; name another file with",
    }.items():
        with pytest.raises(UserError, match=message):
            main("label", *words)
    assert sorted(Path().iterdir()) == before


def test_without_matplotlib_there_are_labels_and_a_line(
    flowers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    cluster(*TABLE)
    assert "no map and no figures: matplotlib missing; the extra `pipeline` brings both" in capsys.readouterr().out
    assert "<img" not in Path("out/index.html").read_text()
    assert not Path("out/figures").exists()


@pytest.mark.usefixtures("undrawn")
def test_results_are_replaced_where_that_is_asked_for_and_nothing_else_ever(flowers: pd.DataFrame) -> None:
    cluster(*TABLE)
    with pytest.raises(UserError, match=r"out is there already; .* --out \(--force replaces results of this command\)"):
        cluster(*TABLE)
    Path("out/labels.csv").write_text("")
    assert len(cluster(*TABLE, "--force")) == 60
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="mine is there already; name another place"):
        cluster(*TABLE, "--force", out="mine")
    assert [path.name for path in Path("mine").iterdir()] == ["notes.txt"]
    Path("out/files/notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"out is there already; .* \(this command did not make files/notes.txt\)$"):
        cluster(*TABLE, "--force")
    assert Path("out/files/notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("flowers", "undrawn")
def test_a_file_of_the_users_is_kept_though_it_has_the_name_of_a_result() -> None:
    cluster(*TABLE)
    Path("out/files/my_notes.csv").write_text("mine")
    with pytest.raises(UserError, match=r"\(this command did not make files/my_notes.csv\)$"):
        cluster(*TABLE, "--force")
    record = json.loads(Path("out/run.json").read_text())
    del record["files"]  # as older results have it, without a model: names decide
    Path("out/run.json").write_text(json.dumps(record))
    shutil.rmtree("out/model")
    cluster(*TABLE, "--force")


@pytest.mark.usefixtures("flowers", "undrawn")
def test_at_each_moment_one_whole_set_of_results_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(*TABLE)
    before = Path("out/run.json").read_bytes()
    rename = Path.rename

    def stop(self: Path, target: Path) -> Path:
        if target.name == "out":
            raise KeyboardInterrupt
        return rename(self, target)

    calls = iter([stop, rename])  # the new results are stopped, and the old ones are put back
    monkeypatch.setattr(
        Path, "rename", lambda self, target: (rename if target.name != "out" else next(calls))(self, target)
    )
    with pytest.raises(KeyboardInterrupt, match=r"^nothing was written$"):
        cluster(*TABLE, "--seed", "1", "--force")
    assert Path("out/run.json").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["flowers.csv", "out"]


@pytest.mark.usefixtures("flowers", "undrawn")
def test_a_folder_that_comes_to_be_while_the_fit_runs_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = own._write

    def slow(*given: Any) -> None:
        write(*given)
        Path("out").mkdir()
        Path("out/thesis.txt").write_text("precious")

    monkeypatch.setattr(own, "_write", slow)
    main("cluster", *TABLE, "--method", "kmeans", "--out", "out", "--force")
    assert Path("out/thesis.txt").read_text() == "precious"
    assert len(pd.read_csv("out-2/labels.csv")) == 60
    said = capsys.readouterr().out
    assert "out came to be while the fit ran; the results are in out-2\n" in said
    assert "out-2/labels.csv" in said


@pytest.mark.usefixtures("undrawn")
def test_results_do_not_become_data(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "photos").mkdir()
    for inside in ("photos/out", "photos/deep/out"):
        with pytest.raises(
            UserError, match=r"out lies in the data, of which the results would be a part; name another"
        ):
            cluster("photos", "-k", "2", out=inside)
    monkeypatch.chdir("photos")
    with pytest.raises(UserError, match=r"^data-kmeans lies in the data"):
        main("cluster", ".", "-k", "2", "--method", "kmeans")


@pytest.mark.usefixtures("flowers")
def test_what_cannot_be_replaced_or_kept_in_is_refused_before_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".out.sweep").write_text("mine")
    with pytest.raises(
        UserError, match=r"^\.out\.sweep is no folder, and fits are kept in one of this name; rename it"
    ):
        cluster(*TABLE)
    monkeypatch.setattr("os.path.ismount", lambda path: path == Path("volume"))
    with pytest.raises(UserError, match=r"^volume is a mount point, which nothing can replace; name a folder in it"):
        cluster(*TABLE, out="volume")
    cut = os.fsdecode(b"bad\xff")
    for words in (
        [f"{cut}.csv", "-k", "3"],
        [*TABLE, "--out", cut],
        [*TABLE, "--out", "a\nb"],
        [*TABLE, "--set", f"a={cut}"],
    ):
        with pytest.raises(UserError, match=r" is not UTF-8 or holds a line break or control character; rename it$"):
            main("cluster", *words, "--method", "kmeans")
    os.mkfifo("pipe")
    with pytest.raises(UserError, match=r"^pipe is neither a file nor a folder; save what it gives as a file first$"):
        cluster("pipe", "-k", "3", out="other")
    assert sorted(path.name for path in Path().iterdir()) == [".out.sweep", "flowers.csv", "pipe"]


@pytest.mark.usefixtures("flowers", "undrawn")
def test_a_warning_is_a_line_and_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["deepclust", "cluster", "sp ace.csv"])
    shutil.copy("flowers.csv", "sp ace.csv")
    fit = own._fit

    def warn(*given: Any) -> Any:
        for _ in range(2):
            warnings.warn("few distinct\n  points", UserWarning, stacklevel=1)
        return fit(*given)

    monkeypatch.setattr(own, "_fit", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        cluster("sp ace.csv", *TABLE[1:])
    assert [record.message for record in caplog.records] == ["few distinct points"]
    assert json.loads(Path("out/run.json").read_text())["command"] == "deepclust cluster 'sp ace.csv'"


@pytest.mark.usefixtures("flowers", "undrawn")
def test_a_folder_with_the_data_is_never_replaced(here: Path) -> None:
    cluster(*TABLE)
    shutil.copy("flowers.csv", "out/flowers.csv")
    for data, out, what in (
        ("out/flowers.csv", "out", "the data"),
        ("out/flowers.csv", "out/.", "the data"),
        ("out", "out", "the data"),
        ("flowers.csv", ".", "the data"),
        ("out/flowers.csv", str(here), "the data"),
    ):
        with pytest.raises(UserError, match=f" is or holds {what}; name another place for the results with --out$"):
            cluster(data, *TABLE[1:], "--force", out=out)
    assert pd.read_csv("out/flowers.csv").shape == (60, 4)


@pytest.mark.usefixtures("flowers", "undrawn")
def test_results_go_where_a_name_leads(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "there").mkdir()
    (here / "link").symlink_to("there")
    (here / "to_nothing").symlink_to("made")
    (here / "circle").symlink_to("circle")
    (here / "empty").mkdir()
    assert len(cluster(*TABLE, out="link")) == 60
    assert len(cluster(*TABLE, "--force", out="link")) == 60
    assert len(cluster(*TABLE, out="to_nothing")) == 60
    assert (here / "there/run.json").exists()
    assert (here / "made/run.json").exists()
    assert (here / "link").is_symlink()
    with pytest.raises(UserError, match=r"circle cannot be made: .*circle is no folder to write in"):
        cluster(*TABLE, out="circle")
    with pytest.raises(UserError, match=r"^the name a{20}\.\.\. is longer than 240 bytes"):
        cluster(*TABLE, out="a" * 250)
    assert len(cluster(*TABLE, out="a" * 240)) == 60
    monkeypatch.chdir(here / "empty")
    with pytest.raises(UserError, match="/empty is or holds the current folder"):
        cluster("../flowers.csv", *TABLE[1:], out=".")
    assert (here / "empty").is_dir()


@pytest.mark.usefixtures("flowers")
def test_a_name_with_dollars_is_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    Path("flowers.csv").rename("$a_$.csv")
    cluster("$a_$.csv", *TABLE[1:])
    assert Path("out/figures/tsne.png").exists()
    assert "no more figures" not in capsys.readouterr().out


@pytest.mark.usefixtures("flowers")
def test_a_fit_outlives_its_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def draw(*_: Any) -> None:
        raise ValueError("no such\nfont")

    monkeypatch.setattr(own, "_draw", draw)
    assert len(cluster(*TABLE)) == 60
    assert "no more figures: ValueError: no such font\n" in capsys.readouterr().out


@pytest.mark.usefixtures("flowers")
def test_a_kill_while_it_writes_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(own, "_draw", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt, match=r"^nothing was written$"):
        cluster(*TABLE, "--method", "kmeans")
    assert [path.name for path in Path().iterdir()] == ["flowers.csv"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.usefixtures("flowers")
def test_a_full_disk_is_one_line_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(own, "_draw", draw)
    monkeypatch.setattr(sys, "argv", ["deepclust", "cluster", *TABLE, "--method", "kmeans"])
    with pytest.raises(SystemExit):
        run()
    said = f"error: [Errno {errno.ENOSPC}] No space left on device (nothing was written); mend that and run the same"
    assert capsys.readouterr().err == f"{said} command again\n"
    assert [path.name for path in Path().iterdir()] == ["flowers.csv"]


@pytest.mark.usefixtures("undrawn")
def test_a_graphs_weights_read_as_samples_are_remarked_upon(capsys: pytest.CaptureFixture[str]) -> None:
    points = np.random.default_rng(0).random((20, 3))
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.save("distances.npy", distances)
    np.save("points.npy", points)
    pd.DataFrame(distances).add_prefix("to ").to_csv(
        "distances.csv", index=False
    )  # a column is scaled by its own range
    pd.DataFrame(np.triu(distances) * 2 + np.tril(distances) ** 2).add_prefix("to ").to_csv("other.csv", index=False)
    for name, remarked in {
        "distances.npy": True,
        "points.npy": False,
        "distances.csv": True,
        "other.csv": False,
    }.items():
        cluster(name, "-k", "2", out=f"{name}-out")
        assert ("A graph needs a grid, with `edges: true`" in capsys.readouterr().out) == remarked, name


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (SeedFailed("the loss became nan"), UserError, "^kmeans: the loss became nan$"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^nothing was written$"),
    ],
    ids=["broken", "interrupted"],
)
def test_a_fit_that_ends_early_writes_nothing(
    error: BaseException,
    expected: type[BaseException],
    message: str,
    flowers: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(*_: object) -> None:
        raise error

    monkeypatch.setattr(methods.load("kmeans"), "_fit", end)
    with pytest.raises(expected, match=message):
        cluster(*TABLE)
    assert [path.name for path in Path().iterdir()] == ["flowers.csv"]


# ------------------------------------------------------------------------------------------------- K not known

UNKNOWN = ("flowers.csv", "-k", "2-5", "--columns", "petal,sepal")


@pytest.mark.usefixtures("undrawn")
def test_auto_finds_k_on_the_graph_and_goes_on_with_it(
    flowers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    found = cluster("flowers.csv", "-k", "auto", "--index", "name", "--labels", "kind")
    assert len({*zip(found["cluster"], flowers["kind"], strict=True)}) == 3
    record = json.loads(Path("out/run.json").read_text())
    assert record["settings"]["n_clusters"] == 3
    assert record["scores"]["acc"] == 1
    assert record["selection"]["by"] == "modularity"
    tried = record["selection"]["tried"]
    assert max(tried, key=tried.get) == "3"
    said = capsys.readouterr().out
    assert f"-k auto: 3 clusters have the highest modularity, {tried['3']:.4f}\n  next: " in said
    assert "flowers.csv: 3 clusters by kmeans" in Path("out/index.html").read_text()


def test_a_range_is_swept_shown_and_the_best_k_written(
    flowers: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    found = cluster(*UNKNOWN, "--seeds", "2", "--seed", "7")
    assert len({*zip(found["cluster"], flowers["kind"], strict=True)}) == 3
    table = pd.read_csv("out/sweep.csv")
    assert table["n_clusters"].tolist() == [2, 2, 3, 3, 4, 4, 5, 5]
    assert table["seed"].tolist() == [7, 8] * 4
    record = json.loads(Path("out/run.json").read_text())
    assert record["settings"]["n_clusters"] == 3
    assert record["settings"]["random_state"] == 7
    assert record["selection"] == {"by": "silhouette", "range": "2-5", "seeds": [7, 8], "agreed": 1}
    assert (found["agreement"] == 1).all()
    assert record["scores"]["silhouette"] == pytest.approx(table["silhouette"].max(), rel=1e-5)
    with Image.open("out/figures/criteria.png") as image:
        assert min(image.size) > 200
    assert Path("out/files/figures/criteria.pdf").exists()
    page = Path("out/index.html").read_text()
    assert page.count("<img ") == 2
    assert "Criteria without classes over the number of clusters K" in page
    said = capsys.readouterr().out
    assert "-k 2-5: 3 clusters, the fewest within a standard error of the best silhouette (2 seeds)" in said
    lines = said[said.index("-k 2-5") :].splitlines()[1:6]
    assert lines[0].split()[:3] == ["K", "Silhouette", "Calinski-Harabasz"]
    assert [line.startswith(">") for line in lines] == [False, False, True, False, False]
    assert lines[2].split()[2:4] == [f"{table['silhouette'].max():.3f}", "*"]
    assert "out/sweep.csv" in said
    assert not Path(".out.sweep").exists()


@pytest.mark.usefixtures("undrawn")
def test_what_a_range_chose_is_what_that_k_alone_gives(flowers: pd.DataFrame) -> None:
    swept = cluster(*UNKNOWN, *SMALL, "--seeds", "1", method="idec")
    K = json.loads(Path("out/run.json").read_text())["n_clusters"]
    alone = cluster("flowers.csv", "-k", str(K), "--columns", "petal,sepal", *SMALL, method="idec", out="alone")
    assert swept.equals(alone)


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_range_goes_on_from_what_is_kept(flowers: pd.DataFrame, ks_fitted: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"^3 fits are kept in \.out\.sweep, and the same command goes on"):
        cluster(*UNKNOWN, "--seeds", "2")
    assert sorted(path.name for path in Path().iterdir()) == [".out.sweep", "flowers.csv"]
    ks_fitted[:] = [0] * 4
    cluster(*UNKNOWN, "--seeds", "2")
    assert ks_fitted[4:] == [5, 2, 3, 4, 5, 3]  # the last one is the fit that is written
    assert sorted(path.name for path in Path().iterdir()) == ["flowers.csv", "out"]
    ks_fitted.clear()
    with pytest.raises(KeyboardInterrupt, match=r"^3 fits"):
        cluster(*UNKNOWN, "--seeds", "1", out="other")
    ks_fitted[:] = [0] * 2
    with pytest.raises(KeyboardInterrupt, match=r"^1 fits"):
        cluster(*UNKNOWN, "--seeds", "1", "--set", "n_init=3", out="other")  # other settings: nothing of it is used
    assert ks_fitted[2:] == [2]
    damaged = next(path for path in Path(".other.sweep").rglob("*.npy") if len(list(path.parent.iterdir())) == 3)
    damaged.write_bytes(b"")
    ks_fitted[:] = [0] * 4
    cluster(*UNKNOWN, "--seeds", "1", out="other")  # what was kept before is used, but for what is damaged
    assert ks_fitted[4:] == [int(damaged.stem[0]), 5, 3]
    assert not Path(".other.sweep").exists()
    Path(".other.sweep").mkdir()
    Path(".other.sweep/mine.txt").write_text("mine")
    ks_fitted[:] = [0] * 4
    cluster(*UNKNOWN, "--seeds", "1", "--force", out="other")
    assert [path.name for path in Path(".other.sweep").iterdir()] == ["mine.txt"]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> dict[int, np.ndarray]:
    """Let fits of k-means find the labels planted here by their seed, and break down where none are."""
    labels: dict[int, np.ndarray] = {}
    cls = methods.load("kmeans")
    fit = cls._fit

    def find(self: Any, *given: Any, **inputs: Any) -> None:
        fit(self, *given, **inputs)
        if self.random_state not in labels:
            raise SeedFailed("the loss is not finite")
        self.labels_ = labels[self.random_state]

    monkeypatch.setattr(cls, "_fit", find)
    return labels


@pytest.mark.parametrize("K", ["3", "auto"])
def test_several_seeds_of_one_k_are_written_as_their_consensus(
    K: str, flowers: pd.DataFrame, planted: dict[int, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = flowers["kind"].map({"iris": 2, "lily": 0, "rose": 1}).to_numpy()
    for seed, samples in enumerate([[5, 6], [], [9]]):
        planted[seed] = np.roll([0, 1, 2], seed)[truth]
        planted[seed][samples] = (planted[seed][samples] + 1) % 3
    found = cluster("flowers.csv", "-k", K, "--index", "name", "--labels", "kind", "--seeds", "4")
    assert found["cluster"].tolist() == planted[1].tolist()  # the flawless one is nearest to the others
    assert found["agreement"].tolist() == pytest.approx([2 / 3 if i in (5, 6, 9) else 1 for i in range(60)], abs=1e-6)
    record = json.loads(Path("out/run.json").read_text())
    assert record["settings"]["random_state"] == 1
    assert record["selection"]["seeds"] == [0, 1, 2, 3]
    assert record["selection"]["agreed"] == 0.95
    assert record["scores"]["acc"] == 1
    assert "<dt>all seeds agree on</dt><dd>95.0 %</dd>" in Path("out/index.html").read_text()
    assert pd.read_csv("out/sweep.csv")["failed"].fillna("").tolist() == ["", "", "", "the loss is not finite"]
    said = capsys.readouterr().out
    assert "1 of 4 seeds broke down: the loss is not finite\n" in said
    assert "the clusters are the consensus of 3 seeds, which agree on 95.0% of the samples" in said
    assert not Path("out/figures/criteria.png").exists()
    assert Path("out/figures/tsne.png").exists()
    assert not Path(".out.sweep").exists()


@pytest.mark.usefixtures("flowers", "undrawn")
def test_one_seed_that_is_left_has_no_agreement(planted: dict[int, np.ndarray]) -> None:
    planted[1] = np.arange(60) % 3
    found = cluster("flowers.csv", "-k", "3", "--columns", "petal", "--seeds", "2")
    assert found.columns.tolist() == ["sample", "cluster"]
    assert "agreed" not in json.loads(Path("out/run.json").read_text())["selection"]


@pytest.mark.parametrize("collapsed", [2, 4])
@pytest.mark.usefixtures("undrawn")
def test_seeds_that_found_a_single_cluster_have_no_vote(
    collapsed: int, flowers: pd.DataFrame, planted: dict[int, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = flowers["kind"].map({"iris": 2, "lily": 0, "rose": 1}).to_numpy()
    planted.update({seed: np.zeros(60, int) if seed < collapsed else truth for seed in range(4)})
    found = cluster("flowers.csv", "-k", "3", "--index", "name", "--labels", "kind", "--seeds", "4")
    said = capsys.readouterr().out
    assert (found["agreement"] == 1).all()
    if collapsed == 4:  # nothing to choose among, and what a single seed would have found
        assert (found["cluster"] == 0).all()
        assert "no vote" not in said
    else:
        assert found["cluster"].tolist() == truth.tolist()
        assert "2 of 4 seeds found a single cluster, and have no vote\n" in said
        assert "the clusters are the consensus of 2 seeds, which agree on 100.0%" in said


@pytest.mark.usefixtures("flowers", "undrawn")
def test_interrupted_seeds_go_on_from_what_is_kept(ks_fitted: list[int]) -> None:
    words = ("flowers.csv", "-k", "3", "--columns", "petal,sepal", "--seeds", "5")
    with pytest.raises(KeyboardInterrupt, match=r"^3 fits are kept in \.out\.sweep, and the same command goes on"):
        cluster(*words)
    ks_fitted[:] = [0] * 4
    cluster(*words)
    assert ks_fitted[4:] == [3] * 3  # two more seeds, and the one that is written


@pytest.mark.usefixtures("undrawn")
def test_labels_of_arrays_and_images_are_counted_where_k_is_not_known(here: Path) -> None:
    rng = np.random.default_rng(0)
    X = np.repeat([[0.0, 0], [0, 9], [9, 0]], 12, axis=0) + rng.normal(size=(36, 2))
    np.savez("both.npz", X=X, y=np.arange(36) // 12)
    cluster("both.npz", "-k", "2-4", "--seeds", "1", "--array", "X", "--labels", "y")
    record = json.loads(Path("out/run.json").read_text())
    assert (record["n_clusters"], record["scores"]["acc"]) == (3, 1)
    for number in range(12):
        path = here / "photos" / f"kind{number % 4}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(100 * (number % 2), 100 * (number % 2) + 50, (4, 4), dtype=np.uint8)).save(path)
    (here / "photos/notes.txt").write_text("no image")
    cluster("photos", "-k", "2-3", "--seeds", "1", "--labels", "folders", out="images")
    record = json.loads(Path("images/run.json").read_text())
    assert (record["n_clusters"], record["scores"]["purity"]) == (2, 0.5)  # of four classes, two a cluster


@pytest.mark.usefixtures("undrawn")
@pytest.mark.usefixtures("undrawn")
def test_the_reader_speaks_of_options_and_says_a_thing_once(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    (here / "t.csv").write_text('a,b,note,kind\n1,2,"x\ny",p\n3,4,z,q\n5,6,z,q\n1,2,z,p\n')
    cluster("t.csv", "-k", "auto", "--labels", "kind", "--columns", "a,b")
    said = [message for message in caplog.messages if "holds line breaks" in message]
    assert len(said) == 1
    assert said[0].startswith("t.csv, row 1, column 'note'")


def test_without_a_graph_there_is_no_auto(flowers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepclust.selection.LARGEST_GRAPH", 59)
    with pytest.raises(UserError, match=r"^-k auto reads the exact graph of neighbours, for 59 samples at most"):
        cluster("flowers.csv", "-k", "auto", "--columns", "petal,sepal")
    assert [path.name for path in Path().iterdir()] == ["flowers.csv"]


K3 = ("cluster", "flowers.csv", "-k", "3")
NONE = ("cluster", "none.csv", "-k", "3")  # settings are judged before any file


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), r"the following arguments are required: COMMAND; see deepclust --help$"),
        (("clusters",), "argument COMMAND: invalid choice: 'clusters'"),
        (("cluster", "flowers.csv"), "required: -k/--clusters; see deepclust cluster --help"),
        (
            ("cluster", "flowers.csv", "-k", "three"),
            r"^-k must be a number in \[1, 10\^9\), a range such as 2-12, or auto; got three$",
        ),
        (
            ("cluster", "flowers.csv", "-k", "2-"),
            r"^-k must be a number in \[1, 10\^9\), a range such as 2-12, or auto; got 2-$",
        ),
        (("cluster", "flowers.csv", "-k", "5-2"), "^-k 5-2: a range begins at 2 or more and does not end below that"),
        (("cluster", "flowers.csv", "-k", "0-3"), "^-k 0-3: a range begins at 2 or more"),
        (
            ("cluster", "flowers.csv", "-k", "2-100000", "--columns", "petal"),
            r"^-k 2-100000: a range ends at 59 for flowers.csv at most, its 60 samples less one$",
        ),
        (
            ("cluster", "flowers.csv", "-k", "1", "--columns", "petal", "--seeds", "2"),
            "^--seeds 2 is for -k from 2 to 59, all but one of the samples, and not for 1, .*; leave --seeds out$",
        ),
        (("cluster", "flowers.csv", "-k", "2-4", "--seeds", "0"), "^--seeds must be at least 1, .* got 0 from 0$"),
        (
            ("cluster", "flowers.csv", "-k", "2-4", "--columns", "petal", "--set", "alpha=0"),
            "^--set alpha: Input should be greater than 0, got 0$",
        ),
        ((*K3, "--labls", "kind"), "^unrecognized arguments: --labls kind; see deepclust cluster --help$"),
        ((*K3, "--columns", '"petal, cm",sepal'), "^flowers.csv has no column 'petal, cm'; it has name, kind, petal"),
        (("cluster", "none.csv", "-k", "3"), "none.csv does not exist; correct the path$"),
        (("cluster", "flowers.csv", "-k", "0"), r"^-k must be a number in \[1, 10\^9\), a range .* or auto; got 0$"),
        (("cluster", "flowers.csv", "-k", "9" * 5000), "^-k must be a number in .* or auto; got 9{30}$"),
        (("cluster", "flowers.csv", "-k", "61", "--columns", "petal"), r"^-k must be in \[1, N=60\], the rows of flo"),
        (K3, r"^flowers.csv, row 1, column 'name': 'f0' is no number; .* list the numeric columns under --columns$"),
        ((*K3, "--index", "name", "--labels", "kin"), "^flowers.csv has no column 'kin'; it has name, kind, petal"),
        (
            ("cluster", "flowers.csv", "-k", "2", "--index", "name", "--labels", "kind"),
            r"^-k 2, but its labels \(kind\) name 3 classes: iris, lily, rose; set -k 3, or leave labels out",
        ),
        ((*K3, "--array", "X"), r"^array is for .npz files and folders; see docs/own-data.md$"),
        ((*K3, "--image-shape", "28x28"), "^--image-shape must be channels,height,width, such as 1,28,28; got 28x28$"),
        ((*K3, "--image-shape", "3,3"), "^--image-shape must be channels,height,width, such as 1,28,28; got 3,3$"),
        (
            (*K3, "--out", "flowers.csv/out"),
            "^flowers.csv/out cannot be made: .*flowers.csv is no folder to write in",
        ),
        ((*K3, "--out", "/proc/out"), "^/proc/out cannot be made: /proc is no folder to write in; name another place"),
        ((*K3, "--out", "/"), "^/ is or holds the data; name another place for the results with --out$"),
        ((*K3, "--method", "kmean"), "^unknown method 'kmean'; the methods are ac_gdl, "),
        ((*K3, "--set", "epochs"), "^--set takes NAME=VALUE, .* got epochs$"),
        ((*K3, "--set", "epoch=3"), "^'epoch' is not a setting of hybrid; it takes pretraining, alpha, "),
        ((*K3, "--set", "network.epochs=3"), "^--set takes NAME=VALUE, or pretraining.NAME=VALUE"),
        ((*NONE, "--set", "alpha=0"), "^--set alpha: Input should be greater than 0, got 0$"),
        ((*NONE, "--method", "idec", "--set", "gamma=NaN"), "^--set gamma: Input should be a finite number, got nan$"),
        ((*NONE, "--set", "pretraining=5"), "^--set pretraining: Input should be a valid dictionary, got 5$"),
        ((*NONE, "--set", "pretraining.foo=1"), "^--set pretraining: 'foo' is not a setting of network 'mlpbn'; it ta"),
        ((*NONE, "--set", "pretraining.network=mpl"), "^--set pretraining: unknown network 'mpl'; the networks are"),
        ((*NONE, "--method", "decs", "--set", "pretraining.foo=1"), "^--set pretraining: 'foo' is not a setting of ne"),
        (
            (*K3, "--set", "pretraining=null", "--set", "pretraining.epochs=1"),
            "^--set pretraining=null and --set pretraining.epochs=1 are two ways to say one thing; take one of them$",
        ),
        ((*NONE, "--device", "gpu"), "^--device: Input should be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got 'gpu'$"),
        ((*NONE, "--device", "cuda:99"), "^device is cuda:99, but torch sees "),
        ((*K3, "--columns", "petal", "--threads", "0"), r"^--threads must be in \[1, 1024\]"),
        ((*K3, "--columns", ""), "^--columns is empty; give a value, or leave it out"),
        (("cluster", "", "-k", "2"), "^DATA is empty; give a value"),
        (("methods", "kmean"), "^unknown method 'kmean'"),
        (("run", "benchmrk"), "^there is no grid 'benchmrk'; the grids are demo, "),
        (("tables", "dec"), "^unknown paper 'dec'; the papers are hybrid, "),
        (("run", "--jobs", "2", "--scheduler", "tcp://a:1"), "not allowed with argument"),
    ],
)
def test_errors_are_one_line(words: tuple[str, ...], message: str, flowers: pd.DataFrame) -> None:
    with pytest.raises(UserError, match=message) as caught:
        main(*words)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in Path().iterdir()) == ["flowers.csv"]


@pytest.mark.usefixtures("undrawn")
def test_names_of_the_users_stay_as_they_are(here: Path) -> None:
    path = here / "scale: x"
    path.mkdir()
    (path / "t.csv").write_text("n_clusters,image_shape,scale\na,1,2\nb,3,4\n")
    words = (str(path / "t.csv"), "-k", "2", "--labels", "kind")
    with pytest.raises(UserError, match=r"^t.csv has no column 'kind'; it has n_clusters, image_shape, scale$"):
        cluster(*words)
    with pytest.raises(UserError, match=r"^t.csv, row 1, column 'n_clusters': 'a' is no number; .* under --columns$"):
        cluster(*words[:3])
    path.rename(here / "n_clusters: 4")
    with pytest.raises(UserError, match=r"^n_clusters: 4 holds no images; correct the path$"):
        cluster("n_clusters: 4", "-k", "2")
    np.save("n_clusters: 4/x.npy", np.eye(3))
    with pytest.raises(UserError, match=r"^x.npy is no readable image .*; .* say under --array which file holds"):
        cluster("n_clusters: 4", "-k", "2")
    np.save("image_shape.npy", np.random.default_rng(0).random((4, 2, 2)))
    with pytest.raises(
        UserError, match=r"^--image-shape \(1, 4, 1\) is .* in image_shape.npy, .*; leave --image-shape"
    ):
        cluster("image_shape.npy", "-k", "2", "--image-shape", "1,4,1")


def test_words_of_the_reader_that_are_no_settings_stay_words(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sp.save_npz(here / "big.npz", sp.eye(2000, format="csr"))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1))
    with pytest.raises(UserError, match=r"; it is sparse, and made dense: take fewer rows or columns$"):
        cluster("big.npz", "-k", "2")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("true", True),
        ("False", False),
        ("null", None),
        ("None", None),
        ("[64, 32]", [64, 32]),
        ("adam", "adam"),
        ("", ""),
    ],
)
def test_values_of_settings_are_read_as_in_yaml(text: str, value: Any) -> None:
    found = own._value(text)
    assert (found, type(found)) == (value, type(value))


# ---------------------------------------------------------------------------------------------------- what there is


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(*words)
    return capsys.readouterr().out


def test_lists_name_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for command, names in (
        ("methods", methods.names()),
        ("datasets", datasets.names()),
        ("grids", grids.names()),
        ("tables", list(PAPERS)),
    ):
        firsts = [line.split(" ")[0] for line in said(capsys, command).splitlines()]
        assert firsts[1 : 1 + len(names)] == names


def test_a_grid_that_is_being_written_is_listed_with_its_fault(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(layout, "GRIDS", here)
    (here / "half").mkdir()
    (here / "half/params.yaml").touch()
    _, default, half, *_ = said(capsys, "grids").splitlines()
    assert default.startswith("demo")
    assert re.search(r"^half .* cannot be read: .*half/params\.yaml: nothing stands here", half)


@pytest.mark.parametrize("command", ["run", "report", "compare"])
def test_an_empty_name_of_a_grid_is_not_the_default_one(command: str) -> None:
    with pytest.raises(UserError, match="GRID is empty"):
        main(command, "")


def test_a_method_is_shown_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "methods", "idec")
    assert text.startswith("idec: Guo, Gao, Liu and Yin 2017\n")
    assert "gamma = 0.1" in text
    assert "weight of KL(P || Q)" in text


def test_lists_and_help_load_no_torch() -> None:
    program = "import sys\nfrom deepclust.cli import main\nmain('methods')\nmain('datasets')\n"
    program += "assert not {'torch', 'sklearn', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.parametrize(
    "words", [[], *([name] for name in ("cluster", "methods", "run", "report", "verify", "tables"))]
)
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(*words, "--help")
    assert not ended.value.code
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['deepclust', *words])} ")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main("--version")
    assert capsys.readouterr().out == f"deepclust {__version__}\n"


def test_the_process_ends_as_stages_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["deepclust", "cluster", "none.csv", "-k", "3"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: none.csv does not exist; correct the path\n"


# ------------------------------------------------------------------------------------------------------- in a clone


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Path]]:
    """Replace processes by a list of their commands, the interpreter left out, and folders."""
    found: list[tuple[list[str], Path]] = []

    class Done:
        def __init__(self, command: list[str], cwd: Path, env: dict[str, str]) -> None:
            assert command[0] == sys.executable
            assert env["PATH"].startswith(str(Path(sys.executable).parent))
            found.append(([word.replace(f"{layout.PROJECT}/", "") for word in command[1:]], cwd))

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", Done)
    return found


@pytest.mark.parametrize(
    ("words", "commands"),
    [
        (("run",), [("stages/plan.py table", "."), ("-m dvc repro", "."), ("tools/compare.py", ".")]),
        (
            ("run", "decs"),
            [
                ("stages/plan.py table decs", "."),
                ("-m dvc repro", "grids/decs"),
                ("tools/compare.py decs", "."),
            ],
        ),
        (
            ("run", "decs", "--jobs", "4"),
            [
                ("stages/plan.py table decs", "."),
                ("tools/parallel.py 4", "grids/decs"),
                ("tools/compare.py decs", "."),
            ],
        ),
        *(
            (words, [("stages/plan.py table", "."), (command, "."), ("tools/compare.py", ".")])
            for words, command in (
                (("run", "--only", "a@*"), "tools/parallel.py 1 a@*"),
                (("run", "--jobs", "2", "--only", "a@*"), "tools/parallel.py 2 a@*"),
                (("run", "--scheduler", "tcp://a:1"), "tools/parallel.py tcp://a:1"),
            )
        ),
        (("compare",), [("tools/compare.py demo HEAD", ".")]),
        (("compare", "decs", "v1"), [("tools/compare.py decs v1", ".")]),
        (("report", "decs"), [("stages/report.py", "grids/decs")]),
        (("verify",), [("tools/verify.py", ".")]),
        (("verify", "--objects"), [("tools/verify.py objects", ".")]),
        (("verify", "--objects", "bucket"), [("tools/verify.py objects bucket", ".")]),
    ],
)
def test_commands_of_a_clone_run_its_scripts(
    words: tuple[str, ...], commands: list[tuple[str, str]], calls: list[tuple[list[str], Path]]
) -> None:
    main(*words)
    assert calls == [(command.split(), layout.PROJECT / folder) for command, folder in commands]


def test_the_exit_code_of_a_script_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for code, expected in ((2, 2), (-9, 137)):
        monkeypatch.setattr(subprocess, "Popen", lambda *_, code=code, **__: type("", (), {"wait": lambda _: code})())
        with pytest.raises(SystemExit) as ended:
            main("verify")
        assert ended.value.code == expected


@pytest.mark.parametrize("words", [("run",), ("grids",), ("report",), ("compare",), ("verify",), ("tables", "decs")])
def test_elsewhere_a_clone_is_asked_for_in_one_line(
    words: tuple[str, ...], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PROJECT", here)
    with pytest.raises(UserError, match=r"^this command works on a clone of the repository, .* run make setup there"):
        main(*words)


def test_what_the_pipeline_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clone, "_is_installed", lambda name: name != "dvc")
    with pytest.raises(UserError, match=r"^dvc missing: pip install -e '\.\[pipeline\]' in "):
        main("run")


def test_tables_are_shown_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "tables", "decs")
    assert "# Grid benchmark: " in text
    assert "reported" in text
    lines: Callable[[str], list[str]] = lambda text: list(clone._as_text(text.splitlines()))  # noqa: E731
    assert lines("| a | b |\n| --- | ---: |\n| [99.0](../x.json) | 9.5<sup>1</sup> |\n\n`x`<br>") == [
        "a     b",
        "99.0  9.5 [1]",
        "",
        "x",
    ]
