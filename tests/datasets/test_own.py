"""The user's own data: every format is read, and every fault is one line that names file, row and column."""

import io
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepclust import files, mapped
from deepclust.datasets import Dataset, _own
from deepclust.errors import UserError

TABLE = "a,b,kind\n1,10,cat\n2,30,dog\n3,20,cat\n"
X = np.array([[0, 4], [2, 8], [1, 4], [2, 6]], dtype=np.int16)


def write_csv(folder: Path, text: str = TABLE) -> Path:
    path = folder / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return path


def write_images(folder: Path, *, size: tuple[int, int] = (3, 2), mode: str = "L") -> Path:
    rng = np.random.default_rng(0)
    for place in ("cats/1.png", "cats/2.png", "dogs/1.png"):
        path = folder / "pets" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
    return folder / "pets"


def read(path: Path, n_clusters: int = 2, **settings: Any) -> Dataset:
    if path.is_file() or "array" in settings:
        settings.setdefault("scale", "feature")
    return _own.prepare("mine", path, n_clusters=n_clusters, **settings)


# ---------------------------------------------------------------------------------------------------------- the formats


def test_a_table_has_named_columns_and_labels_in_sorted_order(tmp_path: Path) -> None:
    data = read(write_csv(tmp_path), labels="kind")
    assert data.X.tolist() == [[0, 0], [0.5, 1], [1, 0.5]]
    assert data.y is not None
    assert data.y.tolist() == [0, 1, 0]
    assert data.samples == ()
    chosen = read(write_csv(tmp_path), columns=["b"])
    assert chosen.X.tolist() == [[0], [1], [0.5]]
    assert chosen.y is None


def test_parquet_holds_what_the_same_table_in_csv_does(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    pd.read_csv(io.StringIO(TABLE)).to_parquet(path)
    assert read(path, labels="kind").digest == read(write_csv(tmp_path), labels="kind").digest


def test_parquet_asks_for_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"^own.mine: mine.parquet needs pyarrow; pip install -e '.\[parquet\]'"):
        read(path)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("feature", [[0, 0], [1, 1], [0.5, 0], [1, 0.5]]), ("global", [[0, 0.5], [0.25, 1], [0.125, 0.5], [0.25, 0.75]])],
)
def test_an_array_is_scaled_as_asked(tmp_path: Path, scale: str, expected: list[list[float]]) -> None:
    np.save(tmp_path / "mine.npy", X)
    assert read(tmp_path / "mine.npy", scale=scale).X.tolist() == expected


def test_an_array_in_the_unit_interval_can_stay_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", X / 8)
    assert read(tmp_path / "mine.npy", scale="none").X.tolist() == (X / 8).tolist()


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.float64])
@pytest.mark.parametrize("scale", ["feature", "global", "none"])
def test_an_array_that_stays_in_its_file_is_read_like_one_in_memory(
    tmp_path: Path, dtype: type, scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values: np.ndarray = np.vstack([X] * 3) - X.min()
    if scale == "none":
        values = values > 1
    np.save(tmp_path / "mine.npy", values.astype(dtype))
    expected = read(tmp_path / "mine.npy", scale=scale)
    monkeypatch.setattr(files, "MAPPED", 0)
    monkeypatch.setattr(_own, "_ROWS", 5)
    found = read(tmp_path / "mine.npy", scale=scale)
    assert mapped.mapping_of(found.X) is not None
    assert found.X.dtype == expected.X.dtype == (np.float16 if dtype is np.float16 else np.float32)
    assert found.digest == expected.digest
    files.write_array(tmp_path / "found.npy", found.X)
    files.write_array(tmp_path / "expected.npy", expected.X)
    assert files.sha256(tmp_path / "found.npy") == files.sha256(tmp_path / "expected.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected.npy", "found.npy", "mine.npy"]
    np.save(tmp_path / "mine.npy", np.where(np.arange(24).reshape(12, 2) == 17, np.nan, values))
    with pytest.raises(UserError, match=r"mine.npy, row 9, column 2: nan is missing"):
        read(tmp_path / "mine.npy", scale=scale)


@pytest.mark.parametrize("scale", ["feature", "global"])
def test_small_values_of_half_precision_keep_their_digits_beside_large_negative_ones(
    tmp_path: Path, scale: str
) -> None:
    values = np.array([[-50, 50], *[[0.01 * i, 0.02] for i in range(10)]], np.float16)
    for dtype in (np.float16, np.float32):
        np.save(tmp_path / "mine.npy", values.astype(dtype))
        found = read(tmp_path / "mine.npy", scale=scale).X
        assert found.dtype == np.float32
        assert len(np.unique(found[:, 0])) == 11


def test_values_too_small_for_float32_are_refused_where_they_stay_as_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.abs(X) * 1e-25)
    with pytest.raises(
        UserError, match=r"mine.npy: all values are below 1e-15, the largest is .*; set scale to feature"
    ):
        read(tmp_path / "mine.npy", scale="none")
    assert read(tmp_path / "mine.npy", scale="global").X.max() == 1


def test_a_folder_and_an_archive_hold_arrays_with_their_labels(tmp_path: Path) -> None:
    y = np.array(["b", "a", "b", "a"])
    np.savez(tmp_path / "mine.npz", X=X, y=y)
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine/X.npy", X)
    np.save(tmp_path / "mine/y.npy", y)
    archive = read(tmp_path / "mine.npz", labels="y")
    assert archive.y is not None
    assert archive.y.tolist() == [1, 0, 1, 0]
    assert read(tmp_path / "mine", array="X.npy", labels="y.npy").digest == archive.digest


def test_an_array_of_pictures_brings_their_shape(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.arange(24).reshape(2, 3, 4))
    assert read(tmp_path / "mine.npy", scale="global").image_shape == (1, 3, 4)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("P", 3), ("1", 1)])
def test_images_are_rows_in_the_order_of_their_names(tmp_path: Path, mode: str, channels: int) -> None:
    path = write_images(tmp_path, mode=mode)
    (path / ".hidden").write_text("no image")
    data = read(path, labels="folders")
    assert data.image_shape == (channels, 2, 3)
    assert data.samples == ("cats/1.png", "cats/2.png", "dogs/1.png")
    assert data.y is not None
    assert data.y.tolist() == [0, 0, 1]
    with Image.open(path / "dogs/1.png") as file:
        pixels = np.asarray(file.convert("RGB" if channels == 3 else "L"), dtype=np.float32) / 255
    last = data.X[2].reshape(data.image_shape)
    np.testing.assert_allclose(last, pixels.transpose(2, 0, 1) if channels == 3 else pixels[None], atol=1e-7)
    assert read(path).y is None


def test_images_of_several_shapes_are_brought_to_one_that_is_given(tmp_path: Path) -> None:
    path = write_images(tmp_path)
    Image.new("RGB", (9, 9), (255, 255, 255)).save(path / "dogs/2.png")
    data = read(path, image_shape=[1, 4, 5])
    assert data.X.shape == (4, 20)
    assert data.X[3].tolist() == [1] * 20


# ------------------------------------------------------------------------------------------------------------- bad data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x4\n5,6\n", "mine.csv, row 2, column 'b': 'x4' is no number; correct it"),
        ("a,b\n1,2\n3,\n5,6\n", "mine.csv, row 2, column 'b': nan is missing or infinite"),
        ("a,b\n1,2\n3,4\ninf,6\n", "mine.csv, row 3, column 'a': inf is missing or infinite"),
        ("a,b\n1,2\n\n5,6\n", "mine.csv, row 2 is empty; remove the line"),
        ("a,b\n1,2\n3,4,5\n5,6\n", "mine.csv cannot be read as CSV"),
        ("a,b\n1,2\n", "mine.csv has 1 row; at least 2"),
        ("a,b\n", "mine.csv has 0 rows; at least 2"),
        ("", "mine.csv cannot be read as CSV"),
        ("a,b\n1,2\n1,2\n", "mine.csv: all rows are equal"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read(write_csv(tmp_path, text))
    assert str(error.value).startswith(f"own.mine: {message}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "mine.csv, row 1, column 'kind': 'cat' is no number"),
        ({"columns": ["a", "c"]}, "mine.csv has no column 'c'; it has a, b, kind"),
        ({"labels": "sort"}, "mine.csv has no column 'sort'"),
        ({"labels": "kind", "n_clusters": 3}, r"n_clusters=3, but its labels \(kind\) name 2 classes: cat, dog; set"),
        ({"columns": ["a"], "n_clusters": 4}, r"n_clusters must be in \[1, N=3\], the rows of mine.csv, got 4"),
        ({"columns": ["b"], "scale": "none"}, r"mine.csv, row 1, column 'b': 10 is not in \[0, 1\]; set scale"),
        (
            {"columns": ["a"], "image_shape": [1, 2, 2]},
            "image_shape must be .* of product D=1",
        ),
    ],
)
def test_settings_that_do_not_fit_the_table_are_refused(tmp_path: Path, settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(write_csv(tmp_path), **settings)


def test_a_missing_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.csv, row 2, column 'kind': the label is missing"):
        read(write_csv(tmp_path, TABLE.replace("dog", "")), labels="kind")


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        ({"X": X}, {"labels": "y"}, "mine.npz has no array 'y'; it has X"),
        ({"X": X, "Z": X}, {}, "mine.npz holds X, Z; say under array which"),
        (
            {"X": X, "y": np.arange(3)},
            {"labels": "y"},
            r"y in mine.npz must be one label a row, shape \(4,\), got \(3,\)",
        ),
        ({"X": X, "y": np.array([0, 1, np.nan, 1])}, {"labels": "y"}, "mine.npz, y, row 3: the label is missing"),
        ({"X": np.array([[0, 1], [np.nan, 2]])}, {}, "mine.npz, row 2, column 1: nan is missing or infinite"),
        ({"X": np.array([[0, 1], [3, -np.inf]])}, {}, "mine.npz, row 2, column 2: -inf is missing or infinite"),
        ({"X": np.array(["a", "b"])}, {}, "must hold real numbers of shape"),
        ({"X": np.arange(3)}, {}, "must hold real numbers of shape"),
        ({"X": np.array([[1, None]], dtype=object)}, {}, "cannot be read without pickle"),
    ],
)
def test_a_bad_array_is_refused_with_its_place(tmp_path: Path, arrays: Any, settings: Any, message: str) -> None:
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(UserError, match=f"^own.mine: .*{message}"):
        read(tmp_path / "mine.npz", **settings)


def test_a_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    for name in ("mine.npy", "mine.npz"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(
            UserError, match=f"{name} is no NumPy file, or not a whole one; save it with np.save or np.savez$"
        ):
            read(tmp_path / name)


def wrong_size(path: Path) -> None:
    Image.new("L", (4, 4)).save(path / "dogs/2.png")


def unreadable(path: Path) -> None:
    (path / "dogs/2.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")


def cut_off(path: Path) -> None:
    content = (path / "dogs/1.png").read_bytes()
    (path / "dogs/2.png").write_bytes(content[: len(content) // 2])


def deep(path: Path) -> None:
    Image.fromarray(np.zeros((2, 3), dtype=np.uint16)).save(path / "dogs/2.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_size, r"dogs/2.png is 1x4x4 \(channels x height x width\), cats/1.png is 1x2x3; set image_shape"),
        (unreadable, r"dogs/2.png is no readable image"),
        (cut_off, r"dogs/2.png is no readable image"),
        (deep, r"dogs/2.png has more than 8 bits a channel"),
        (lambda path: Image.new("L", (3, 2)).save(path / "2.png"), "2.png lies in no sub-folder"),
    ],
)
def test_a_bad_image_is_refused_by_name(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    path = write_images(tmp_path)
    spoil(path)
    with pytest.raises(UserError, match=f"^own.mine: {message}"):
        read(path, labels="folders")


def test_constant_columns_and_repeated_rows_are_kept_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "deepclust"):
        data = read(write_csv(tmp_path, "a,b\n1,7\n2,7\n1,7\n"))
    assert data.X.tolist() == [[0, 0], [1, 0], [0, 0]]
    assert caplog.messages == [
        "own.mine: mine.csv: 1 of 2 columns are constant, the first is column 2; they are kept and tell nothing",
        "own.mine: mine.csv: 1 of 3 rows repeat an earlier one, the first is row 3; they are kept",
    ]


# ------------------------------------------------------------------------------------------------- digests and the copy


def test_digests_tell_of_every_change_and_the_copy_is_of_what_was_seen(tmp_path: Path) -> None:
    path = write_images(tmp_path)
    (path / ".hidden").write_text("x")
    before = _own.digests(path)
    assert list(before) == ["pets/cats/1.png", "pets/cats/2.png", "pets/dogs/1.png"]
    _own.copy(path, before, tmp_path / "raw")
    assert read(tmp_path / "raw/pets", labels="folders").digest == read(path, labels="folders").digest
    (path / "dogs/1.png").write_bytes(b"other")
    assert {place for place, digest in _own.digests(path).items() if before[place] != digest} == {"pets/dogs/1.png"}
    with pytest.raises(UserError, match=r"pets/dogs/1.png changed while the pipeline ran"):
        _own.copy(path, before, tmp_path / "again")


def test_formats_that_are_not_known_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.xlsx").write_bytes(b"")
    with pytest.raises(UserError, match=r"mine.xlsx must be a folder or end in .csv, .* or .csv.gz; export it as CSV"):
        _own.digests(tmp_path / "mine.xlsx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no files"):
        _own.digests(tmp_path / "empty")
    assert json.dumps(_own.digests(write_csv(tmp_path)))[:12] == '{"mine.csv":'
