"""The generated blocks of the pages are those of the methods there are and of the results that are committed."""

import subprocess
import sys
from pathlib import Path

import pytest

from deepclust import layout
from deepclust.files import write_json, write_text
from deepclust.reporting.aggregate import run_record
from tools import readme

ROOT = Path(__file__).parents[1]


def test_generated_blocks_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    readme.main("check")


def test_an_unknown_block_is_refused_with_its_page(tmp_path: Path) -> None:
    (tmp_path / "docs/papers").mkdir(parents=True)
    (tmp_path / "README.md").write_text("<!-- generated: result -->\n<!-- /generated -->\n")
    script = [sys.executable, str(ROOT / "tools/readme.py")]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "README.md: nothing writes a block named 'result'; tools/readme.py says which there are"
    )


@pytest.mark.parametrize("tool", ["readme", "notebook"])
def test_a_misspelt_command_writes_nothing(tool: str, tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / f"tools/{tool}.py"), "chek"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode
    assert done.stderr.strip().endswith(f"{tool}.py takes nothing or 'check', got 'chek'")


def test_the_pretraining_of_a_cell_that_has_not_run_again_is_not_read_from_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "GRIDS", tmp_path)
    methods = "{decs: {}, weak: {uses: decs}}"
    settings = f"grid: half\nseeds: [0]\ndatasets: [usps]\nnetworks: {{conv: {{epochs: 200}}}}\nmethods: {methods}"
    write_text(tmp_path / "half/params.yaml", settings)
    write_text(tmp_path / "half/dvc.lock", "stages: {cluster@usps-decs: {}, evaluate@usps-weak: {}}")
    record = {"method": "decs", "status": "ok", "network": "conv", "settings": {"batch_size": 10}, "n_iter": 100}
    for cell in ("decs", "weak"):
        run = run_record("usps", cell, [], {0: record | {"seed": 0}, 1: {"status": "failed", "seed": 1}})
        write_json(tmp_path / f"half/reports/runs/usps/{cell}.json", run)
    older = {"half": {"conv": 15}}
    assert readme.trained("half", "usps", "decs", 100, older) == 200 + 10
    assert readme.trained("half", "usps", "weak", 100, older) == 15 + 10


def test_every_path_that_is_listed_exists() -> None:
    table = (ROOT / "docs/what-is-where.md").read_text(encoding="utf-8").split("The stages")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    paths = [path.strip(" `") for cell in cells for path in cell.split(",")]
    named = [path for path in paths if "GRID" not in path]
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).exists()] == []
