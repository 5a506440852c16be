"""The plan of a grid: for each unit of work its settings, its seeds and the code that decides its result."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from deepclust import execution, layout, methods, nets
from deepclust.closure import code_of, digest_of
from deepclust.config import Cell, Config, Resolved, points, resolve
from deepclust.files import read_json
from deepclust.reporting import figures
from deepclust.settings import later_of


class Unit(NamedTuple):
    """One unit's plan: the file it is written to, its content, and the hashes behind the digest `code` in it."""

    path: Path
    content: dict[str, Any]
    files: dict[str, str]


def units(config: Config, dataset: str, own_files: Mapping[str, str] | None = None) -> Iterator[Unit]:
    """Yield the plan of every unit of one data set.

    `own_files` are the digests of own data by file, in place of those that the stage `own` wrote last.
    """
    resolved = resolve(config, dataset)
    seeds = {"seeds": config.seeds_of(dataset)}
    compute = resolved.compute.model_dump()
    unit = partial(_unit, dataset)
    if own := config.own.get(dataset):
        settings = own.model_dump(exclude={"path"})
        if own_files is None:
            own_files = read_json(path) if (path := layout.DIGESTS / f"{dataset}.json").exists() else {}  # not run yet
        yield unit("fetch", "", {"own": {"path": own.path, "files": own_files}})
        yield unit("prepare", "", {"own": {"file": Path(own.path).name, "settings": settings}})
    else:
        yield unit("fetch", "", {}, f"deepclust.datasets.{dataset}")
        yield unit("prepare", "", {}, f"deepclust.datasets.{dataset}")
    yield unit("graph", "", {"settings": resolved.graph.model_dump(), "compute": compute})
    yield unit("evaluate", "", {}, *figures.modules("cell"))
    newer = set()  # networks that use settings which came later
    for name, network in resolved.networks.items():
        settings, is_newer = _planned(nets.describe(network.uses), network.settings)
        newer |= {name} if is_newer else set()
        asked = {"network": name, **asdict(network), "settings": settings, "compute": compute, **seeds}
        yield unit("pretrain", name, asked, nets.module(network.uses), as_it_is=is_newer)
    for name, cell in resolved.cells.items():
        settings, is_newer = _planned(methods.describe(cell.method), cell.settings)
        asked = {"cell": name, **asdict(cell), "settings": settings, "compute": compute, **seeds}
        yield unit("cluster", name, asked, *_code_of(cell, resolved), as_it_is=is_newer or cell.network in newer)
    for name, sweep in config.sweeps.items():
        if sweep.dataset == dataset:
            varied = points(config, name)
            cell = resolved.cells[sweep.cell]
            asked = {"cell": sweep.cell, "seeds": sweep.seeds}
            fits = asked | {key: value for key, value in asdict(cell).items() if key != "settings"}
            planned = {p: _planned(methods.describe(cell.method), found.settings) for p, found in varied.items()}
            fits |= {"compute": compute, "points": {point: settings for point, (settings, _) in planned.items()}}
            is_newer = cell.network in newer or any(is_newer for _, is_newer in planned.values())
            yield unit("sweep", name, fits, *_code_of(cell, resolved), as_it_is=is_newer)
            yield unit("evaluate_sweep", name, {**asked, "points": list(varied)}, *figures.modules("sweep"))


def _planned(cls: type, settings: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the settings but those that came later and are at their default, and whether others of these are left."""
    later = later_of(cls)
    found = {name: value for name, value in settings.items() if name not in later or value != later[name]}
    return found, not later.keys().isdisjoint(found)


def _unit(dataset: str, stage: str, name: str, content: dict[str, Any], *modules: str, as_it_is: bool = False) -> Unit:
    script = "cluster" if stage == "sweep" else stage
    files = _code(script, modules, as_it_is)
    return Unit(layout.plan(dataset, stage, name), {"dataset": dataset, **content, "code": digest_of(files)}, files)


@cache
def _code(script: str, modules: tuple[str, ...], as_it_is: bool) -> dict[str, str]:
    return code_of([layout.STAGES / f"{script}.py"], modules, as_it_is=as_it_is)


def _code_of(cell: Cell, resolved: Resolved) -> list[str]:
    """Return the modules that a fit loads by name: the cell's method, the code that trains it, the cell's network."""
    found = [methods.module(cell.method)]
    if execution.trains(methods.describe(cell.method)):
        found.append(execution.FOR_TRAININGS)
    return found + ([nets.module(resolved.networks[cell.network].uses)] if cell.network else [])
