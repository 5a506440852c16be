"""The schema of params.yaml: what may stand there, and what it comes to for one data set.

`load` checks the file's shape without importing any method; `check` then holds every cell against its method's own
parameter table. Both raise `UserError` with one line: the key, the value, what is allowed and the remedy.
"""

import inspect
import itertools
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator
from ruamel.yaml import YAML
from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints

from deepclust import datasets, methods
from deepclust.datasets import _own
from deepclust.errors import UserError
from deepclust.files import atomic, read_yaml
from deepclust.nets.settings import AnyNetwork, NonNegativeInt, PositiveInt, Strict


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError("names are made of a-z, 0-9 and _ (DVC joins and splits names at other characters); rename it")
    return name


def _network_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+", name) or name in {"graph", "plain"}:
        raise ValueError("a network's name is made of a-z and 0-9 and is not 'graph' or 'plain'; rename it")
    return name


def _distinct(values: list[Any]) -> list[Any]:
    if repeated := sorted({str(v) for v in values if values.count(v) > 1}):
        raise ValueError(f"{', '.join(repeated)} is listed twice; list each once")
    return values


def _fit_for_a_folder(value: Any) -> Any:
    finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if not (finite or value is None or (isinstance(value, str) and re.fullmatch(r"\w+", value))):
        raise ValueError("a value of a sweep is a finite number, a word, true, false or null; correct it")
    return value


Name = Annotated[str, AfterValidator(_plain_name)]
NetworkName = Annotated[str, AfterValidator(_network_name)]
Seeds = Annotated[list[NonNegativeInt], Field(min_length=1), AfterValidator(_distinct)]
Value = Annotated[Any, AfterValidator(_fit_for_a_folder)]
Values = Annotated[list[Value], Field(min_length=1), AfterValidator(_distinct)]


class Compute(Strict):
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt = 2
    precision: Literal["float32", "bfloat16", "onednn_bfloat16"] = "float32"


class Data(Strict):
    mirror: str | None = None


class Own(Strict):
    """A data set of the user's: `deepclust.datasets._own.prepare` says what its settings mean."""

    path: str
    n_clusters: PositiveInt
    scale: Literal["feature", "global", "none"] | None = None
    columns: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)] | None = None
    array: str | None = None
    labels: str | None = None
    image_shape: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)] | None = None

    @model_validator(mode="after")
    def _settings_fit_the_format(self) -> "Own":
        suffix = Path(self.path).suffix
        images = suffix not in (*_own.TABLES, *_own.ARRAYS) and self.array is None
        rules = [
            (Path(self.path).name in ("", ".."), "path must end in the name of a file or a folder"),
            (not images and self.scale is None, "scale must be feature, global or none"),
            (images and self.scale is not None, "scale is for tables and arrays; images are divided by 255"),
            (self.columns is not None and suffix not in _own.TABLES, "columns are for .csv and .parquet files"),
            (self.columns is not None and self.labels in (self.columns or []), "columns must not hold the labels"),
            (self.array is not None and suffix in (*_own.TABLES, ".npy"), "array is for .npz files and folders"),
            (
                self.labels is not None and suffix == ".npy",
                "labels of a .npy file lie beside it: make path the folder of both, array and labels their names in it",
            ),
            (images and self.labels not in (None, "folders"), "labels of a folder of images are 'folders' or absent"),
            (
                images and self.image_shape is not None and self.image_shape[0] not in (1, 3),
                "image_shape of a folder of images has 1 or 3 channels",
            ),
        ]
        for broken, rule in rules:
            if broken:
                raise ValueError(f"{rule}; see docs/own-data.md")
        return self


class Graph(Strict):
    n_neighbors: PositiveInt = 10
    bandwidth: Literal["local", "median"] = "local"
    symmetrize: Literal["max", "mean"] = "max"
    exact: bool = True


class Overrides(Strict):
    """What differs for one data set; merged into the sections of the same names."""

    seeds: Seeds | None = Field(None, description="instead of the grid's")
    graph: dict[str, Any] = Field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Sweep(Strict):
    """Variations of one cell on one data set: its points are all combinations of the values in `grid`.

    Three settings at most, as many as a figure of maps side by side can show.
    """

    dataset: str
    cell: str
    seeds: Seeds
    base: dict[str, Any] = Field(default_factory=dict, description="what every point changes in the cell's settings")
    grid: Annotated[dict[str, Values], Field(min_length=1, max_length=3)]


class Cell(Strict):
    """One row of the grid, resolved for one data set."""

    method: str
    graph: bool
    network: str | None
    settings: dict[str, Any]


class Config(Strict):
    """params.yaml."""

    grid: Name
    seeds: Seeds
    datasets: Annotated[list[Name], Field(min_length=1), AfterValidator(_distinct)]
    compute: Compute
    data: Data = Data()
    own: dict[Name, Own]
    graph: Graph
    networks: dict[NetworkName, AnyNetwork]
    methods: dict[Name, dict[Name, dict[str, Any]]]
    overrides: dict[Name, Overrides]
    sweeps: dict[Name, Sweep]

    def seeds_of(self, dataset: str) -> list[int]:
        """Return the seeds that a data set is run with."""
        return self.overrides.get(dataset, Overrides()).seeds or self.seeds

    def cells(self) -> list[str]:
        """Return the names of all cells, in the order of the file, which is the order of the tables."""
        return [cell for group in self.methods.values() for cell in group]


def load(path: Path | str = "params.yaml") -> Config:
    """Return the configuration in `path`; its shape and ranges are checked, its methods' settings not yet."""
    config: Config = _validated(Config, read_yaml(path), str(path))
    return config


def check(config: Config, pipeline: Path | str = "dvc.yaml") -> None:
    """Raise `UserError` for an unknown data set or method, a cell in the wrong group, wrong settings or sweeps."""
    published = datasets.names()
    for name, own in config.own.items():
        if name in published:
            raise UserError(f"params.yaml: own.{name} is also the name of a published data set; choose another")
        if not Path(own.path).exists():
            raise UserError(
                f"params.yaml: own.{name}.path: {own.path} does not exist; correct it, from the project's root"
            )
    known = [*published, *config.own]
    for name in [*config.datasets, *config.overrides]:
        if name not in known:
            raise UserError(f"params.yaml: unknown data set '{name}'; the data sets are {', '.join(known)}")
    groups = {name.removeprefix("cluster_") for name in read_yaml(pipeline)["stages"] if name.startswith("cluster_")}
    if wrong := sorted(groups ^ set(config.methods)):
        raise UserError(
            f"params.yaml: the groups under methods are {', '.join(config.methods)}, dvc.yaml has cluster_ and "
            f"evaluate_ stages for {', '.join(sorted(groups))}; add or remove {', '.join(wrong)} in one of them"
        )
    names = config.cells()
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"params.yaml: methods: '{name}' is listed in two groups; a cell's name must be unique")
    for dataset in dict.fromkeys([*config.datasets, *config.overrides]):
        resolve(config, dataset)
    for name in config.sweeps:
        points(config, name)


def resolve(config: Config, dataset: str) -> tuple[Graph, dict[str, Any], dict[str, Cell]]:
    """Return the graph, the networks and the cells of one data set, overrides merged and every setting checked."""
    changes = config.overrides.get(dataset, Overrides())
    at = f"params.yaml: overrides.{dataset}"
    graph = _validated(Graph, _merged(config.graph.model_dump(), changes.graph), f"{at}.graph")
    for kind, known, given in [
        ("networks", list(config.networks), changes.networks),
        ("methods", config.cells(), changes.methods),
    ]:
        if unknown := sorted(set(given) - set(known)):
            raise UserError(f"{at}.{kind}.{unknown[0]} is not among {kind}: {', '.join(known)}; correct the name")
    networks = {
        name: _validated(AnyNetwork, _merged(net.model_dump(), changes.networks.get(name, {})), f"{at}.networks.{name}")
        for name, net in config.networks.items()
    }
    cells = {}
    for group, members in config.methods.items():
        for name, settings in members.items():
            key = f"params.yaml: methods.{group}.{name}"
            cells[name] = _cell(key, group, name, _merged(settings, changes.methods.get(name, {})), config)
    return graph, {name: network.model_dump(mode="json") for name, network in networks.items()}, cells


def points(config: Config, sweep: str) -> dict[str, Cell]:
    """Return every point of a sweep, checked: name -> the cell with this point's settings, its first setting slowest.

    A name such as `alpha=0.01,code=unit` lists what varies, with values as YAML writes them, and is fit for a folder.
    """
    asked, at = config.sweeps[sweep], f"params.yaml: sweeps.{sweep}"
    if asked.dataset not in config.datasets:
        known = ", ".join(config.datasets)
        raise UserError(f"{at}.dataset: '{asked.dataset}' is not among datasets: {known}; add it there or correct it")
    if asked.cell not in config.cells():
        known = ", ".join(config.cells())
        raise UserError(f"{at}.cell: '{asked.cell}' is not among methods: {known}; add it there or correct it")
    if asked.dataset in config.own and config.own[asked.dataset].labels is None:
        raise UserError(f"{at}.dataset: '{asked.dataset}' has no labels, by which sweeps are judged; take one that has")
    seeds = config.seeds_of(asked.dataset)
    if missing := [seed for seed in asked.seeds if seed not in seeds]:
        raise UserError(
            f"{at}.seeds: {missing[0]} is not among {asked.dataset}'s seeds: {', '.join(map(str, seeds))}, whose "
            "networks are what a sweep reads; take one of them"
        )
    cell = resolve(config, asked.dataset)[2][asked.cell]
    _check_settings(f"{at}.base", cell.method, asked.base, "there")
    for setting, values in asked.grid.items():
        if setting in asked.base:
            raise UserError(f"{at}.base.{setting}={asked.base[setting]!r} is also in grid; take it out of one of them")
        for value in values:
            _check_settings(f"{at}.grid", cell.method, {setting: value}, "there")
    base = _merged(cell.settings, asked.base)
    found = {}
    for combination in itertools.product(*asked.grid.values()):
        chosen = dict(zip(asked.grid, combination, strict=True))
        name = ",".join(
            f"{setting}={value if isinstance(value, str) else json.dumps(value)}" for setting, value in chosen.items()
        )
        found[name] = cell.model_copy(update={"settings": base | chosen})
    return found


def apply(overlay: Path, path: Path | str = "params.yaml") -> None:
    """Write the values of the YAML file `overlay` into params.yaml, comments kept; nothing is written if any is wrong.

    Mappings are merged, but for `overrides` and `sweeps`, which belong to one grid and are replaced like everything
    else. A cell with `uses` may be new, or move to another group; other names must be there already. `cells`, where the
    overlay has it, lists the cells that stay: the others go, and with them the networks that none of those left reads.
    """
    if not overlay.exists():
        known = ", ".join(sorted(file.stem for file in overlay.parent.glob("*.yaml")))
        raise UserError(f"there is no grid '{overlay.stem}'; {overlay.parent}/ has {known}")
    editor = YAML()
    editor.width, editor.preserve_quotes = 120, True
    editor.representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))
    document = editor.load(Path(path))
    if not isinstance(read_yaml(overlay), dict):
        raise UserError(f"{overlay} must hold keys of params.yaml with their values; see the other files beside it")
    changes = editor.load(overlay)
    present = {*document["networks"], *_definitions(document)}
    named = {*changes.get("networks", {}), *(cell for cell, new in _definitions(changes).items() if "uses" not in new)}
    if absent := sorted(named - present):
        raise UserError(f"{overlay} changes {', '.join(absent)}, which {path} lacks; git checkout {path} may have it")
    for section in ("overrides", "sweeps"):
        document[section] = changes.pop(section, {})
        if section in document.ca.items:
            document.ca.items[section][3] = None  # the comment above the first entry of what stood there
    for group, members in changes.get("methods", {}).items():
        for other in set(document["methods"]) - {group}:
            for cell in [cell for cell, new in members.items() if "uses" in new]:
                document["methods"][other].pop(cell, None)  # it moves
    kept = changes.pop("cells", None)
    _merge(document, changes)
    if kept is not None:
        _keep(document, kept, str(overlay))
    check(_validated(Config, json.loads(json.dumps(document)), str(overlay)))
    with atomic(path, "w") as file:
        editor.dump(document, file)


def _keep(document: Any, cells: Any, where: str) -> None:
    """Take out all cells but those listed, and the networks that no cell reads then."""
    known = _definitions(document)
    if not isinstance(cells, list) or (unknown := [cell for cell in cells if cell not in known]):
        wrong = repr(unknown[0]) if isinstance(cells, list) else repr(cells)
        raise UserError(f"{where}: cells: {wrong} is not among methods: {', '.join(known)}; list some of these")
    for group in document["methods"].values():
        for cell in set(group) - set(cells):
            del group[cell]
    read = {part for group, members in document["methods"].items() if members for part in group.split("_")}
    for network in set(document["networks"]) - read:
        del document["networks"][network]


def _definitions(content: Any) -> dict[str, Any]:
    return {cell: new or {} for group in content.get("methods", {}).values() for cell, new in group.items()}


def _cell(key: str, group: str, name: str, settings: dict[str, Any], config: Config) -> Cell:
    settings = dict(settings)
    method = settings.pop("uses", name)
    try:
        cls = methods.load(method)
    except UserError as error:
        raise UserError(f"{key}: {error}; name a method, or say which with `uses`") from None

    inputs = [] if group == "plain" else group.split("_")
    network = next((part for part in inputs if part != "graph"), None)
    if network is not None and network not in config.networks:
        raise UserError(f"{key}: the group '{group}' reads a network '{network}', which is not under networks")
    reads_graph, reads_network = "graph" in cls.reads, bool(set(cls.reads) - {"graph"})
    if reads_graph != ("graph" in inputs) or reads_network != (network is not None):
        home = "_".join(cls.reads) or "plain"
        raise UserError(f"{key}: '{method}' is in the wrong group; move it to methods.{home}")

    _check_settings(key, method, settings, "there or under overrides")
    parameters = cls(**settings).get_params(deep=False)
    settings = {setting: value for setting, value in parameters.items() if setting not in cls.not_in_params}
    return Cell(method=method, graph=reads_graph, network=network, settings=settings)


def _check_settings(key: str, method: str, settings: dict[str, Any], where: str) -> None:
    """Hold settings against the method's own table; `where` says where to correct one."""
    cls = methods.load(method)
    allowed = [p for p in inspect.signature(cls).parameters if p not in cls.not_in_params]
    for setting, value in settings.items():
        if setting not in allowed:
            raise UserError(
                f"{key}.{setting}={value!r} is not a setting of '{method}'; it takes {', '.join(allowed) or 'none'}"
            )
        if isinstance(value, bool) and "boolean" not in cls._parameter_constraints[setting]:
            raise UserError(f"{key}.{setting} must not be true or false, got {value!r}; give a number")
        try:
            validate_parameter_constraints(cls._parameter_constraints, {setting: value}, method)
        except InvalidParameterError as error:
            raise UserError(f"{key}.{setting}: {error} Correct it {where}.") from None


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return base | {
        key: _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }


def _merge(base: Any, changes: dict[str, Any]) -> None:
    """Merge in place, lists too: the comments and the layout of a round-trip document belong to its containers."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        elif isinstance(value, list) and isinstance(base.get(key), list):
            base[key][:] = value
        else:
            base[key] = value


def _validated(schema: Any, content: Any, where: str) -> Any:
    try:
        return TypeAdapter(schema).validate_python(content)
    except ValidationError as error:
        problems = error.errors()
        first = problems[0]
        key, value = _path_in(content, first["loc"]), first["input"]
        absent = {"missing": first["loc"][-1:], "unknown_key": [first.get("ctx", {}).get("key")]}
        key = ".".join(str(part) for part in [key, *absent.get(first["type"], [])] if part)
        value = first["ctx"]["value"] if first["type"] == "unknown_key" else value
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        given = "" if first["type"] == "missing" else f", got {value!r}"
        raise UserError(f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}{given}{more}") from None


def _path_in(content: Any, location: tuple[int | str, ...]) -> str:
    """Return the dotted path of a schema error in the file: pydantic's own path also names union tags and `[key]`."""
    path = []
    for part in location:
        inside = part in content if isinstance(content, dict) else isinstance(part, int)
        if inside:
            path.append(str(part))
            content = content[part]
    return ".".join(path)
