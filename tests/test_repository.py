"""The content of git: no large files, and in every grid's folder the same pipeline."""

import subprocess
from pathlib import Path

import pytest

from deepclust import grids

ROOT = Path(__file__).parents[1]
LARGEST = 1_000_000  # bytes
LARGER: set[str] = set()  # files that may be, by their names


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def test_no_file_in_git_is_large() -> None:
    large = {name for name in tracked() if (ROOT / name).lstat().st_size > LARGEST}
    assert large == LARGER


def test_pages_pdfs_and_data_are_in_no_commit() -> None:
    names = tracked()
    assert [name for name in names if name.endswith((".pdf", ".safetensors", ".npy", "reports/index.html"))] == []
    assert [name for name in names if "/data/" in f"/{name}" and name != "data/README.md"] == []


@pytest.mark.parametrize("grid", grids.names()[1:])
def test_a_grids_folder_has_the_pipeline_of_the_root(grid: str) -> None:
    folder = grids.folder(grid)
    assert (folder / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()
    assert (folder / ".dvcignore").read_bytes() == (ROOT / ".dvcignore").read_bytes()
    for name in ("src", "stages"):
        assert (folder / name).resolve() == ROOT / name
