"""Tables of the user's own: what a cell, a name or a column may be mistaken for is refused, or read as declared."""

import bz2
import gzip
import io
import logging
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from deepclust.datasets import Dataset, _own
from deepclust.errors import UserError

TEXT = "a,b,kind\n1,10,cat\n2,30,dog\n3,20,cat\n"
EXPECTED = [[0, 0], [0.5, 1], [1, 0.5]]


def write(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def read(path: Path, n_clusters: int = 2, **settings: Any) -> Dataset:
    return _own.prepare("mine", path, n_clusters=n_clusters, **{"scale": "feature"} | settings)


def rows(n: int, *cells: Callable[[int], Any]) -> str:
    return "".join(",".join(str(cell(i)) for cell in cells) + "\n" for i in range(n))


# ----------------------------------------------------------------------------------------------------------- the labels


@pytest.mark.parametrize(
    "words",
    [
        *(["EU", "NA"], ["None", "Some"], ["n/a", "x"], ["null", "x"], ["nan", "x"], ["True", "true"], ["a", "a "]),
        *(["007", "7", "08", "8"], ["20", "2E1", "1000", "1e3"], ["-1", "0", "1", "2", "10"], ["1", "1.0"]),
    ],
    ids=" ".join,
)
def test_classes_are_words_as_written_in_order(tmp_path: Path, words: list[str]) -> None:
    K = len(words)
    path = write(tmp_path, "a,l\n" + rows(2 * K, lambda i: i * i, lambda i: words[i % K]))
    y = read(path, K, labels="l").y
    assert y is not None
    assert y.tolist() == [*range(K), *range(K)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,l\n1,x\n2,\n3,y\n", "t.csv, row 2, column 'l': the label is missing"),
        ("a,l\n1,x\n2\n3,y\n", "t.csv, row 2, column 'l': the label is missing"),
        ('a,l\n1,x\n2,"y\n3,x\n4,y"\n', r"t.csv, row 2, column 'l': 'y\\n3,x\\n4,y' holds a line break"),
        ("l\nx\ny\n", "t.csv has no column beside l; add the features"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^own.mine: {message}"):
        read(write(tmp_path, text), labels="l")


# ------------------------------------------------------------------------------------------- index, header, other names


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (",a\n0,3\n1,5\n", {}, "t.csv, column 1 has no name; set index: true if it numbers or names the rows"),
        ("a,\n3,0\n5,1\n", {}, "t.csv, column 2 has no name; name it, or list the features under columns"),
        (
            "i,a\n" + rows(10, lambda i: i, lambda i: i * i),
            {},
            "column 'i' counts the rows from 0 to 9, .*; set index: i if",
        ),
        ("a,i\n" + rows(10, lambda i: i * i, lambda i: i + 1), {}, "column 'i' counts the rows from 1 to 10"),
        ("a,i\n" + rows(10, lambda i: i * i, lambda i: 2**60 + i), {}, f"'i' counts the rows from {2**60} "),
        ("a,i\n" + rows(12, lambda i: i * i, lambda i: 2.5 - i), {}, "column 'i' counts the rows from 2 to -8"),
        ("a,b\n1,2\n3,5\n\n", {}, "t.csv, row 3 is empty; remove the line"),
        ("a,b,l\n1,2,x\n\n3,5,y\n", {"labels": "l"}, "t.csv, row 2 is empty; remove the line"),
        ("0,0\n1,2\n2,4\n", {}, "the first row is values, 0, 0; set header: false if it is data, or header: true if"),
        ("False,0.1\nTrue,0.2\nTrue,0.3\n", {}, "the first row is values, False, 0.1; set header: false if it is data"),
        ("NA,0.1\n1,0.2\n2,0.3\n", {}, "the first row is values, NA, 0.1; set header: false if it is data"),
        ("inf,0.1\n1,0.2\n2,0.3\n", {}, "the first row is values, inf, 0.1; set header: false if it is data"),
        ("\na,b\n1,2\n2,4\n", {}, "; the first line is empty: remove it$"),
        ("u,0,3\nv,2,5\nw,4,4\n", {"index": True}, "the first row is values, 0, 3; set header: false if it is data"),
        ("a,b,a\n1,2,3\n4,5,6\n", {}, "t.csv has several columns 'a'; rename all but one"),
        ("1,1\n1,2\n2,4\n", {"header": True}, "t.csv has several columns '1'"),
        ("a,b\n1,2\n2,4\n", {"index": "c"}, "t.csv has no column 'c'; it has a, b"),
        ('i,a\n"x\ny",2\nz,4\n', {"index": "i"}, r"row 1, column 'i': 'x\\ny' holds a line break"),
        ("a,b\n1,2\n3,NA\n", {}, "t.csv, row 2, column 'b': nan is missing or infinite"),
        ("a,b\n1,2\n3,nan\n", {}, "t.csv, row 2, column 'b': nan is missing or infinite"),
        ("a,b\n1,2\n3,1e400\n", {}, "t.csv, row 2, column 'b': inf is missing or infinite"),
        (f"a,b\n1,2\n3,{'9' * 400}\n", {}, "t.csv, row 2, column 'b': inf is missing or infinite"),
        ("a,b\n1,2,3\n4,5,6\n", {}, "row 1 has more cells than the first line; name every column, take out"),
        ("a,b\n1,2\n4,5,\n", {}, "line 3 has more cells than the first line; name every column, take out separat"),
    ],
)
def test_what_may_be_mistaken_is_refused(tmp_path: Path, text: str, settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^own.mine: .*{message}"):
        read(write(tmp_path, text), **settings)


@pytest.mark.parametrize(
    ("text", "settings", "expected", "samples"),
    [
        (",a\n007,1\n7,3\nNA,2\n", {"index": True}, [[0], [1], [0.5]], ("007", "7", "NA")),
        (",0\nu,1\nv,3\nw,2\n", {"index": True}, [[0], [1], [0.5]], ("u", "v", "w")),
        ("id,0\nu,1\nv,3\nw,2\n", {"index": True, "header": True}, [[0], [1], [0.5]], ("u", "v", "w")),
        ("id,0\nu,1\nv,3\nw,2\n", {"index": "id"}, [[0], [1], [0.5]], ("u", "v", "w")),
        ("a,who\n1,u\n3,v\n2,w\n", {"index": "who"}, [[0], [1], [0.5]], ("u", "v", "w")),
        (",a\n0,1\n1,3\n2,2\n", {"columns": ["a"]}, [[0], [1], [0.5]], ()),
        ("1,10\n2,30\n3,20\n", {"header": False}, EXPECTED, ()),
        ("1,10\n2,30\n3,20\n", {"header": False, "columns": ["2"]}, [[0], [1], [0.5]], ()),
        ("u,10\nv,30\nw,20\n", {"header": False, "index": True}, [[0], [1], [0.5]], ("u", "v", "w")),
        ("7,8\n1,10\n2,30\n3,20\n", {"header": True}, EXPECTED, ()),
    ],
)
def test_an_index_and_a_header_are_what_is_declared(
    tmp_path: Path, text: str, settings: Any, expected: list[list[float]], samples: tuple[str, ...]
) -> None:
    data = read(write(tmp_path, text), **settings)
    assert data.X.tolist() == expected
    assert data.samples == samples


def test_a_quote_left_open_in_a_column_that_is_not_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notes = {2: '"text', 5: 'text"'}
    text = "a,b,note\n" + rows(9, lambda i: i * i, lambda i: i, lambda i: notes.get(i, "text"))
    data = read(write(tmp_path, text), columns=["a", "b"])
    assert "t.csv, row 3, column 'note' holds line breaks, so that several lines are one row" in caplog.text
    assert len(data.X) == 6


def test_an_index_that_is_declared_changes_nothing_else(tmp_path: Path) -> None:
    y = np.arange(300) % 3
    table = pd.DataFrame({"a": np.where(y == 0, 1.0, 0) + 0.15 * np.random.default_rng(0).normal(size=300)})
    table.to_csv(tmp_path / "with.csv")
    table.to_csv(tmp_path / "t.csv", index=False)
    assert read(tmp_path / "with.csv", index=True).digest == read(tmp_path / "t.csv").digest
    with pytest.raises(UserError, match="column 1 has no name"):
        read(tmp_path / "with.csv")


@pytest.mark.parametrize(("kind", "missing"), [("csv", ""), ("parquet", None), ("parquet", "")])
@pytest.mark.parametrize("index", ["id", True])
def test_a_name_that_is_missing_is_told(tmp_path: Path, kind: str, missing: str | None, index: bool | str) -> None:
    table = pd.DataFrame({"id": ["u", missing, "w"], "a": [1.0, 2, 4]})
    getattr(table, f"to_{kind}")(tmp_path / f"t.{kind}", index=False)
    with pytest.raises(UserError, match=rf"^own\.mine: t\.{kind}, row 2, column 'id': the name is missing; add it or "):
        read(tmp_path / f"t.{kind}", index=index)


def test_a_column_that_counts_is_a_feature_where_it_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path, "day,a\n" + rows(12, lambda i: i, lambda i: i * i))
    assert read(path, columns=["day"]).X.ravel().tolist() == (np.arange(12) / 11).astype(np.float32).tolist()


# ------------------------------------------------------------------------------------ separator, encoding, compression


@pytest.mark.parametrize(
    ("name", "text", "encoding", "settings"),
    [
        ("t.CSV", TEXT, "utf-8", {}),
        ("t.csv", TEXT, "utf-8-sig", {}),
        ("t.csv", TEXT, "utf-8-sig", {"encoding": "UTF-8"}),
        ("t.csv", TEXT.replace(",", ";"), "utf-8", {"separator": ";"}),
        ("t.tsv", TEXT.replace(",", "\t"), "utf-8", {}),
        ("t.tsv", TEXT, "utf-8", {"separator": ","}),
        ("t.csv", TEXT.replace("cat", "Käfer"), "cp1252", {"encoding": "cp1252"}),
        ("t.csv", TEXT, "utf-16", {"encoding": "utf-16"}),
    ],
)
def test_text_is_read_as_declared(tmp_path: Path, name: str, text: str, encoding: str, settings: Any) -> None:
    data = read(write(tmp_path, text, name, encoding), labels="kind", **settings)
    assert data.X.tolist() == EXPECTED
    assert data.y is not None
    assert data.y.tolist() == [0, 1, 0]


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("t.csv", content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("suffix", "kind", "compress"),
    [
        (".gz", "gzip", gzip.compress),
        (".bz2", "bz2", bz2.compress),
        (".xz", "xz", lzma.compress),
        (".zip", "zip", zipped),
    ],
)
def test_compression_is_told_by_the_name_or_a_setting(
    tmp_path: Path, suffix: str, kind: Any, compress: Callable[[bytes], bytes]
) -> None:
    for path in (tmp_path / f"t.csv{suffix}", tmp_path / f"T.CSV{suffix.upper()}", tmp_path / "t.csv"):
        path.write_bytes(compress(TEXT.encode()))
        settings = {"compression": kind} if path.suffix == ".csv" else {}
        assert read(path, labels="kind", **settings).X.tolist() == EXPECTED
    with pytest.raises(UserError, match=f"^own.mine: t.csv cannot .*; it looks compressed: set compression: {kind}$"):
        read(tmp_path / "t.csv", labels="kind")
    plain = write(tmp_path, TEXT, f"plain.csv{suffix}")
    with pytest.raises(UserError, match=f"cannot be read as CSV .*; set compression: none if it is not .* by {kind}$"):
        read(plain, labels="kind")
    assert read(plain, labels="kind", compression="none").X.tolist() == EXPECTED
    whole = compress(TEXT.encode())
    (tmp_path / f"cut.csv{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut.csv.* cannot be read as CSV .*; bring a whole copy of it$"):
        read(tmp_path / f"cut.csv{suffix}")


def test_an_archive_of_two_files_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.writestr(name, TEXT)
    with pytest.raises(UserError, match=r"Multiple files found in ZIP file.*; leave one file in it$"):
        read(tmp_path / "t.csv.zip")


@pytest.mark.parametrize(
    ("name", "text", "encoding", "settings", "message"),
    [
        ("t.csv", "a;b\n1;2\n3;4\n", "utf-8", {}, "'1;2' is no number; .*; it looks separated by ';': set separator$"),
        ("t.csv", "a;b\n1,5;2,5\n3;4\n", "utf-8", {}, "cannot be read .* by ',': .*; it looks separated by ';'"),
        (
            "t.csv",
            TEXT.replace(",", "\t"),
            "utf-8",
            {"labels": "kind"},
            r"no column 'kind'; .* by '\\t': set separator$",
        ),
        ("t.tsv", TEXT, "utf-8", {"labels": "kind"}, "no column 'kind'; .*; it looks separated by ',': set separator$"),
        (
            "t.csv",
            TEXT.replace("cat", "Käfer"),
            "cp1252",
            {"labels": "kind"},
            "in UTF-8 .*; set encoding, such as cp1252$",
        ),
        ("t.csv", TEXT, "utf-16", {"labels": "kind"}, "it looks like UTF-16: set encoding: utf-16$"),
        ("t.csv", TEXT, "utf-16-le", {}, "a zero byte beside each letter; set encoding: utf-16-le$"),
        ("t.csv", TEXT, "utf-16-be", {}, "a zero byte beside each letter; set encoding: utf-16-be$"),
        ("t.csv", '"a, b"\nx\n', "utf-8", {}, "row 1, column 'a, b': 'x' is no number; .* under columns$"),
    ],
)
def test_the_remedy_is_what_the_file_looks_like(
    tmp_path: Path, name: str, text: str, encoding: str, settings: Any, message: str
) -> None:
    with pytest.raises(UserError, match=f"^own.mine: .*{message}"):
        read(write(tmp_path, text, name, encoding), **settings)


# ------------------------------------------------------------------------------------------------------------- Parquet


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "t.parquet has no column; add the features"),
        (["a", "a"], "t.parquet has several columns 'a'; rename all but"),
    ],
)
def test_parquet_whose_columns_cannot_be_told_is_refused(tmp_path: Path, columns: list[str], message: str) -> None:
    table = pa.Table.from_arrays([pa.array([1.0, 2.0])] * len(columns), names=columns)
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match=f"^own.mine: {message}"):
        read(tmp_path / "t.parquet")


def test_columns_of_parquet_whose_names_are_numbers_have_them_as_text(tmp_path: Path) -> None:
    table = pd.DataFrame(np.arange(12.0).reshape(4, 3))
    table[2] = [0, 1, 0, 1]
    table.to_parquet(tmp_path / "t.parquet")
    third = [0, 1 / 3, 2 / 3, 1]
    expected = np.column_stack([third, third]).astype(np.float32).tolist()
    assert read(tmp_path / "t.parquet", columns=["0", "1"]).X.tolist() == expected
    data = read(tmp_path / "t.parquet", labels="2")
    assert data.X.tolist() == expected
    assert data.y is not None
    assert data.y.tolist() == [0, 1, 0, 1]


def test_a_named_index_of_parquet_is_a_column_that_can_be_named(tmp_path: Path) -> None:
    index = pd.Index(list("uvuv"), name="l")
    pd.DataFrame({"a": [0.0, 1, 2, 4], "b": [3.0, 1, 2, 0]}, index=index).to_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").X.shape == (4, 2)
    data = read(tmp_path / "t.parquet", labels="l")
    assert data.X.shape == (4, 2)
    assert data.y is not None
    assert data.y.tolist() == [0, 1, 0, 1]
    assert read(tmp_path / "t.parquet", index="l").samples == ("u", "v", "u", "v")


def test_labels_of_parquet_are_of_their_type(tmp_path: Path) -> None:
    words, numbers = ["007", "7", "NA", "10"] * 2, [3, 10, 2, 3] * 2
    pd.DataFrame({"a": np.arange(8.0) ** 2, "w": words, "n": numbers}).to_parquet(tmp_path / "t.parquet")
    for label, expected in (("w", [0, 2, 3, 1]), ("n", [1, 2, 0, 1])):
        y = read(tmp_path / "t.parquet", 4 if label == "w" else 3, columns=["a"], labels=label).y
        assert y is not None
        assert y.tolist() == expected * 2


def test_dates_of_parquet_are_told_from_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1.0, 2], "day": pd.to_datetime(["2020", "2021"])}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"column 'day': datetime.* is no number; list the numeric columns under colu"):
        read(tmp_path / "t.parquet")


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"^own\.mine: t\.parquet cannot be read as Parquet: "):
        read(tmp_path / "t.parquet")


# ------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("scale", ["feature", "global"])
@pytest.mark.parametrize(
    ("kind", "start"),
    [
        *(("csv", start) for start in (1_700_000_000_000_000_000, -(2**63), 2**63, 10**25)),
        *(("parquet", start) for start in (1_700_000_000_000_000_000, -(2**63), 2**63)),
    ],
)
def test_large_whole_numbers_stay_apart(tmp_path: Path, kind: str, scale: str, start: int) -> None:
    table = pd.DataFrame({"a": [start, start + 20, start + 10], "b": [start + 30, start, start + 3]})
    getattr(table, f"to_{kind}")(tmp_path / f"t.{kind}", index=False)
    highest = [20, 30] if scale == "feature" else [30, 30]
    expected = (np.array([[0, 30], [20, 0], [10, 3]]) / highest).astype(np.float32)
    assert read(tmp_path / f"t.{kind}", scale=scale).X.tolist() == expected.tolist()


def test_large_whole_numbers_stay_apart_beside_other_types(tmp_path: Path) -> None:
    text = f"a,b,c\n{2**62},{2**63 + 5},0.5\n{2**62 + 1},{2**63},0.25\n{2**62 + 2},{2**63 + 1},0\n"
    path = write(tmp_path, text)
    expected = np.array([[0, 1, 1], [0.5, 0, 0.5], [1, 0.2, 0]], np.float32)
    assert read(path).X.tolist() == expected.tolist()
    in_one = read(path, scale="global").X
    np.testing.assert_allclose(in_one, [[0.5, 1, 0], [0.5, 1, 0], [0.5, 1, 0]], atol=1e-6)


def test_good_tables_are_read_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=50), "n": rng.integers(9, size=50), "class": np.arange(50) % 5})
    table.to_csv(tmp_path / "t.csv", index=False)
    with caplog.at_level(logging.INFO, "deepclust"):
        assert read(tmp_path / "t.csv", 5, labels="class").X.shape == (50, 2)
    assert caplog.messages == []
