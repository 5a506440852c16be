"""params.yaml: every mistake ends in one line that says what to do, and named grids go in and out without a trace."""

import copy
import logging
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from deepclust import config, grids, planning
from deepclust.config import resolution, schema
from deepclust.errors import UserError
from deepclust.files import read_json, read_yaml
from deepclust.settings import Augmentation

ROOT = Path(__file__).parents[1]
main = runpy.run_path(str(ROOT / "stages/plan.py"))["main"]
GRIDS = grids.names()
COMMITTED = (ROOT / "params.yaml").read_bytes()

Plan = Callable[..., str]
"""Arguments of stages/plan.py -> what it wrote to stderr; it has to fail."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a copy of what `plan` reads, go there, and return it."""
    for name in ("params.yaml", "cells.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Plan]:
    """Run stages/plan.py as `python` does, but in this process: loading the methods takes seconds."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["stages/plan.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path("stages/plan.py", run_name="__main__")
        assert stop.value.code == 2
        return capsys.readouterr().err

    level = logging.getLogger("deepclust").level
    yield run
    logging.getLogger("deepclust").setLevel(level)


def change(value: Any, *path: str | int) -> Callable[[dict[str, Any]], None]:
    """Return the edit that puts `value` at a path of params.yaml."""

    def edit(params: Any) -> None:
        *parents, last = path
        for key in parents:
            params = params[key]
        params[last] = value

    return edit


def committed() -> Any:
    return read_yaml(ROOT / "params.yaml")


def remove(*path: str) -> Callable[[dict[str, Any]], None]:
    def edit(params: Any) -> None:
        *parents, last = path
        for key in parents:
            params = params[key]
        del params[last]

    return edit


def override(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return change({"digits": changes}, "overrides")


def sweep(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Return the edit that adds a sweep of IDEC in two settings, changed as given."""
    right = {
        "dataset": "digits",
        "cell": "idec",
        "seeds": [0],
        "grid": {"alpha": [1, 2.5], "optimizer": ["sgd", "adam"]},
    }
    return change({"mine": right | changes}, "sweeps")


# Edit of params.yaml -> what the one line has to say: the key, the value, and what is allowed or what to do.
MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], None], list[str]]] = {
    "unknown_section": (change([1], "sedes"), ["params.yaml: sedes", "[1]", "seeds"]),
    "unknown_key": (change(1, "compute", "cores"), ["compute.cores", "got 1", "threads"]),
    "unknown_key_of_a_network": (
        change(3, "networks", "mlp", "epoch"),
        ["networks.mlp.epoch=3", "not a setting of network 'mlp'", "epochs"],
    ),
    "key_of_another_architecture": (
        change([8], "networks", "mlp", "channels"),
        ["networks.mlp.channels=[8]", "hidden"],
    ),
    **{
        f"missing_{section}": (remove(section), [f"params.yaml: {section}", "required"])
        for section in (
            "grid",
            "seeds",
            "datasets",
            "methods",
        )
    },
    **{
        f"{section}_without_content": (change(None, section), [f"params.yaml: {section}", "write {} or take", "None"])
        for section in ("compute", "data", "own", "graph", "defaults", "networks", "methods", "overrides", "sweeps")
    },
    "no_method": (change({}, "methods"), ["params.yaml: methods", "at least 1", "{}"]),
    "method_without_content": (change(None, "methods", "kmeans"), ["methods.kmeans", "write {} or take", "None"]),
    "data_sets_in_a_word": (change("digits", "datasets"), ["params.yaml: datasets", "valid list", "'digits'"]),
    "instructions_of_another_processor": (
        change("avx512", "compute", "instructions"),
        ["compute.instructions", "'native' or 'avx2'", "avx512"],
    ),
    "default_that_nothing_has": (
        change(3, "defaults", "batch_sise"),
        ["params.yaml: defaults.batch_sise", "no method and no network", "correct the name"],
    ),
    "default_out_of_range": (
        change(0, "defaults", "batch_size"),
        ["params.yaml: defaults.batch_size", "greater than or equal to 1", "got 0"],
    ),
    "default_for_one_data_set_that_nothing_has": (
        lambda params: override(defaults={"epoch": 3})(params),
        ["overrides.digits.defaults.epoch", "correct the name"],
    ),
    **{
        f"own_data_{name}": (change({"mine": settings}, "own"), ["params.yaml: own.mine", *said])
        for name, (settings, said) in {
            "without_k": ({"path": "x.csv", "scale": "none"}, ["own.mine.n_clusters", "required"]),
            "without_scale": ({"path": "x.csv", "n_clusters": 2}, ["scale must be feature, global or none"]),
            "scaled_edges": (
                {"path": "x.npz", "n_clusters": 2, "scale": "none", "edges": True},
                ["edges have no scale and no image_shape"],
            ),
            "edges_of_images": ({"path": "x", "n_clusters": 2, "edges": True}, ["edges are a sparse matrix in a .npz"]),
            "scaled_images": ({"path": "x", "n_clusters": 2, "scale": "none"}, ["scale is for tables and arrays"]),
            "columns_of_an_array": (
                {"path": "x.npy", "n_clusters": 2, "scale": "none", "columns": ["a"]},
                ["columns are for .csv and .parquet"],
            ),
            "index_of_an_array": (
                {"path": "x.npy", "n_clusters": 2, "scale": "none", "index": True},
                ["index is for .csv and .parquet files"],
            ),
            "first_column_of_parquet": (
                {"path": "x.parquet", "n_clusters": 2, "scale": "none", "index": True},
                ["index of a .parquet file is the name of a column"],
            ),
            **{
                f"{setting}_of_parquet": (
                    {"path": "x.parquet", "n_clusters": 2, "scale": "none", setting: value},
                    ["header, separator, encoding and compression are for .csv and .tsv files"],
                )
                for setting, value in {
                    "header": False,
                    "separator": ";",
                    "encoding": "utf-16",
                    "compression": "gzip",
                }.items()
            },
            "separator_of_two": (
                {"path": "x.csv", "n_clusters": 2, "scale": "none", "separator": ";;"},
                ["own.mine.separator", "one character", "';;'"],
            ),
            "encoding_that_is_none": (
                {"path": "x.csv", "n_clusters": 2, "scale": "none", "encoding": "utf-9"},
                ["own.mine.encoding", "no such encoding", "cp1252", "'utf-9'"],
            ),
            "compression_that_is_none": (
                {"path": "x.csv", "n_clusters": 2, "scale": "none", "compression": "rar"},
                ["own.mine.compression", "'gzip', 'bz2', 'xz', 'zip' or 'none'", "'rar'"],
            ),
            "column_twice": (
                {"path": "x.csv", "n_clusters": 2, "scale": "none", "columns": [1, "1"]},
                ["own.mine.columns: 1 is listed twice"],
            ),
            "index_among_columns": (
                {"path": "x.csv", "n_clusters": 2, "scale": "none", "columns": ["a"], "index": "a"},
                ["columns must not hold the labels or the index"],
            ),
            "spreadsheet": (
                {"path": "x.XLSX", "n_clusters": 2, "scale": "feature", "labels": "kind"},
                ["x.XLSX must be a folder or end in .csv, ", "export it as CSV"],
            ),
            "file_of_no_format": (
                {"path": "params.yaml", "n_clusters": 2, "scale": "feature"},
                ["params.yaml must be a folder or end in .csv, ", "convert it to one of these"],
            ),
            "labels_among_columns": (
                {"path": "x.csv", "n_clusters": 2, "scale": "none", "columns": ["a"], "labels": "a"},
                ["columns must not hold the labels"],
            ),
            "labels_beside_an_array": (
                {"path": "x.npy", "n_clusters": 2, "scale": "none", "labels": "y.npy"},
                ["make path the folder of both"],
            ),
            "array_from_elsewhere": (
                {"path": "x", "n_clusters": 2, "scale": "none", "array": "/x/X.npy"},
                ["array and labels are files below path", "not hidden; move them there"],
            ),
            "labels_from_above": (
                {"path": "x", "n_clusters": 2, "scale": "none", "array": "X.npy", "labels": "../y.npy"},
                ["array and labels are files below path"],
            ),
            "hidden_labels": (
                {"path": "x", "n_clusters": 2, "scale": "none", "array": "a/X.npy", "labels": ".y.npy"},
                ["array and labels are files below path"],
            ),
            "labels_of_images": ({"path": "x", "n_clusters": 2, "labels": "y"}, ["'folders' or absent"]),
            "shape_of_images": ({"path": "x", "n_clusters": 2, "image_shape": [2, 8, 8]}, ["1 or 3 channels"]),
            "shape_of_channels_last": (
                {"path": "x.npy", "n_clusters": 2, "scale": "none", "image_shape": [1025, 8, 1]},
                ["at most 1024 channels"],
            ),
            "shape_of_two": ({"path": "x", "n_clusters": 2, "image_shape": [8, 8]}, ["own.mine.image_shape", "3"]),
            "unknown_key": ({"path": "x", "n_clusters": 2, "label": "y"}, ["own.mine.label", "labels"]),
            "no_such_file": ({"path": "x", "n_clusters": 2}, ["own.mine.path: x does not exist; correct it"]),
            "among_results": (
                {"path": "./data/raw/x.npy", "n_clusters": 2, "scale": "none"},
                ["own.mine.path: ./data/raw/x.npy lies in data/raw, which stages write; move it"],
            ),
        }.items()
    },
    "own_data_named_as_published": (
        change({"digits": {"path": "stages", "n_clusters": 2}}, "own"),
        ["own.digits", "name of a published data set; choose another"],
    ),
    "own_data_named_as_a_folder_of_the_reports": (
        change({"sweeps": {"path": "stages", "n_clusters": 2}}, "own"),
        ["own.sweeps", "name of a folder in reports/files; choose another"],
    ),
    "string_for_int": (change("2", "compute", "threads"), ["compute.threads", "integer", "'2'"]),
    "float_for_int": (change(10.0, "graph", "n_neighbors"), ["graph.n_neighbors", "integer", "10.0"]),
    "fill_of_an_augmentation": (
        change({"fill": "nearest"}, "methods", "decs", "augment"),
        ["methods.decs.augment.fill", "'zeros' or 'border'", "got 'nearest'"],
    ),
    "augmentation_neither_told_nor_settings": (
        change(1, "methods", "decs", "augment"),
        ["methods.decs.augment", "boolean", "got 1"],
    ),
    "iterations_of_nought": (
        change("0 iterations", "methods", "idec", "epochs"),
        ["methods.idec.epochs", "'10000 iterations', in [1, 10^9)", "got '0 iterations'"],
    ),
    "iterations_without_their_unit": (
        change("500", "networks", "mlp", "epochs"),
        ["networks.mlp.epochs", "'10000 iterations'", "got '500'"],
    ),
    "iterations_beside_epochs": (
        change({"epochs": 50, "iterations": 500}, "methods", "idec"),
        ["methods.idec.iterations=500", "not a setting of 'idec'", "epochs"],
    ),
    "bool_for_int": (change(True, "networks", "mlp", "epochs"), ["networks.mlp.epochs", "integer", "True"]),
    "string_for_bool": (change("yes", "graph", "exact"), ["graph.exact", "boolean", "'yes'"]),
    "int_for_bool": (change(1, "networks", "mlp", "batch_norm"), ["networks.mlp.batch_norm", "boolean", "got 1"]),
    "string_for_float": (
        change("0.1", "networks", "mlp", "learning_rate"),
        ["networks.mlp.learning_rate", "number", "'0.1'"],
    ),
    "bool_for_float": (
        change({"rotation": True}, "networks", "conv", "augmentation"),
        ["networks.conv.augmentation.rotation", "number", "True"],
    ),
    "int_for_a_name": (change(7, "grid"), ["grid", "string", "got 7"]),
    "int_for_a_list": (change(3, "seeds"), ["seeds", "list", "got 3"]),
    "below_the_range": (
        change(0, "graph", "n_neighbors"),
        ["graph.n_neighbors", "greater than or equal to 1", "got 0"],
    ),
    "above_the_range": (
        change(2, "networks", "mlp", "learning_rate"),
        ["networks.mlp.learning_rate", "less than or equal to 1", "got 2"],
    ),
    "not_a_number": (
        change(float("nan"), "networks", "mlp", "learning_rate"),
        ["networks.mlp.learning_rate", "less than or equal to 1", "nan"],
    ),
    "out_of_range_in_a_list": (
        change([16, 0], "networks", "mlp", "hidden"),
        ["networks.mlp.hidden.1", "greater than or equal to 1", "got 0"],
    ),
    "not_among_the_choices": (
        change("gpu", "compute", "device"),
        ["compute.device", "'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'", "gpu"],
    ),
    "too_many_neighbours": (change(1001, "graph", "n_neighbors"), ["graph.n_neighbors", "equal to 1000", "got 1001"]),
    "too_many_threads": (change(1025, "compute", "threads"), ["compute.threads", "equal to 1024", "got 1025"]),
    "too_large_a_seed": (change([2**32], "seeds"), ["seeds.0", "less than 4294967296", "got 4294967296"]),
    "too_wide_a_layer": (
        change([500, 65_537], "networks", "mlp", "hidden"),
        ["params.yaml: networks.mlp.hidden", "at most 65536 units or channels", "[500, 65537]"],
    ),
    "negative_seed": (change([-1], "seeds"), ["seeds.0", "greater than or equal to 0", "-1"]),
    "repeated_seed": (change([0, 1, 0], "seeds"), ["seeds", "0 is listed twice", "list each once", "[0, 1, 0]"]),
    "no_seed": (change([], "seeds"), ["seeds", "at least 1", "[]"]),
    "no_data_set": (change([], "datasets"), ["datasets", "at least 1", "[]"]),
    "repeated_data_set": (change(["digits"] * 2, "datasets"), ["datasets", "digits is listed twice", "list each once"]),
    "unknown_data_set": (change(["digit"], "datasets"), ["data set 'digit'", "digits, fashion"]),
    "unknown_method": (change({}, "methods", "kmean"), ["methods.kmean", "kmeans", "`uses`"]),
    "uses_an_unknown_method": (
        change({"uses": "kmean"}, "methods", "mine"),
        ["methods.mine", "'kmean'", "kmeans"],
    ),
    "uses_another_method_under_a_methods_name": (
        change({"uses": "kmeans"}, "methods", "hybrid"),
        ["methods.hybrid", "'hybrid' is a method, and the cell uses 'kmeans'", "another name"],
    ),
    "network_of_a_method_that_reads_none": (
        change({"network": "mlp"}, "methods", "kmeans"),
        ["params.yaml: methods.kmeans.network='mlp'", "'kmeans' reads no network", "take it out"],
    ),
    "no_network_of_a_method_that_reads_one": (
        change("", "methods", "idec", "network"),
        ["methods.idec.network=''", "'idec' reads 'mlp'", "correct it"],
    ),
    "networks_of_a_cell": (
        change(["mlp"], "methods", "idec", "network"),
        ["params.yaml: methods.idec.network=['mlp']", "'idec' reads 'mlp' or another network", "correct it"],
    ),
    "no_network_by_default": (
        override(defaults={"network": None}),
        ["params.yaml: overrides.digits.defaults.network=None", "reads 'mlp' or another network"],
    ),
    "unknown_network_of_a_cell": (
        change("mpl", "methods", "idec", "network"),
        ["networks.mpl", "mlp", "`uses`"],
    ),
    "unknown_setting": (
        change(2, "methods", "kmeans", "n_inits"),
        ["methods.kmeans.n_inits", "=2", "takes n_init"],
    ),
    "setting_out_of_range": (
        change(0, "methods", "kmeans", "n_init"),
        ["methods.kmeans.n_init", "greater than or equal to 1", "got 0"],
    ),
    "setting_of_the_wrong_type": (
        change("20", "methods", "kmeans", "n_init"),
        ["methods.kmeans.n_init", "integer", "'20'"],
    ),
    "bool_for_an_int_setting": (
        change(True, "methods", "kmeans", "n_init"),
        ["methods.kmeans.n_init", "integer", "True"],
    ),
    "settings_that_are_no_mapping": (change(3, "methods", "kmeans"), ["methods.kmeans", "dictionary", "got 3"]),
    **{
        f"{setting}_which_the_pipeline_sets": (
            change(value, "methods", "idec", setting),
            [f"methods.idec.{setting}", repr(value), "takes alpha, normalize"],
        )
        for setting, value in {"n_clusters": 3, "random_state": 0, "device": "cpu", "pretraining": {}}.items()
    },
    **{
        f"cell_named_{name}": (
            change({"uses": "kmeans"}, "methods", name),
            [f"methods.{name}", "a-z, 0-9 and _", "rename it"],
        )
        for name in ("my-cell", "a.b", "A", "a@b", "")
    },
    "too_long_a_name": (change({"a" * 81: {}}, "networks"), ["networks", "80 at most"]),
    "too_wide_a_code": (
        change(65_537, "networks", "mlp", "n_embedding"),
        ["params.yaml: networks.mlp.n_embedding", "at most 65536 units or channels", "got 65537"],
    ),
    "too_many_epochs": (change(2**31, "methods", "idec", "epochs"), ["methods.idec.epochs", "less than 2147483648"]),
    "grid_named_my-grid": (change("my-grid", "grid"), ["grid", "'my-grid'", "a-z, 0-9 and _", "rename it"]),
    "network_named_my-net": (
        change({"uses": "mlp"}, "networks", "my-net"),
        ["networks.my-net", "a-z, 0-9 and _", "rename it"],
    ),
    "unknown_network": (change({}, "networks", "mine"), ["networks.mine", "mlp", "`uses`"]),
    "network_that_uses_an_unknown_one": (
        change({"uses": "mpl"}, "networks", "mine"),
        ["networks.mine", "'mpl'", "mlp"],
    ),
    "override_for_an_unknown_data_set": (change({"digit": {}}, "overrides"), ["'digit'", "digits, fashion"]),
    "override_of_an_unknown_section": (override(method={}), ["overrides.digits.method", "methods"]),
    "override_of_an_unknown_cell": (
        override(methods={"kmean": {}}),
        ["overrides.digits.methods.kmean", "kmeans, graph_modularity", "correct the name"],
    ),
    "override_of_an_unknown_network": (
        override(networks={"mpl": {}}),
        ["overrides.digits.networks.mpl", "among networks: mlp, ", "correct the name"],
    ),
    "override_out_of_range": (
        override(graph={"n_neighbors": 0}),
        ["overrides.digits.graph", "n_neighbors", "greater than or equal to 1", "got 0"],
    ),
    "override_of_the_precision_out_of_range": (
        override(compute={"precision": "float16"}),
        ["overrides.digits.compute", "precision", "'float32', 'bfloat16' or 'onednn_bfloat16'", "float16"],
    ),
    "override_of_the_instructions": (
        override(compute={"instructions": "avx2"}),
        ["overrides.digits.compute.instructions", "the same for all data sets", "set compute.instructions"],
    ),
    "override_of_a_network_out_of_range": (
        override(networks={"mlp": {"epochs": -1}}),
        ["overrides.digits.networks.mlp.epochs", "greater than or equal to 0", "got -1"],
    ),
    "override_of_a_setting_out_of_range": (
        override(methods={"kmeans": {"n_init": 0}}),
        ["overrides.digits.methods.kmeans.n_init", "greater than or equal to 1", "got 0"],
    ),
    "sweep_on_a_data_set_that_is_not_run": (
        sweep(dataset="usps"),
        ["sweeps.mine.dataset", "'usps'", "datasets: digits", "add it there"],
    ),
    "sweep_of_an_unknown_cell": (
        sweep(cell="dce"),
        ["sweeps.mine.cell", "'dce'", "kmeans, graph_modularity", "correct it"],
    ),
    "sweep_with_a_seed_that_has_no_network": (sweep(seeds=[0, 7]), ["sweeps.mine.seeds: 7", "0, 1, 2", "networks"]),
    "sweep_without_a_seed": (sweep(seeds=[]), ["sweeps.mine.seeds", "at least 1", "[]"]),
    "sweep_of_an_unknown_setting": (
        sweep(grid={"alfa": [1]}),
        ["params.yaml: sweeps.mine.grid.alfa=1", "not a setting of 'idec'", "takes alpha"],
    ),
    "sweep_over_a_value_out_of_range": (
        sweep(grid={"alpha": [1, -1]}),
        ["params.yaml: sweeps.mine.grid.alpha: ", "greater than 0", "got -1", "correct it there"],
    ),
    "sweep_over_a_value_of_the_wrong_type": (
        sweep(grid={"epochs": [True]}),
        ["sweeps.mine.grid.epochs", "integer", "True"],
    ),
    "sweep_over_what_names_no_folder": (
        sweep(grid={"optimizer": ["../x"]}),
        ["sweeps.mine.grid.optimizer.0", "a word", "'../x'"],
    ),
    "sweep_over_infinity": (sweep(grid={"alpha": [float("inf")]}), ["sweeps.mine.grid.alpha.0", "finite", "inf"]),
    "sweep_over_no_value": (sweep(grid={"alpha": []}), ["sweeps.mine.grid.alpha", "at least 1", "[]"]),
    "sweep_over_a_value_twice": (sweep(grid={"alpha": [1, 1.0]}), ["sweeps.mine.grid.alpha", "listed twice"]),
    "sweep_over_no_setting": (sweep(grid={}), ["sweeps.mine.grid", "at least 1", "{}"]),
    "sweep_over_four_settings": (
        sweep(grid={"alpha": [1], "epochs": [1], "batch_size": [1], "learning_rate": [0.1]}),
        ["sweeps.mine.grid", "at most 3"],
    ),
    "sweep_from_a_base_out_of_range": (
        sweep(base={"epochs": -1}),
        ["sweeps.mine.base.epochs", "greater than or equal to 0", "got -1"],
    ),
    "sweep_with_a_setting_in_base_and_grid": (
        sweep(base={"alpha": 3}),
        ["sweeps.mine.base.alpha=3", "also in grid", "take it out"],
    ),
    "sweep_with_an_unknown_key": (sweep(method="dec"), ["sweeps.mine.method", "got 'dec'", "dataset, cell"]),
    "sweep_with_a_name_that_dvc_splits": (
        change({"a-b": {}}, "sweeps"),
        ["sweeps.a-b", "a-z, 0-9 and _", "rename it"],
    ),
    "override_for_a_data_set_that_is_not_run": (
        change({"usps": {"methods": {"kmean": {}}}}, "overrides"),
        ["overrides.usps.methods.kmean", "kmeans, graph_modularity", "correct the name"],
    ),
}

# The file itself is wrong, so that there is no key to name.
BROKEN = {
    "not_yaml": (b"seeds: [0, 1\n", ["params.yaml is not YAML in UTF-8", "line"]),
    "tab": (b"compute:\n\tthreads: 1\n", ["params.yaml is not YAML in UTF-8", "line 2"]),
    "empty": (b"", ["params.yaml: nothing stands here", "None"]),
    "a_list": (b"[1]\n", ["params.yaml", "dictionary", "[1]"]),
    "python_tag": (b"grid: !!python/name:os.system\n", ["params.yaml is not YAML in UTF-8", "python/name"]),
    "not_utf_8": ("grid: \xe9\n".encode("latin-1"), ["params.yaml", "UTF-8"]),
    "repeated_key": (
        COMMITTED.replace(b"  kmeans: {", b"  kmeans: {n_init: 1}\n  kmeans: {"),
        ["params.yaml, line", "'kmeans' stands twice in the section that begins in line", "rename one"],
    ),
}


def assert_one_line(message: str, words: list[str], project: Path) -> None:
    assert message.startswith("error: ")
    assert message.endswith("\n")
    assert message.count("\n") == 1
    assert [word for word in words if word not in message] == [], message
    assert not (project / "data").exists()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line_with_the_remedy_and_nothing_written(
    mistake: str, project: Path, plan: Plan
) -> None:
    edit, words = MISTAKES[mistake]
    params = committed()
    edit(params)
    YAML().dump(params, project / "params.yaml")
    written = (project / "params.yaml").read_bytes()
    for command in (["check"], []):
        assert_one_line(plan(*command), words, project)
    assert (project / "params.yaml").read_bytes() == written


@pytest.mark.parametrize(
    ("folder", "link", "words"),
    [
        ("pets.csv", "1.png", ["pets.csv is a folder with the name of a file; rename it without .csv"]),
        ("pets", "1.png", ["own.mine.path: 'pets/1.png' is a link to nothing", "remove it"]),
    ],
)
def test_own_data_that_cannot_be_read_ends_in_one_line_before_dvc_sees_it(
    project: Path, plan: Plan, folder: str, link: str, words: list[str]
) -> None:
    (project / folder).mkdir()
    (project / folder / link).symlink_to("nowhere")
    params = committed()
    change({"mine": {"path": folder, "n_clusters": 2}}, "own")(params)
    YAML().dump(params, project / "params.yaml")
    assert_one_line(plan("check"), words, project)


def test_columns_may_be_named_by_numbers() -> None:
    content = {"path": "x.csv", "n_clusters": 2, "scale": "none", "columns": [1, "b"], "labels": 3, "index": 0}
    own = schema.validated(schema.Own, content, "own.mine")
    assert (own.columns, own.labels, own.index) == (["1", "b"], "3", "0")
    assert schema.validated(schema.Own, content | {"index": True}, "own.mine").index is True


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_ends_in_one_line_and_nothing_written(kind: str, project: Path, plan: Plan) -> None:
    content, words = BROKEN[kind]
    (project / "params.yaml").write_bytes(content)
    assert_one_line(plan("check"), words, project)
    assert (project / "params.yaml").read_bytes() == content


def test_a_missing_file_ends_in_one_line(project: Path, plan: Plan) -> None:
    (project / "params.yaml").unlink()
    assert_one_line(plan("check"), ["params.yaml does not exist", "root"], project)
    assert not (project / "params.yaml").exists()


def test_an_unknown_command_ends_in_one_line(project: Path, plan: Plan) -> None:
    assert_one_line(plan("--check"), ["'--check'", "'check'", "'table'"], project)


def test_the_command_line_ends_with_code_2_and_without_a_traceback(project: Path) -> None:
    (project / "params.yaml").write_bytes(COMMITTED.replace(b"threads: 2", b"threads: 0"))
    command = [sys.executable, "stages/plan.py", "check"]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, ["compute.threads", "greater than or equal to 1", "got 0"], project)


def test_no_value_anywhere_in_the_file_causes_a_traceback(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put hostile values into every place of the file: it is accepted, or refused in one line that names the place."""
    files = {"params.yaml": read_yaml("params.yaml")}
    monkeypatch.setattr(schema, "read_yaml", lambda name: files[str(name)])
    params = files["params.yaml"]
    sweep(base={"epochs": 3})(params)
    hostile = [None, True, -1, 0, 1.5, 10**30, float("inf"), "", "x\ny", "a-b", [], [None], [[1]], {}, {"a": 1}, {1: 2}]
    for path in _places(params):
        for value in hostile:
            files["params.yaml"] = copy.deepcopy(params)
            change(value, *path)(files["params.yaml"])
            message = None
            try:
                config.check(config.load())
            except UserError as error:
                message = str(error)
            named = [key for key in path if isinstance(key, str) and key in (message or key)]
            assert named, (path, value, message)


def _places(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_committed_grid_passes_the_check_and_has_its_own_table(
    grid: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: amx_bf16\n")  # elsewhere one of them is refused
    monkeypatch.setattr(resolution, "_CPU", tmp_path / "cpuinfo")
    monkeypatch.chdir(grids.folder(grid))
    params = config.load()
    config.check(params)
    assert params.grid == grid
    assert config.is_current(params)


def test_an_unknown_grid_lists_those_there_are(project: Path, plan: Plan) -> None:
    assert_one_line(plan("check", "bench"), ["'bench'", *GRIDS], project)


def test_a_stale_table_is_refused_in_one_line_and_renewed_by_a_command(
    project: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = committed()
    content["methods"]["dec"] = {}
    YAML().dump(content, Path("params.yaml"))
    assert_one_line(plan(), ["cells.yaml is not that of params.yaml", "make repro", "renews it"], project)
    monkeypatch.setattr(sys, "argv", ["stages/plan.py", "table"])
    runpy.run_path("stages/plan.py", run_name="__main__")
    assert '  "digits-dec": {dataset: "digits", cell: "dec", ' in Path("cells.yaml").read_text(encoding="utf-8")
    written()


def test_the_table_pairs_every_cell_with_what_it_reads_and_lists_no_other_network(project: Path) -> None:
    content = committed()
    content["methods"] = {"kmeans": {}, "sc_ncut": {}, "idec": {}, "on_conv": {"uses": "idec", "network": "conv"}}
    YAML().dump(content, Path("params.yaml"))
    Path("cells.yaml").write_text(config.table(config.load()), encoding="utf-8")
    table = read_yaml("cells.yaml")
    none = "data/prepared/digits/X.npy"
    inputs = {entry["cell"]: (entry["graph"], entry["network"]) for entry in table["cells"].values()}
    assert inputs == {
        "kmeans": (none, none),
        "sc_ncut": ("data/graph/digits", none),
        "idec": (none, "data/pretrained/digits/mlp"),
        "on_conv": (none, "data/pretrained/digits/conv"),
    }
    assert list(table["networks_read"]) == ["digits-mlp", "digits-conv"]
    assert table["python"] == "DEEPCLUST_INSTRUCTIONS=avx2 python"


def test_the_path_of_own_data_may_have_any_character(project: Path) -> None:
    content = committed()
    content["own"] = {"mine": {"path": "\N{GRINNING FACE}.csv", "n_clusters": 2, "scale": "feature"}}
    content["datasets"] = ["mine"]
    YAML().dump(content, Path("params.yaml"))
    Path("cells.yaml").write_text(config.table(config.load()), encoding="utf-8")
    assert read_yaml("cells.yaml")["own_files"]["mine"]["path"] == "\N{GRINNING FACE}.csv"
    units = list(planning.units(config.load(), "mine"))  # before the stage `own` has run
    assert units[0].content["own"] == {"path": "\N{GRINNING FACE}.csv", "files": {}}


def test_a_setting_that_came_later_is_in_no_plan_at_its_default_and_brings_the_code_as_it_is(project: Path) -> None:
    content = committed()
    content["methods"] = {"depict": {}, "merged": {"uses": "depict", "start": "path_integral"}}
    YAML().dump(content, Path("params.yaml"))
    units = {unit.content.get("cell"): unit for unit in planning.units(config.load(), "digits")}
    assert config.resolve(config.load(), "digits").cells["depict"].settings["start"] == "k_means"
    assert "start" not in units["depict"].content["settings"]
    assert units["merged"].content["settings"]["start"] == "path_integral"
    assert "n_neighbors" not in units["merged"].content["settings"]
    assert "graph/agglomerate.py" in units["merged"].files.keys() - units["depict"].files.keys()


def test_augmentation_has_the_ranges_that_a_plain_true_has_in_every_committed_result() -> None:
    """A plan says `augment: true` without them: with other defaults, results of the old ones would pass for current."""
    assert Augmentation().model_dump() == {"rotation": 10.0, "shift": 0.1, "crop": 0.1, "fill": "zeros"}


def test_the_table_shares_no_key_with_params_yaml(project: Path) -> None:
    """DVC reads both, and refuses a key that is in both."""
    assert not set(read_yaml("cells.yaml")) & set(config.Config.model_fields)


def test_resolving_fills_in_the_defaults_of_graph_networks_and_methods() -> None:
    params = config.load(ROOT / "params.yaml")
    found = config.resolve(params, "digits")
    assert found.graph == params.graph
    mlp = found.networks["mlp"].settings
    assert mlp["corruption"] == 0.2
    assert mlp["hidden"] == tuple(committed()["networks"]["mlp"]["hidden"])
    idec = found.cells["idec"].settings
    assert idec["alpha"] == 1.0
    assert idec["optimizer"] == "adam"
    assert not {"n_clusters", "random_state", "device", "pretraining"} & set(idec)
    assert list(found.cells) == list(params.methods)


def test_defaults_reach_what_has_such_a_setting_and_yield_to_its_own_entry(project: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["defaults"] = {"batch_size": 32, "epochs": 7, "n_init": 3}
        content["networks"] = {"conv": {"epochs": 2}}
        content["methods"]["idec"] = {"epochs": 9}
        content["methods"]["decs"] = {}
        content["overrides"] = {"digits": {"defaults": {"batch_size": 16}, "methods": {"decs": {"n_init": 4}}}}

    found = config.resolve(planned(edit), "digits")
    assert {network.settings["batch_size"] for network in found.networks.values()} == {16}
    assert {name: network.settings["epochs"] for name, network in found.networks.items()} == {
        "mlp": 7, "sigmoid": 7, "conv": 2, "sphere": 7, "mlpbn": 7, "random": 0
    }  # fmt: skip
    assert found.cells["idec"].settings["epochs"] == 9
    assert [found.cells["decs"].settings[name] for name in ("epochs", "batch_size", "n_init")] == [7, 16, 4]
    assert found.cells["kmeans"].settings == {"n_init": 20}  # its entry says so


def test_a_network_by_default_is_that_of_the_methods_that_read_one(project: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["defaults"] = {"network": "conv"}
        content["methods"] = {"kmeans": {}, "idec": {}, "dec": {"network": "mlp"}}

    cells = config.resolve(planned(edit), "digits").cells
    assert {name: cell.network for name, cell in cells.items()} == {"kmeans": None, "idec": "conv", "dec": "mlp"}


def test_lengths_in_iterations_and_in_epochs_yield_to_each_other_as_other_settings_do(project: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["defaults"] = {"epochs": "500 iterations"}
        content["networks"] = {"conv": {"epochs": 2}, "sphere": {"epochs": "70 iterations"}}
        content["methods"] = {"idec": {}, "dec": {"epochs": 9}, "decs": {"epochs": "90 iterations"}, "ulhe_dc": {}}
        digits = {"defaults": {"epochs": 3}, "networks": {"mlp": {"epochs": "4 iterations"}}, "methods": {}}
        content["overrides"] = {"digits": digits | {"methods": {"dec": {"epochs": "8 iterations"}}}}

    for dataset, networks, cells in (
        ("usps", ["500 iterations", 2, "70 iterations"], ["500 iterations", 9, "90 iterations", "500 iterations"]),
        ("digits", ["4 iterations", 3, 3], [3, "8 iterations", 3, 3]),
    ):
        found = config.resolve(planned(edit), dataset)
        assert [found.networks[name].settings["epochs"] for name in ("mlp", "conv", "sphere")] == networks
        assert [cell.settings["epochs"] for cell in found.cells.values()] == cells


def test_overrides_stand_over_everything_for_their_data_set_alone(project: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["overrides"] = {
            "usps": {
                "compute": {"threads": 1},
                "graph": {"n_neighbors": 4},
                "networks": {"conv": {"augmentation": {"rotation": 5}}, "mlp": {"epochs": 3}},
                "methods": {"idec": {"learning_rate": 0.5}},
            }
        }

    params = planned(edit)
    plain, changed = config.resolve(params, "digits"), config.resolve(params, "usps")
    assert plain == config.resolve(config.load(ROOT / "params.yaml"), "digits")
    assert changed.compute.model_dump() == plain.compute.model_dump() | {"threads": 1}
    assert changed.graph.model_dump() == plain.graph.model_dump() | {"n_neighbors": 4}
    assert changed.networks["mlp"].settings == plain.networks["mlp"].settings | {"epochs": 3}
    assert changed.networks["conv"].settings["augmentation"]["rotation"] == 5
    expected = plain.cells["idec"].settings | {"learning_rate": 0.5}
    found = {name: cell.settings for name, cell in changed.cells.items() if cell != plain.cells[name]}
    assert found == {"idec": expected}


def written() -> None:
    """Write the table and the plan of params.yaml."""
    for command in (["table"], []):
        main(*command)


def planned(edit: Callable[[dict[str, Any]], None]) -> config.Config:
    """Return the configuration after an edit of the committed file."""
    content = committed()
    edit(content)
    YAML().dump(content, Path("params.yaml"))
    return config.load()


def test_the_points_of_a_sweep_are_all_combinations_over_the_cells_own_settings(project: Path) -> None:
    params = planned(sweep(base={"epochs": 3}))
    cell = config.resolve(params, "digits").cells["idec"]
    points = config.points(params, "mine")
    assert {name: point.settings for name, point in points.items()} == {
        f"alpha={alpha},optimizer={optimizer}": cell.settings | {"epochs": 3, "alpha": alpha, "optimizer": optimizer}
        for alpha in (1, 2.5)
        for optimizer in ("sgd", "adam")
    }
    assert list(points)[:2] == ["alpha=1,optimizer=sgd", "alpha=1,optimizer=adam"]
    assert {replace(point, settings=cell.settings) == cell for point in points.values()} == {True}


def test_a_sweep_starts_from_the_overrides_of_its_data_set(project: Path) -> None:
    def both(params: Any) -> None:
        sweep()(params)
        override(methods={"idec": {"epochs": 7, "alpha": 9}})(params)

    points = config.points(planned(both), "mine").values()
    assert {point.settings["epochs"] for point in points} == {7}
    assert [point.settings["alpha"] for point in points] == [1, 1, 2.5, 2.5]


def test_names_of_points_show_values_as_the_file_has_them(project: Path) -> None:
    grid = {"normalize": [True, False], "learning_rate": [1e-5, 0.1]}
    assert list(config.points(planned(sweep(grid=grid)), "mine")) == [
        "normalize=true,learning_rate=1e-05",
        "normalize=true,learning_rate=0.1",
        "normalize=false,learning_rate=1e-05",
        "normalize=false,learning_rate=0.1",
    ]


def test_the_plan_of_a_sweep_holds_what_the_plan_of_its_cell_does_at_every_point(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = planned(sweep(seeds=[2]))
    written()
    cell, fits, scores = (
        read_json(f"data/plan/digits/{unit}.json") for unit in ("cluster/idec", "sweep/mine", "evaluate_sweep/mine")
    )
    points = fits.pop("points")
    assert points == {name: point.settings for name, point in config.points(params, "mine").items()}
    del cell["settings"]
    assert fits == cell | {"seeds": [2]}
    assert scores["points"] == list(config.points(params, "mine"))
    assert (scores["seeds"], scores["cell"]) == ([2], "idec")
    assert "evaluate_sweep.py" in read_json("reports/code.json")[scores["code"]]
    (listed,) = read_json("reports/sweeps/index.json")
    assert (listed["name"], listed["dataset"], listed["cell"], listed["base"]) == ("mine", "digits", "idec", {})


def test_a_data_set_may_have_seeds_of_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = planned(change({"digits": {"seeds": [4]}}, "overrides"))
    assert (params.seeds_of("digits"), params.seeds_of("usps")) == ([4], params.seeds)
    written()
    for unit in ("pretrain/mlp", "cluster/idec", "cluster/kmeans"):
        assert read_json(f"data/plan/digits/{unit}.json")["seeds"] == [4]


def test_a_sweep_takes_its_data_sets_own_seeds(project: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        sweep(seeds=[0])(content)
        change({"digits": {"seeds": [4]}}, "overrides")(content)

    params = planned(edit)
    with pytest.raises(UserError, match=r"sweeps.mine.seeds: 0 is not among digits's seeds: 4"):
        config.points(params, "mine")


def test_the_plan_of_a_data_set_has_one_file_per_unit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written()
    params = config.load()
    units = {path.relative_to("data/plan/digits").as_posix() for path in Path("data/plan").rglob("*.json")}
    assert units == {
        *(f"{unit}.json" for unit in ("fetch", "prepare", "graph", "evaluate")),
        *(f"pretrain/{network}.json" for network in params.networks),
        *(f"cluster/{cell}.json" for cell in params.methods),
    }
    assert read_json("reports/sweeps/index.json") == []


@pytest.mark.parametrize(
    ("compute", "digits", "flags", "warned"),
    [
        ({"precision": "bfloat16", "device": "cpu"}, {}, "avx2 fma", "takes about ten times as long"),
        ({"precision": "bfloat16"}, {}, "avx512f avx512_bf16", None),
        ({"precision": "bfloat16", "device": "cuda"}, {}, "avx2 fma", None),
        ({"precision": "float32"}, {}, "avx2 fma", None),
        ({}, {"precision": "bfloat16"}, "avx2 fma", "takes about ten times as long"),
        ({"precision": "bfloat16"}, {"precision": "float32"}, "avx2 fma", None),
    ],
)
def test_a_precision_that_the_processor_lacks_is_warned_of(
    compute: dict[str, Any],
    digits: dict[str, Any],
    flags: str,
    warned: str | None,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (project / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(resolution, "_CPU", project / "cpuinfo")
    monkeypatch.setattr(resolution, "_GPU", project / "none")
    content = committed() | {"datasets": ["digits"], "compute": compute, "overrides": {"digits": {"compute": digits}}}
    YAML().dump(content, Path("params.yaml"))
    config.check(config.load())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (warned is not None)
    assert all(str(warned) in line and "set precision: float32" in line for line in said)


@pytest.mark.parametrize(("flags", "is_refused"), [("avx2 avx512f", True), ("avx512f avx512_bf16", False)])
def test_a_precision_that_would_be_another_under_its_name_is_refused(
    flags: str, is_refused: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(resolution, "_CPU", project / "cpuinfo")
    monkeypatch.setattr(resolution, "_GPU", project / "none")
    YAML().dump(committed() | {"compute": {"precision": "onednn_bfloat16"}}, Path("params.yaml"))
    if not is_refused:
        config.check(config.load())
        return
    with pytest.raises(
        UserError, match=r"^params.yaml: compute.precision: onednn_bfloat16, .*; set precision: float32$"
    ):
        config.check(config.load())
