"""A grid as it is committed, in its own folder, from nothing: real sizes of nets and all of the digits."""

import json
from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, Workspace, grid_environment, stages_of

# Half of the test would be drawing: the figures of one cell are drawn, of the others as everywhere in these tests.
SITE = f"""
    import os, sys

    if os.environ.get("DVC_STAGE", "").startswith("evaluate@") and not os.environ["DVC_STAGE"].endswith("-idec"):
        import deepclust  # before NumPy, which its setting of instructions is for

        sys.path.append({str(ROOT)!r})
        from tests.warm import draw_nothing

        draw_nothing()
"""


def scores_of(reports: Path) -> dict[tuple[str, ...], str]:
    """Return every cell's scores by its name, its code and the versions of its libraries."""
    found: dict[tuple[str, ...], str] = {}
    for path in (reports / "runs/digits").iterdir():
        shared = json.loads(path.read_text(encoding="utf-8"))["shared"]
        name = (path.stem, shared["code"], json.dumps(shared["versions"]))
        found[name] = (reports / "scores/digits" / path.name).read_text(encoding="utf-8")
    return found


@pytest.mark.slow
def test_the_smallest_committed_grid_runs_from_nothing_and_a_second_time_nothing_runs(
    pristine: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = pristine.copy(tmp_path_factory.mktemp("whole") / "project")
    site = Workspace(tmp_path_factory.mktemp("site"))
    site.write("sitecustomize.py", SITE)
    grid = Workspace(project.root / "grids/smoke", grid_environment(project) | {"SITE": str(site.root)})
    params = grid.params
    repro = grid.repro()
    expected = {"plan", "report", "pretrain@digits-mlp", "pretrain@digits-conv"} | stages_of(grid, dataset="digits")
    expected |= {f"{stage}@digits" for stage in ("fetch", "prepare", "graph")}
    assert repro.ran == expected
    drawn = {path.split("/")[-2] for path, file in grid.files("reports/cells").items() if file.startswith(b"\x89PNG")}
    assert drawn == {"idec"}
    results = grid.read("reports/results.csv").splitlines()[1:]
    rows = {(dataset, cell.split("/")[0]) for dataset, cell in (row.split(",")[:2] for row in results)}
    assert rows == {("digits", cell) for cell in params["methods"]}
    assert all(row.split(",")[4] == "ok" for row in results)
    committed, found = (scores_of(root / "grids/smoke/reports") for root in (ROOT, project.root))
    same = committed.keys() & found.keys()  # not those of older code, which may have other results
    assert {name: found[name] for name in same} == {name: committed[name] for name in same}
    records = grid.read_json("reports/runs/digits/idec.json")["shared"]
    assert records["compute"]["instructions"] == "avx2"

    project.commit()
    assert grid.repro().ran == set()
    assert project.run("git", "status", "--porcelain") == ""
