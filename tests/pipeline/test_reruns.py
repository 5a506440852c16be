"""An edit reruns exactly the stages whose results it can change, whatever is edited; and what breaks, breaks alone.

Every edit is made in a copy of the finished grid of its own; the copies run side by side. Two edits that rerun
different cells share a copy.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from deepclust.reporting.aggregate import read_run
from tests.pipeline.conftest import Repro, Workspace, add_wine, stages_of, sweeps_of

pytestmark = pytest.mark.xdist_group("finished")

ALWAYS = {"plan", "report"}
MINE = '''
    """Groups of equal size by the samples' mean feature."""

    from typing import Any, ClassVar

    import numpy as np

    from deepclust.methods.base import Clusterer


    class Mine(Clusterer):
        """Cut the samples, in the order of the mean of their features, into K groups."""

        paper: ClassVar[str] = "none"

        def _fit(self, X: np.ndarray, **_: Any) -> None:
            ranks = X.mean(axis=1).argsort().argsort()
            self.labels_ = ranks * self.n_clusters // len(X)
            self.n_iter_, self.converged_ = 1, True
'''


def setting(value: Any, *path: str) -> Callable[[Workspace], None]:
    """Return the edit that puts a value at a path of params.yaml."""

    def change(params: Any) -> None:
        *parents, last = path
        for key in parents:
            params = params[key]
        params[last] = value

    return lambda workspace: workspace.edit(change)


def both(*changes: Callable[[Workspace], None]) -> Callable[[Workspace], None]:
    """Return the edit that makes all of several."""

    def change(workspace: Workspace) -> None:
        for make in changes:
            make(workspace)

    return change


def add_a_method(workspace: Workspace) -> None:
    workspace.write("src/deepclust/methods/baselines/mine.py", MINE)
    workspace.edit(lambda params: params["methods"].update(mine={}))


def remove_a_data_set(workspace: Workspace) -> None:
    """Take the first data set, and the sweeps on it, out of the grid."""
    workspace.edit(lambda params: params.update(datasets=["wine"], sweeps={}))


def change_what_decides_nothing(workspace: Workspace) -> None:
    """Change a comment and an error's text in methods' files, and plumbing."""
    workspace.append("src/deepclust/methods/self_training/dec.py", "# a comment\n")
    workspace.replace("src/deepclust/methods/_flat_clustering.py", "a covariance became singular", "singular")
    for file in ("errors.py", "files.py", "runs.py"):
        workspace.append(f"src/deepclust/{file}", "\nADDED = 1\n")


@dataclass(frozen=True)
class Edit:
    """A change of the workspace, and the stages that have to run after it."""

    make: Callable[[Workspace], None]
    expected: Callable[[Workspace], set[str]]
    after: str | None = None  # the edit it builds on; None: the finished grid


EDITS = {
    "a_data_set_is_added": Edit(
        add_wine,
        lambda w: (
            ALWAYS
            | {"fetch@wine", "prepare@wine", "graph@wine", "pretrain@wine-mlp", "pretrain@wine-conv"}
            | stages_of(w, dataset="wine")
        ),
    ),
    "code_that_decides_no_result": Edit(change_what_decides_nothing, lambda w: {"plan"}),
    "the_code_of_one_method": Edit(
        lambda w: w.append("src/deepclust/methods/baselines/kmeans.py", "\nADDED = 1\n"),
        lambda w: ALWAYS | stages_of(w, "kmeans") | sweeps_of(w),
    ),
    "the_code_of_a_loss_and_an_added_method": Edit(
        both(lambda w: w.append("src/deepclust/losses/student_t.py", "\nADDED = 1\n"), add_a_method),
        lambda w: ALWAYS | stages_of(w, "dec", "idec") | stages_of(w, "mine"),
    ),
    # every evaluation has the modularity of its labels on the graph
    "a_setting_of_the_graph": Edit(
        setting(7, "graph", "n_neighbors"),
        lambda w: (
            ALWAYS
            | {"graph@few", "cluster@few-sc_ncut"}
            | {stage for stage in stages_of(w) if stage.startswith("evaluate@")}
        ),
    ),
    "the_epochs_of_a_network": Edit(
        setting(3, "networks", "mlp", "epochs"),
        lambda w: ALWAYS | {"pretrain@few-mlp"} | stages_of(w, "dec", "idec"),
    ),
    "a_seed_is_added": Edit(
        setting([0, 1, 2], "seeds"),
        lambda w: ALWAYS | {"pretrain@few-mlp", "pretrain@few-conv"} | stages_of(w),
    ),
    "a_value_of_a_sweep_and_a_rate_that_breaks_every_seed": Edit(
        both(
            setting([1, 3], "sweeps", "starts", "grid", "n_init"),
            setting(1e30, "methods", "dec", "learning_rate"),
        ),
        lambda w: ALWAYS | sweeps_of(w) | stages_of(w, "dec"),
    ),
    "an_override_for_one_data_set": Edit(
        setting({"few": {"methods": {"kmeans": {"n_init": 3}}}}, "overrides"),
        lambda w: ALWAYS | stages_of(w, "kmeans"),
        after="a_data_set_is_added",
    ),
    "a_data_set_is_removed": Edit(remove_a_data_set, lambda w: ALWAYS, after="a_data_set_is_added"),
}


@dataclass(frozen=True)
class Rerun:
    """The workspace after an edit and `dvc repro`."""

    workspace: Workspace
    repro: Repro
    expected: set[str]


@pytest.fixture(scope="session")
def reruns(
    finished: Workspace,
    pool: ThreadPoolExecutor,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[dict[str, Future[Rerun]]]:
    """Start all edits that this session's tests ask for, in the order of the table, so that none waits for a later."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    wanted = {str(test.callspec.params["rerun"]) for test in tests if "rerun" in test.fixturenames}
    wanted |= {before for name in wanted if (before := EDITS[name].after)}
    folder = tmp_path_factory.mktemp("edits")
    futures: dict[str, Future[Rerun]] = {}

    def start(name: str, edit: Edit) -> Rerun:
        before = futures[edit.after].result().workspace if edit.after else finished
        workspace = before.copy(folder / name)
        edit.make(workspace)
        return Rerun(workspace, workspace.repro(), edit.expected(workspace))

    for name in filter(wanted.__contains__, EDITS):
        futures[name] = pool.submit(start, name, EDITS[name])
    yield futures
    for future in futures.values():
        future.cancel()


@pytest.fixture
def rerun(reruns: dict[str, Future[Rerun]], request: pytest.FixtureRequest) -> Rerun:
    return reruns[request.param].result()


def after(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rerun", [name], indirect=True)


@pytest.mark.parametrize("rerun", EDITS, indirect=True)
def test_an_edit_reruns_what_it_changes_and_nothing_else(rerun: Rerun) -> None:
    assert rerun.repro.ran == rerun.expected
    assert rerun.repro.restored == set()


@after("a_seed_is_added")
def test_a_new_seed_costs_its_own_work_alone(rerun: Rerun) -> None:
    units = [f"data/pretrained/few/{name}" for name in ("mlp", "conv")]
    units += [f"data/runs/few/{cell}" for cell in rerun.workspace.params["methods"]]
    lines = re.findall(r"^data/(?:pretrained|runs)/.*$", rerun.repro.log, re.MULTILINE)
    expected = [
        [f"{unit}, seed 0: finished before, reused", f"{unit}, seed 1: finished before, reused", f"{unit}, seed 2"]
        for unit in units
    ]
    assert sorted(lines) == sorted(line for unit in expected for line in unit)
    results = rerun.workspace.read("reports/results.csv")
    assert len(re.findall(r"^few,dec,dec,2,ok", results, re.MULTILINE)) > 0


@after("a_seed_is_added")
def test_a_new_seed_leaves_the_results_of_the_others_as_they_were(rerun: Rerun, finished: Workspace) -> None:
    for folder in ("data/runs", "data/pretrained"):
        old = finished.files(folder)
        assert old
        new = rerun.workspace.files(folder)
        assert {name: new[name] for name in old} == old
        assert len(new) * 2 == len(old) * 3


@after("a_value_of_a_sweep_and_a_rate_that_breaks_every_seed")
def test_a_changed_value_of_a_sweep_costs_its_own_points_alone(rerun: Rerun, finished: Workspace) -> None:
    workspace = rerun.workspace
    assert re.findall(r"^data/sweeps/.*$", rerun.repro.log, re.MULTILINE) == [
        "data/sweeps/few/starts/n_init=1, seed 0: finished before, reused",
        "data/sweeps/few/starts/n_init=3, seed 0",
    ]
    for folder in ("data/sweeps/few/starts", "work/sweep/few/starts"):
        assert sorted(path.name for path in (workspace.root / folder).iterdir()) == ["n_init=1", "n_init=3"]
    before, now = (w.read("reports/sweeps/starts/results.csv").splitlines() for w in (finished, workspace))
    assert before[0] == now[0] == "n_init,point,seed,status,reason,metric,value"
    assert [line for line in now if line.startswith("1,n_init=1,0,ok,,")] == before[1:6]
    assert len([line for line in now if line.startswith("3,n_init=3,0,ok,,")]) == len(now) - 6 == 5
    assert "n_init: 1, 3 |" in workspace.read("reports/README.md")


@after("a_data_set_is_added")
def test_a_new_data_set_leaves_the_results_of_the_others_as_they_were(rerun: Rerun, finished: Workspace) -> None:
    for folder in ("data/runs/few", "reports/metrics/few", "reports/scores/few", "reports/cells/few"):
        assert finished.files(folder)
        assert rerun.workspace.files(folder) == finished.files(folder)


@after("a_data_set_is_removed")
def test_a_removed_data_set_leaves_the_report(rerun: Rerun) -> None:
    pages = ("results.csv", "summary.csv", "README.md")
    texts = {page: rerun.workspace.read(f"reports/{page}") for page in pages}
    assert "Sweeps" not in texts["README.md"]
    assert all("wine" in text for text in texts.values())
    assert not any(re.search(r"\bfew\b|_few\b", text) for text in texts.values())
    page = rerun.workspace.read("reports/index.html")
    assert "cell-wine-" in page
    assert "cell-few-" not in page
    for folder in ("tables", "figures"):
        assert [name for name in rerun.workspace.files(f"reports/{folder}") if "few" in name] == []


@after("a_value_of_a_sweep_and_a_rate_that_breaks_every_seed")
def test_seeds_that_break_down_are_reported_with_their_reason_and_cost_nothing_else(
    rerun: Rerun, finished: Workspace
) -> None:
    workspace = rerun.workspace
    seeds = read_run(workspace.root / "reports/runs/few/dec.json")["seeds"]
    for seed in ("0", "1"):
        assert seeds[seed]["status"] == "failed"
        assert re.search("'clustering' .* became (nan|inf) .*; lower the learning rate", seeds[seed]["reason"])
    assert workspace.read_json("reports/metrics/few/dec.json") == {"n": 0, "failed": 2}
    assert list(workspace.files("reports/files/few/dec")) == ["reports/files/few/dec/why-no-figures.txt"]

    before, now = (w.read("reports/results.csv").splitlines() for w in (finished, workspace))
    assert {line.split(",")[4] for line in now if line.startswith("few,dec,")} == {"failed"}
    kept = [line for line in before if not line.startswith("few,dec,")]
    assert len(kept) > len(before) / 2
    assert [line for line in now if not line.startswith("few,dec,")] == kept
    table = workspace.read("reports/tables/few.md")
    assert row_of("dec", table).count("failed") == 5
    assert f"dec on few: {seeds['0']['reason']}" in table


@after("a_data_set_is_added")
def test_a_network_for_images_is_skipped_with_its_reason_where_there_are_none(rerun: Rerun) -> None:
    seeds = read_run(rerun.workspace.root / "reports/runs/wine/conv_kmeans.json")["seeds"]
    assert {seed: record["status"] for seed, record in seeds.items()} == {"0": "skipped", "1": "skipped"}
    assert all("image" in record["reason"] for record in seeds.values())
    assert rerun.workspace.read_json("reports/metrics/wine/conv_kmeans.json") == {"n": 0, "failed": 0}
    table = rerun.workspace.read("reports/tables/wine.md")
    assert row_of("conv_kmeans", table).count("skipped") == 5
    assert f"conv_kmeans on wine: {seeds['0']['reason']}" in table


def row_of(cell: str, table: str) -> str:
    """Return the one line of a Markdown table that begins with a cell's name."""
    (row,) = re.findall(rf"^\| \[?{cell}\b.*$", table, re.MULTILINE)
    return str(row)
