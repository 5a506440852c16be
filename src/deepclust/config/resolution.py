"""Settings of params.yaml resolved for one data set: those of every cell and network, checked by their declarations.

A setting has the last value given by: its declaration in the code, `defaults`, the entry under `methods` or `networks`,
the data set's own `defaults`, the data set's own entry.
"""

import itertools
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepclust import datasets, instructions, layout, methods, nets
from deepclust.config.schema import Compute, Config, Graph, validated
from deepclust.datasets import _own
from deepclust.errors import UserError
from deepclust.settings import checked, defaults_of


@dataclass(frozen=True)
class Network:
    """One network of a grid, resolved for one data set; `uses` is its file in `nets/`."""

    uses: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One row of a grid, resolved for one data set; `network` names the network that the cell reads, if any."""

    method: str
    graph: bool
    network: str | None
    settings: dict[str, Any]


@dataclass(frozen=True)
class Resolved:
    """All units of one data set; `networks` are those that some cell reads."""

    compute: Compute
    graph: Graph
    networks: dict[str, Network]
    cells: dict[str, Cell]


_FOLDERS = ("figures", "sweeps")
_WIDTHS, _WIDEST = ("hidden", "channels", "n_embedding"), 65_536  # widths of layers; two of the widest hold 16 GB
_CPU, _GPU = Path("/proc/cpuinfo"), Path("/dev/nvidiactl")
_log = logging.getLogger("deepclust.config")


def check(config: Config) -> None:
    """Raise `UserError` for an unknown data set or method, wrong settings or sweeps, or a precision that is missing."""
    try:
        instructions.require(config.compute.instructions)
    except UserError as error:
        raise UserError(f"params.yaml: {error}") from None
    published = datasets.names()
    for name, own in config.own.items():
        if name in published:
            raise UserError(f"params.yaml: own.{name} is also the name of a published data set; choose another")
        if name in _FOLDERS:
            raise UserError(f"params.yaml: own.{name} is also the name of a folder in reports/files; choose another")
        if inside := _among_results(Path(own.path)):
            raise UserError(f"params.yaml: own.{name}.path: {own.path} lies in {inside}, which stages write; move it")
        if not Path(own.path).exists():
            raise UserError(
                f"params.yaml: own.{name}.path: {own.path} does not exist; correct it, from the folder of params.yaml"
            )
        try:
            _own.files_of(Path(own.path))  # before DVC meets names that it cannot take
        except UserError as error:
            raise UserError(f"params.yaml: own.{name}.path: {error}") from None
    known = [*published, *config.own]
    for name in [*config.datasets, *config.overrides]:
        if name not in known:
            raise UserError(
                f"params.yaml: unknown data set '{name}'; the data sets are {', '.join(known)}{datasets.hint(name)}"
            )
    resolved = {name: resolve(config, name) for name in dict.fromkeys([*config.datasets, *config.overrides])}
    _hold_precision([resolved[name].compute for name in config.datasets])
    for name in config.sweeps:
        points(config, name)


def _among_results(path: Path) -> Path | None:
    """Return the folder that stages write, in the grid in whose folder this runs, in which a path lies, or None."""
    written = [place("x").parent for place in (layout.raw, layout.prepared, layout.graph)]
    written += [place("x", "x").parents[1] for place in (layout.plan, layout.network, layout.run, layout.sweep)]
    written += [layout.DIGESTS, layout.REPORTS]
    return next((folder for folder in written if path.resolve().is_relative_to(folder.resolve())), None)


def resolve(config: Config, dataset: str) -> Resolved:
    """Return the units of one data set and where they run, every setting checked."""
    changes = config.changes_of(dataset)
    at = f"params.yaml: overrides.{dataset}"
    if "instructions" in changes.compute:
        raise UserError(f"{at}.compute.instructions: a grid has the same for all data sets; set compute.instructions")
    compute = validated(Compute, config.compute.model_dump() | changes.compute, f"{at}.compute")
    graph = validated(Graph, config.graph.model_dump() | changes.graph, f"{at}.graph")
    for cell in changes.methods:
        if cell not in config.methods:
            known = ", ".join(config.methods)
            raise UserError(f"{at}.methods.{cell} is not among methods: {known}; correct the name")
    cells = {name: _cell(config, dataset, name) for name in config.methods}
    read = dict.fromkeys(cell.network for cell in cells.values() if cell.network)
    for name in changes.networks:
        if name not in {*config.networks, *read}:
            known = ", ".join(dict.fromkeys([*config.networks, *read])) or "none"
            raise UserError(f"{at}.networks.{name} is not among networks: {known}; correct the name")
    networks = {name: _network(config, dataset, name) for name in dict.fromkeys([*read, *config.networks])}
    settings = [cell.settings for cell in cells.values()] + [network.settings for network in networks.values()]
    reached = set[str]({"network"} if read else ()).union(*settings)
    for key, given in (("params.yaml: defaults", config.defaults), (f"{at}.defaults", changes.defaults)):
        if unknown := [setting for setting in given if setting not in reached]:
            raise UserError(
                f"{key}.{unknown[0]} is a setting of no method and no network here; correct the name or take it out"
            )
    return Resolved(compute, graph, {name: networks[name] for name in read}, cells)


def points(config: Config, sweep: str) -> dict[str, Cell]:
    """Return every point of a sweep, checked: name -> the cell with this point's settings, its first setting slowest.

    A name such as `alpha=0.01,code=unit` lists the settings that vary, as YAML writes values, and can name a folder.
    """
    asked, at = config.sweeps[sweep], f"params.yaml: sweeps.{sweep}"
    if asked.dataset not in config.datasets:
        known = ", ".join(config.datasets)
        raise UserError(f"{at}.dataset: '{asked.dataset}' is not among datasets: {known}; add it there or correct it")
    if asked.cell not in config.methods:
        known = ", ".join(config.methods)
        raise UserError(f"{at}.cell: '{asked.cell}' is not among methods: {known}; add it there or correct it")
    if asked.dataset in config.own and config.own[asked.dataset].labels is None:
        raise UserError(f"{at}.dataset: '{asked.dataset}' has no labels, by which sweeps are judged; take one that has")
    seeds = config.seeds_of(asked.dataset)
    if missing := [seed for seed in asked.seeds if seed not in seeds]:
        raise UserError(
            f"{at}.seeds: {missing[0]} is not among {asked.dataset}'s seeds: {', '.join(map(str, seeds))}, whose "
            "networks are what a sweep reads; take one of them"
        )
    cell = _cell(config, asked.dataset, asked.cell)
    for setting in asked.grid:
        if setting in asked.base:
            raise UserError(f"{at}.base.{setting}={asked.base[setting]!r} is also in grid; take it out of one of them")
    base = cell.settings | _checked_all(f"{at}.base", cell.method, asked.base)
    for setting, values in asked.grid.items():
        for value in values:
            _checked_all(f"{at}.grid", cell.method, {setting: value})
    found = {}
    for combination in itertools.product(*asked.grid.values()):
        chosen = dict(zip(asked.grid, combination, strict=True))
        name = ",".join(
            f"{setting}={value if isinstance(value, str) else json.dumps(value)}" for setting, value in chosen.items()
        )
        found[name] = Cell(cell.method, cell.graph, cell.network, base | _checked_all(at, cell.method, chosen))
    return found


def _cell(config: Config, dataset: str, name: str) -> Cell:
    entries = _entries(config, dataset, "methods", name)
    method = _used(entries, name)
    if method != name and name in methods.names():
        raise UserError(
            f"{entries[1][0]}: '{name}' is a method, and the cell uses '{method}'; its results would stand beside "
            f"published ones of {name}: give the cell another name"
        )
    try:
        cls = methods.describe(method)
    except UserError as error:
        raise UserError(f"{entries[1][0]}: {error}; name a method, or say which with `uses`") from None
    place, network = "", cls.default_network
    for key, given, is_default in entries:
        if "network" in given and (cls.default_network or not is_default):
            place, network = key, given["network"]
    if bool(network) != bool(cls.default_network) or not isinstance(network, str | None):
        reads = (
            f"'{cls.default_network}' or another network; correct it"
            if cls.default_network
            else "no network; take it out"
        )
        raise UserError(f"{place}.network={network!r}: '{method}' reads {reads}")
    settings = {key: value for key, value in defaults_of(cls).items() if key not in cls.not_in_params}
    for key, given, is_default in entries:
        own = {
            setting: value
            for setting, value in given.items()
            if setting not in ("uses", "network") and (setting in settings or not is_default)
        }
        settings |= _checked_all(key, method, own)
    return Cell(method, cls.reads_graph, network or None, settings)


def _network(config: Config, dataset: str, name: str) -> Network:
    entries = _entries(config, dataset, "networks", name)
    uses = _used(entries, name)
    try:
        cls = nets.describe(uses)
    except UserError as error:
        raise UserError(f"params.yaml: networks.{name}: {error}; name a network, or say which with `uses`") from None
    settings = defaults_of(cls)
    untrained = settings.get("epochs") == 0  # declared untrained: `defaults` do not train it
    for key, given, is_default in entries:
        for setting, value in given.items():
            if setting == "uses" or (is_default and (setting not in settings or (untrained and setting == "epochs"))):
                continue
            settings |= _checked_one(key, cls, f"network '{uses}'", setting, value)
            widths = settings[setting] if setting in _WIDTHS else ()
            if max(widths if isinstance(widths, tuple) else (widths,), default=0) > _WIDEST:
                raise UserError(f"{key}.{setting}: a layer has at most {_WIDEST} units or channels, got {value!r}")
    return Network(uses, settings)


Entry = tuple[str, Mapping[str, Any], bool]  # place in the file, content, whether it is `defaults`


def _entries(config: Config, dataset: str, section: str, name: str) -> list[Entry]:
    """Return the entries of params.yaml about a cell or a network; later ones stand over earlier ones."""
    changes = config.changes_of(dataset)
    here, there = f"params.yaml: {section}.{name}", f"params.yaml: overrides.{dataset}"
    return [
        ("params.yaml: defaults", config.defaults, True),
        (here, getattr(config, section).get(name, {}), False),
        (f"{there}.defaults", changes.defaults, True),
        (f"{there}.{section}.{name}", getattr(changes, section).get(name, {}), False),
    ]


def _used(entries: list[Entry], name: str) -> str:
    """Return the file of a cell or a network: the one named by `uses`, or the one of the same name."""
    found = [given["uses"] for _, given, is_default in entries if "uses" in given and not is_default]
    return str(found[-1]) if found else name


def _checked_all(key: str, method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a method in their declared types."""
    cls = methods.describe(method)
    found: dict[str, Any] = {}
    for setting, value in given.items():
        found |= _checked_one(key, cls, f"'{method}'", setting, value)
    return found


def _checked_one(key: str, cls: Any, owner: str, setting: str, value: Any) -> dict[str, Any]:
    allowed = [name for name in defaults_of(cls) if name not in getattr(cls, "not_in_params", ())]
    if setting not in allowed:
        raise UserError(
            f"{key}.{setting}={value!r} is not a setting of {owner}; it takes {', '.join(allowed) or 'none'}"
        )
    try:
        return {setting: checked(cls, setting, value)}
    except UserError as error:
        raise UserError(f"{key}.{error}; correct it there") from None


def _hold_precision(computes: Iterable[Compute]) -> None:
    """Warn of bfloat16, and refuse oneDNN's, on a processor without products in bfloat16 (docs/precision.md).

    A training in bfloat16 takes ten times as long there. Products of `onednn_bfloat16` are float32's to the last bit,
    and the record of a run would have the wrong name.
    """
    asked = {
        compute.precision
        for compute in computes
        if compute.device == "cpu" or (compute.device == "auto" and not _GPU.exists())
    }
    if asked <= {"float32"} or not _CPU.exists():
        return
    if re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", _CPU.read_text(encoding="utf-8", errors="replace")):
        return
    lacks = "this processor has no products in bfloat16 (AVX512_BF16, AMX)"
    if "onednn_bfloat16" in asked:
        raise UserError(
            f"params.yaml: compute.precision: onednn_bfloat16, but {lacks}: products would be float32's under another "
            "name; set precision: float32"
        )
    _log.warning(
        "params.yaml: compute.precision: bfloat16, but %s: a training takes about ten times as long as in float32; set "
        "precision: float32",
        lacks,
    )
