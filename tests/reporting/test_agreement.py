"""Scores computed anew beside earlier ones: by what the seeds differ among themselves, and by git."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from deepclust import layout
from deepclust.errors import UserError
from deepclust.reporting.agreement import ALIKE, BEYOND, FEW, NONE, SAME, WITHIN, Agreement, agreement
from tools import compare


def of(*accuracies: float, **others: float) -> dict[str, dict[str, float]]:
    """Scores of so many seeds: ACC as given, NMI and ARI alike in all."""
    return {str(seed): {"acc": acc, "nmi": 0.5, "ari": 0.4, **others} for seed, acc in enumerate(accuracies)}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (of(0.8, 0.9, 0.7), of(0.8, 0.9, 0.7), Agreement(SAME)),
        (of(0.8), of(0.80049), Agreement(ALIKE, "acc", "80.0 (1)", "80.0 (1)")),
        (of(0.8), of(0.801), Agreement(FEW, "acc", "80.0 (1)", "80.1 (1)")),
        (of(0.8, 0.9), of(0.1, 0.2), Agreement(FEW, "acc", "85.0 ± 7.1 (2)", "15.0 ± 7.1 (2)")),
        (of(0.8, 0.9, 0.7), of(0.85, 0.95, 0.75), Agreement(WITHIN, "acc", "80.0 ± 10.0 (3)", "85.0 ± 10.0 (3)")),
        (of(0.7, 0.8, 0.9), of(0.4, 0.5, 0.6), Agreement(BEYOND, "acc", "80.0 ± 10.0 (3)", "50.0 ± 10.0 (3)")),
        (of(0.7, 0.8, 0.9), of(0.4, 0.5), Agreement(FEW, "acc", "80.0 ± 10.0 (3)", "45.0 ± 7.1 (2)")),
        # all seeds alike before and after, and told apart by a hair that no table prints
        (of(0.8, 0.8, 0.8), of(0.8001, 0.8001, 0.8001), Agreement(ALIKE, "acc", "80.0 ± 0.0 (3)", "80.0 ± 0.0 (3)")),
        # by seed, in whatever order
        (of(0.7, 0.9), {"1": of(0.9)["0"], "0": of(0.7004)["0"]}, Agreement(ALIKE, "acc", *["80.0 ± 14.1 (2)"] * 2)),
        (of(0.7, 0.7), {"0": of(0.7)["0"], "1": {}}, Agreement(FEW, "acc", "70.0 ± 0.0 (2)", "70.0 (1)")),
        # a seed more is not the same run, though its values are
        (of(0.8, 0.8, 0.8), of(0.8, 0.8, 0.8, 0.8), Agreement(WITHIN, "acc", "80.0 ± 0.0 (3)", "80.0 ± 0.0 (4)")),
        (of(0.8), {}, Agreement(NONE)),
        ({}, of(0.8), Agreement(NONE)),
        # silhouette is judged without labels alone
        (of(0.8, silhouette=0.1), of(0.8, silhouette=0.9), Agreement(ALIKE, "acc", "80.0 (1)", "80.0 (1)")),
        (
            {"0": {"silhouette": 0.1, "modularity": 0.5}},
            {"0": {"silhouette": 0.3, "modularity": 0.5}},
            Agreement(FEW, "silhouette", "10.0 (1)", "30.0 (1)"),
        ),
    ],
)
def test_scores_agree_by_their_seeds(before: dict, now: dict, expected: Agreement) -> None:
    assert agreement(before, now) == expected


def test_the_metric_that_tells_apart_is_shown_though_another_differs_more() -> None:
    before = {str(seed): {"acc": acc, "nmi": 0.5, "ari": 0.4} for seed, acc in enumerate((0.2, 0.5, 0.9))}
    now = {str(seed): {"acc": acc, "nmi": 0.6, "ari": 0.4} for seed, acc in enumerate((0.4, 0.8, 0.99))}
    assert agreement(before, now) == Agreement(BEYOND, "nmi", "50.0 ± 0.0 (3)", "60.0 ± 0.0 (3)")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a default grid, and another in a folder, each of two committed cells."""
    monkeypatch.setattr(layout, "PROJECT", tmp_path)
    monkeypatch.setattr(layout, "GRIDS", tmp_path / "grids")
    for folder, name in ((tmp_path, "tiny"), (tmp_path / "grids/big", "big")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "params.yaml").write_text(f"grid: {name}\n")
        for cell in ("kmeans", "dec"):
            write(folder, cell, of(0.7, 0.8, 0.9))
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message=.")
    return tmp_path


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def write(folder: Path, cell: str, scores: dict[str, dict[str, float]]) -> None:
    path = folder / compare.SCORES / "digits" / f"{cell}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({cell: scores}))


def test_a_grid_is_compared_with_its_commit(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> list[str]:
        compare.main(*words)
        return capsys.readouterr().out.splitlines()

    assert said() == ["grid tiny: 2 rows beside those of HEAD, 2 the same"]
    big = project / "grids/big"
    write(big, "dec", of(0.1, 0.2, 0.3))
    write(big, "idec", of(0.5))
    assert said() == ["grid tiny: 2 rows beside those of HEAD, 2 the same"]
    lines = said("big")
    assert lines[:2] == ["grid big: 2 rows beside those of HEAD, 1 the same", "1 beyond the seeds"]
    assert lines[3].split("  ")[0] == "digits"
    assert lines[3].endswith("acc     80.0 ± 10.0 (3)  20.0 ± 10.0 (3)  beyond the seeds")
    assert lines[-1] == "on one side alone: digits/idec"
    (big / compare.SCORES / "digits/kmeans.json").unlink()
    assert said("big")[-1] == "on one side alone: digits/idec, digits/kmeans"
    (big / compare.SCORES / "digits/dec.json").write_text(json.dumps({"dec": of(0.8), "dec/modularity": of(0.9)}))
    assert said("big")[-1] == "on one side alone: digits/dec/modularity, digits/idec, digits/kmeans"


def test_where_there_is_nothing_to_compare_with_a_line_says_so(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    git(project, "rm", "--quiet", "--cached", "-r", "grids/big/reports")
    git(project, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message=.")
    compare.main("big")
    assert capsys.readouterr().out == "grid big: HEAD has no scores of it to compare with\n"
    compare.main("big", "HEAD~1")
    assert capsys.readouterr().out == "grid big: 2 rows beside those of HEAD~1, 2 the same\n"
    for unknown in ("nosuch", "--output=x"):
        with pytest.raises(UserError, match=f"^git knows no commit '{unknown}'; see git log$"):
            compare.main("big", unknown)
    assert not (project / "x").exists()
    shutil.rmtree(project / ".git")
    git(project, "init", "--quiet")  # as of an archive unpacked by hand: `make repro` ends well before the first commit
    compare.main("big")
    assert capsys.readouterr().out == "grid big: HEAD has no scores of it to compare with\n"
    monkeypatch.setenv("PATH", "")  # no git is installed
    compare.main("big")
    assert capsys.readouterr().out == "no git repository here: nothing to compare the scores with\n"
