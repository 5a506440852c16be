"""Files appear whole or not at all, and hold nothing but what they say."""

import json
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from deepclust import files
from deepclust import mapped as of_files
from deepclust.errors import UserError
from deepclust.files import read_json, read_yaml, to_json


class Unwritable:
    """An array whose bytes fail to come, when half the file is written."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise KeyboardInterrupt


def test_content_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x"
    with files.atomic(path) as file:
        file.write(b"whole")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def failing_block(path: Path, error: BaseException) -> None:
    with files.atomic(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError("full disk"), KeyboardInterrupt(), SystemExit()], ids=repr)
@pytest.mark.parametrize("existing", [None, b"old"])
def test_exception_leaves_the_old_content_and_no_other_file(
    error: BaseException, existing: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    if existing is not None:
        path.write_bytes(existing)
    with pytest.raises(type(error)):
        failing_block(path, error)
    assert [p.name for p in tmp_path.iterdir()] == ([] if existing is None else ["x"])
    assert existing is None or path.read_bytes() == existing


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, which is always full, is Linux's")
def test_error_of_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "0")
    (tmp_path / ".x.0.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        files.write_text(tmp_path / "x", "content")
    assert caught.value.__notes__ == [f"while writing {tmp_path / 'x'}"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (files.write_json, {"a": math.nan}),
        (files.write_json, {"a": object()}),
        (files.write_array, np.array([{}, None])),
        (files.write_array, Unwritable()),
        (files.write_sparse, None),
    ],
    ids=["json of nan", "json of object", "array of objects", "array that fails", "no matrix"],
)
def test_failed_writers_leave_the_old_file(write: Callable[[Path, Any], None], value: Any, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises((ValueError, TypeError, AttributeError, KeyboardInterrupt)):
        write(path, value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_json_has_no_word_for(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x", {"nested": [1, {"deep": value}]})
    assert not list(tmp_path.iterdir())


def test_what_is_no_json_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text("<<<<<<< HEAD\n{}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"scores.json is no JSON: Expecting value: line 1 .*; restore it, or let its"):
        read_json(tmp_path / "scores.json")


def test_a_day_that_there_is_not_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("grid: 2024-02-30\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"params.yaml is not YAML in UTF-8: day is out of range for month"):
        read_yaml(tmp_path / "params.yaml")


def test_json_is_sorted_indented_and_ends_in_a_newline(tmp_path: Path) -> None:
    value = {"b": [1, None, "é\r\n"], "a": {"d": 0.1, "c": True}}
    files.write_json(tmp_path / "x", value)
    text = (tmp_path / "x").read_bytes().decode()
    assert text == json.dumps(value, indent=2, sort_keys=True) + "\n"
    assert files.read_json(tmp_path / "x") == value


def test_text_is_utf8_with_its_newlines_as_given(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "μ\r\nλ\n")
    assert (tmp_path / "x").read_bytes() == "μ\r\nλ\n".encode()


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3).T, np.arange(6)[::2], np.zeros((0, 3), np.float32), np.array([True, False])],
    ids=["fortran", "strided", "empty", "booleans"],
)
def test_arrays_come_back_in_c_order(array: np.ndarray, mmap: bool, tmp_path: Path) -> None:
    files.write_array(tmp_path / "x.npy", array)
    found = files.read_array(tmp_path / "x.npy", mmap=mmap and array.size > 0)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.flags.c_contiguous


def test_only_pages_that_the_file_has_are_dropped(tmp_path: Path) -> None:
    """A private mapping that was written to would lose what was written."""
    array = np.arange(100_000.0).reshape(-1, 10)
    files.write_array(tmp_path / "x.npy", array)
    mapped = files.read_array(tmp_path / "x.npy", mmap=True)
    assert of_files.mapping_of(np.asarray(mapped)[5:]) is of_files.mapping_of(mapped) is not None
    np.testing.assert_array_equal(np.concatenate(list(of_files.chunks(mapped, 7))), array)
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private += 1
    assert of_files.mapping_of(private) is of_files.mapping_of(array) is None
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate(list(of_files.chunks(private, 7))), array + 1)
    files.write_array(tmp_path / "turned.npy", mapped.T)
    np.testing.assert_array_equal(np.load(tmp_path / "turned.npy"), array.T)
    assert np.load(tmp_path / "turned.npy").flags.c_contiguous


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps([1]))
    np.save(tmp_path / "object.npy", np.array([None]), allow_pickle=True)
    for name in ("pickle", "object"):
        with pytest.raises(ValueError, match="allow_pickle"):
            files.read_array(tmp_path / f"{name}.npy")


def test_sparse_matrices_come_back_and_carry_no_clock(tmp_path: Path) -> None:
    matrix = sp.csr_matrix(np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, -1]], dtype=np.float32))
    files.write_sparse(tmp_path / "x.npz", matrix)
    found = files.read_sparse(tmp_path / "x.npz")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_sparse_matrices_have_the_same_bytes_by_every_version_of_python(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    files.write_sparse(path, sp.csr_matrix(np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, -1]], dtype=np.float32)))
    written = path.read_bytes()
    assert files.sha256(path) == "e5f09bb1fe09f5dcb8728514c672e0a5cd4c47a63389d896df4cca1e519b095f"
    with zipfile.ZipFile(path) as archive:
        entries, place = archive.infolist(), archive.start_dir
    older = bytearray(written)  # by Python 3.11.3 and before
    for entry in entries:
        older[entry.header_offset + 4] = older[place + 4] = older[place + 6] = zipfile.DEFAULT_VERSION
        older[entry.header_offset + 18 : entry.header_offset + 26] = struct.pack("<LL", *2 * [entry.file_size])
        place += 46 + len(entry.filename)
    path.write_bytes(older)
    with open(path, "r+b") as file:
        files._with_zip64_headers(file)
    assert older != written
    assert path.read_bytes() == written


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_truth_value_of_numpy_is_one_of_json() -> None:
    assert to_json({"converged": np.float64(1.0) > 0, "n": np.int64(3)}) == '{\n  "converged": true,\n  "n": 3\n}\n'
    with pytest.raises(TypeError, match="set is no JSON"):
        to_json({"a": {1}})
