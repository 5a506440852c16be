"""Experiments by DVC's own commands: they run what changed, are compared by cell and metric, kept or thrown away."""

import json
import re
from typing import Any

import pytest

from tests.pipeline.conftest import Workspace, stages_of

pytestmark = pytest.mark.xdist_group("finished")

EPOCHS = "methods.idec.epochs"
STARTS = "methods.kmeans.n_init"
METRICS = ["acc", "ari", "failed", "modularity", "n", "nmi", "silhouette", "stability"]
OF_CELL = "reports/metrics/few/idec.json"


@pytest.fixture(scope="module")
def workspace(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return finished.copy(tmp_path_factory.mktemp("experiments") / "project")


@pytest.fixture(scope="module")
def log(workspace: Workspace) -> str:
    """Run the experiment `longer`, and return what DVC said of it."""
    return workspace.run("dvc", "exp", "run", "--name", "longer", "--set-param", f"{EPOCHS}=3")


def output(workspace: Workspace, *command: str) -> Any:
    """Return what a command of DVC prints as JSON."""
    return json.loads(workspace.run("dvc", "--quiet", *command, "--json"))


def test_an_experiment_runs_what_its_setting_changes_and_nothing_else(workspace: Workspace, log: str) -> None:
    ran = re.findall(r"^Running stage '(.+)':$", log, re.MULTILINE)
    assert sorted(ran) == sorted({"plan", "report"} | stages_of(workspace, "idec"))


@pytest.mark.usefixtures("log")
def test_the_diff_of_settings_shows_the_changed_key_alone(workspace: Workspace) -> None:
    diff = output(workspace, "params", "diff", "HEAD", "longer")
    assert diff == {"params.yaml": {EPOCHS: {"old": 2, "new": 3, "diff": 1}}}


@pytest.mark.usefixtures("log")
def test_the_diff_of_metrics_names_the_changed_cell_and_no_seed(workspace: Workspace) -> None:
    diff = output(workspace, "metrics", "diff", "HEAD", "longer")
    assert list(diff) == [OF_CELL]
    assert {"acc", "nmi"} <= set(diff[OF_CELL]) <= set(METRICS) - {"n", "failed"}


def test_metrics_are_shown_as_one_row_a_cell(finished: Workspace) -> None:
    header, *rows = finished.run("dvc", "metrics", "show").splitlines()
    cells = list(finished.params["methods"])
    assert header.split() == ["Path", *METRICS]
    assert [row.split()[0] for row in rows] == [f"reports/metrics/few/{cell}.json" for cell in cells]


@pytest.mark.usefixtures("log")
def test_the_diff_of_plots_has_curves_confusion_and_images_of_both_sides(workspace: Workspace) -> None:
    plots = output(workspace, "plots", "diff", "HEAD", "longer", "--targets", "reports/.*/few/idec")
    assert set(plots) == {"data"}  # beside which there would be errors
    drawn = plots["data"]
    images = {f"reports/cells/few/idec/{name}.png" for name in ("confusion", "curves", "tsne")}
    curves, confusion = "reports/traces/few/idec.csv", "reports/confusion/few/idec.csv"
    assert set(drawn) == images | {curves, confusion}
    for name in images:
        assert [plot["revisions"] for plot in drawn[name]] == [["HEAD"], ["longer"]]
    for name, column, totals in ((curves, "seed", [2 * 2, 2 * 3]), (confusion, "samples", [2 * 120, 2 * 120])):
        (plot,) = drawn[name]
        assert plot["revisions"] == ["HEAD", "longer"]
        assert "<DVC_METRIC" not in json.dumps(plot["content"])
        sides: dict[str, list[dict[str, str]]] = {"HEAD": [], "longer": []}
        for row in plot["content"]["data"]["values"]:
            sides[row.pop("rev")].append(row)
        assert sides["HEAD"] != sides["longer"]
        counted = [[1 if column == "seed" else int(row[column]) for row in side] for side in sides.values()]
        assert [sum(side) for side in counted] == totals


def test_every_cell_is_plotted_and_what_has_nothing_to_plot_is_no_error(finished: Workspace) -> None:
    plots = output(finished, "plots", "show")
    assert set(plots) == {"data"}
    cells = list(finished.params["methods"])
    expected = {f"reports/confusion/few/{cell}.csv" for cell in cells}
    expected |= {f"reports/traces/few/{cell}.csv" for cell in ("dec", "idec")}  # the others have no epochs
    assert {name for name, drawn in plots["data"].items() if drawn and name.endswith(".csv")} == expected


@pytest.mark.usefixtures("log")
def test_an_experiment_is_thrown_away_and_applied_again(workspace: Workspace) -> None:
    changed = workspace.read(OF_CELL)
    workspace.run("git", "reset", "--quiet", "--hard")
    workspace.run("dvc", "checkout", "--quiet")
    assert workspace.read(OF_CELL) != changed
    assert workspace.repro().ran == set()
    workspace.run("dvc", "exp", "apply", "longer")
    assert workspace.read(OF_CELL) == changed
    assert workspace.params["methods"]["idec"]["epochs"] == 3


def test_a_queued_sweep_ends_in_as_many_experiments_and_leaves_the_workspace(
    finished: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = finished.copy(tmp_path_factory.mktemp("queue") / "project")
    before = workspace.files("reports") | workspace.files("data")
    workspace.run("dvc", "exp", "run", "--queue", "--set-param", f"{STARTS}=1,3")
    workspace.run("dvc", "exp", "run", "--run-all")
    assert workspace.files("reports") | workspace.files("data") == before
    assert workspace.run("git", "status", "--porcelain") == ""
    names = workspace.run("dvc", "exp", "list", "--name-only").split()
    tried = [output(workspace, "params", "diff", "HEAD", name)["params.yaml"] for name in names]
    assert sorted(tried, key=str) == [
        {STARTS: {"old": 2, "new": 1, "diff": -1}},
        {STARTS: {"old": 2, "new": 3, "diff": 1}},
    ]
