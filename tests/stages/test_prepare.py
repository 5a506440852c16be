"""The files that leave the stage that reads data."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from deepclust import layout
from deepclust.files import write_array, write_json, write_text

STAGE = Path(__file__).parents[2] / "stages/prepare.py"


@pytest.mark.parametrize("named", [False, True])
def test_samples_without_names_have_numbers_since_no_file_may_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"n_clusters": 2, "scale": "feature"}
    if named:
        write_text(layout.raw("toy") / "x.csv", "name,a,b\nx,1,2\ny,3,5\nz,2,9\n")
        settings["index"] = "name"
    else:
        write_array(layout.raw("toy") / "x.npy", np.array([[1, 2], [3, 5], [2, 9]], np.float32))
    file = "x.csv" if named else "x.npy"
    write_json(layout.plan("toy", "prepare"), {"own": {"file": file, "settings": settings}})
    runpy.run_path(str(STAGE))["main"]("toy")
    names = (layout.prepared("toy") / "samples.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert names == (["x", "y", "z"] if named else ["0", "1", "2"])
    assert all(path.stat().st_size for path in layout.prepared("toy").iterdir())
