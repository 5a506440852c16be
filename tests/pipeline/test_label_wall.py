"""Labels reach the evaluation and nothing before it: in what DVC is told, and in what the stages really read."""

import functools
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from deepclust import config, grids, methods
from deepclust.closure import is_plumbing
from deepclust.files import read_json, read_yaml
from tests.pipeline.conftest import ROOT, Twins, Workspace

pytestmark = pytest.mark.xdist_group("finished")

RESOLVED = [grids.default(), "benchmark", "hybrid", "large", "paper"]  # their methods are those of all grids
PACKAGE = ROOT / "src/deepclust"
INDEX = """
import json
from dvc.repo import Repo

with Repo() as repo:
    stages = {
        s.addressing: {"cmd": s.cmd, "deps": [d.def_path for d in s.deps], "outs": [o.def_path for o in s.outs]}
        for s in repo.index.stages
    }
print(json.dumps(stages))
"""


def index(workspace: Workspace) -> dict[str, Any]:
    """Return every stage as DVC resolves it: its command, its dependencies and its outputs."""
    stages: dict[str, Any] = json.loads(workspace.run("python", "-c", INDEX).splitlines()[-1])
    return stages


def within(path: str, folders: Iterable[str]) -> bool:
    return not ancestors(path).isdisjoint(folders)


@functools.cache
def ancestors(path: str) -> frozenset[str]:
    """Return a path and every folder above it."""
    return frozenset([path, *map(str, PurePosixPath(path).parents)])


@pytest.fixture(scope="module", params=RESOLVED)
def resolved(pristine: Workspace, warm: dict[str, str], request: pytest.FixtureRequest) -> tuple[dict[str, Any], Any]:
    """Return the stages of a grid as it is committed, and its params.yaml."""
    folder = grids.folder(request.param).relative_to(ROOT)
    workspace = Workspace(pristine.root / folder, warm)
    return index(workspace), workspace.params


def test_every_other_grid_is_the_same_pipeline_with_methods_of_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC takes seconds to resolve a grid; two files decide what it finds."""

    def methods_of(grid: str) -> set[str]:
        cells = read_yaml(grids.folder(grid) / "params.yaml")["methods"]
        return {settings.get("uses", cell) for cell, settings in cells.items()}

    known = set[str]().union(*map(methods_of, RESOLVED))
    for grid in set(grids.names()) - set(RESOLVED):
        assert methods_of(grid) <= known, grid
        monkeypatch.chdir(grids.folder(grid))
        assert Path("dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()
        assert config.is_current(config.load()), grid


def test_only_evaluation_depends_on_labels(resolved: tuple[dict[str, Any], Any]) -> None:
    stages, params = resolved
    for dataset in params["datasets"]:
        labels, published = f"data/prepared/{dataset}/y.npy", f"data/raw/{dataset}"
        assert {name for name, stage in stages.items() if labels in stage["outs"]} == {f"prepare@{dataset}"}
        readers = {name.split("@")[0] for name, stage in stages.items() if within(labels, stage["deps"])}
        assert readers
        assert readers <= {"evaluate", "evaluate_sweep"}
        # the names of samples may hold the labels, and the published files do
        names = f"data/prepared/{dataset}/samples.txt"
        assert {name for name, stage in stages.items() if names in stage["deps"]} <= {
            name for name, stage in stages.items() if labels in stage["deps"]
        }
        holders = {name for name, stage in stages.items() if any(within(dep, [published]) for dep in stage["deps"])}
        assert holders == {f"prepare@{dataset}"}
    # what comes after an evaluation is the report alone
    judged = {out for name, stage in stages.items() if name.startswith("evaluate") for out in stage["outs"]}
    above = set[str]().union(*map(ancestors, judged))
    users = {n for n, stage in stages.items() if any(dep in above or within(dep, judged) for dep in stage["deps"])}
    assert users == {"report"}
    made = stages["report"]["outs"]
    assert [name for name, stage in stages.items() if any(within(dep, made) for dep in stage["deps"])] == []


def test_every_cell_has_its_stages_and_the_inputs_its_method_reads(resolved: tuple[dict[str, Any], Any]) -> None:
    stages, params = resolved
    seen = {"plan", "report"}
    read: dict[str, set[str]] = {dataset: set() for dataset in params["datasets"]}

    def inputs(stage: str, method: str) -> None:
        """Hold a stage's dependencies against what its method declares, and note the network."""
        cls = methods.describe(method)
        deps = {dep for dep in stages[stage]["deps"] if not within(dep, ["data/plan", "data/prepared"])}
        networks = {dep for dep in deps if within(dep, ["data/pretrained"])}
        dataset = stage.partition("@")[2].partition("-")[0]
        assert deps - networks == ({f"data/graph/{dataset}"} if cls.reads_graph else set())
        assert len(networks) == bool(cls.default_network)
        read[dataset] |= {PurePosixPath(network).name for network in networks}

    for name, sweep in params.get("sweeps", {}).items():
        fits, evaluation = (f"{stage}@{sweep['dataset']}-{name}" for stage in ("sweep", "evaluate_sweep"))
        seen |= {fits, evaluation}
        inputs(fits, params["methods"][sweep["cell"]].get("uses", sweep["cell"]))
        assert stages[fits]["outs"] == [f"data/sweeps/{sweep['dataset']}/{name}"]
        assert stages[fits]["outs"][0] in stages[evaluation]["deps"]
    for dataset in params["datasets"]:
        seen |= {f"{stage}@{dataset}" for stage in ("fetch", "prepare", "graph")}
        for cell, settings in params["methods"].items():
            cluster, evaluate = f"cluster@{dataset}-{cell}", f"evaluate@{dataset}-{cell}"
            seen |= {cluster, evaluate}
            inputs(cluster, settings.get("uses", cell))
            assert f"data/plan/{dataset}/cluster/{cell}.json" in stages[cluster]["deps"]
            assert stages[cluster]["outs"] == [f"data/runs/{dataset}/{cell}"]
            assert f"data/runs/{dataset}/{cell}" in stages[evaluate]["deps"]
        seen |= {f"pretrain@{dataset}-{network}" for network in read[dataset]}  # and no other is pretrained
    assert set(stages) == seen


def test_a_stage_reads_only_what_it_declares(twins: Twins) -> None:
    """Undeclared reading is how stale results, and labels, get where they should not be."""
    allowed = {"stages/fetch.py": ["params.yaml"]}  # where a mirror lies is no part of any result
    stages = index(twins.second)
    assert {name for name in stages if stages[name]["cmd"]} == twins.serial.ran
    for name, stage in stages.items():
        script, *arguments = stage["cmd"].split()[1:]
        note = witness(twins, script, *filter(None, name.partition("@")[2].split("-")), *arguments)
        read = {path for path in note["opened"] if within(path, ["data", "reports", "params.yaml"])}
        # what it made itself is fresh, since DVC deletes a stage's outs before it starts; and every plan is hashed,
        # since dvc.lock has one digest of them all
        declared = [*stage["deps"], *stage["outs"], "data/plan", *allowed.get(script, [])]
        assert [path for path in read if not within(path, declared)] == [], name


def test_only_evaluation_opens_the_labels(twins: Twins) -> None:
    openers = set()
    for note in twins.witnesses.iterdir():
        if "data/prepared/few/y.npy" in read_json(note)["opened"]:
            openers.add(note.name.split()[0])
    assert openers == {"stages:evaluate.py", "stages:evaluate_sweep.py"}


def test_a_stage_loads_only_code_whose_hashes_its_plan_holds(twins: Twins) -> None:
    """Whatever a stage imports, at any time while it runs, has to make it run again when it changes."""
    plans = {
        "stages/fetch.py few": "fetch",
        "stages/prepare.py few": "prepare",
        "stages/graph.py few": "graph",
        **{f"stages/pretrain.py few {network}": f"pretrain/{network}" for network in ("mlp", "conv")},
    }
    for cell in twins.second.params["methods"]:
        plans[f"stages/cluster.py few {cell}"] = f"cluster/{cell}"
        plans[f"stages/evaluate.py few {cell}"] = "evaluate"
    for sweep in twins.second.params["sweeps"]:
        plans[f"stages/cluster.py few {sweep} sweep"] = f"sweep/{sweep}"
        plans[f"stages/evaluate_sweep.py few {sweep}"] = f"evaluate_sweep/{sweep}"
    files = twins.second.read_json("reports/code.json")
    for command, unit in plans.items():
        code = set(files[twins.second.read_json(f"data/plan/few/{unit}.json")["code"]])
        script, *arguments = command.split()
        loaded = {path.removeprefix("src/deepclust/") for path in witness(twins, script, *arguments)["modules"]}
        assert loaded
        assert {path for path in loaded if not is_plumbing(PACKAGE / path)} <= code, command
        assert PurePosixPath(script).name in code


def test_the_report_loads_only_code_among_its_dependencies(twins: Twins) -> None:
    declared = index(twins.second)["report"]["deps"]
    loaded = witness(twins, "stages/report.py")["modules"]
    assert loaded
    others = [PACKAGE.parents[1] / path for path in loaded if not within(path, declared)]
    started = {PACKAGE / "__init__.py", PACKAGE / "instructions.py"}  # which set how libraries wait and compute
    assert {path for path in others if not is_plumbing(path)} == started


def witness(twins: Twins, *command: str) -> Any:
    """Return what a command read and loaded in the second of the twins."""
    return read_json(twins.witnesses / " ".join(command).replace("/", ":"))
