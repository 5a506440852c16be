"""cells.yaml: the cells to run and their inputs, from which dvc.yaml makes its stages.

DVC cannot pair a cell with its inputs. The pairs are therefore generated from params.yaml and committed beside it. A
cell without a graph or a network has X.npy instead, which every cell reads anyway.
"""

import json
from typing import Any

from deepclust import files, layout
from deepclust.config.resolution import resolve
from deepclust.config.schema import Config

_HEAD = """\
# What there is to run, and what each cell reads. Written from params.yaml by `make repro`, or by hand with
# `python stages/plan.py table`: change params.yaml, not this file.
"""


def table(config: Config) -> str:
    """Return the content of cells.yaml for a checked configuration: one line an entry."""
    resolved = {dataset: resolve(config, dataset) for dataset in config.datasets}
    entries: dict[str, dict[str, dict[str, str]]] = {
        "own_files": {},
        "networks_read": {},
        "cells": {},
        "sweeps_read": {},
    }
    for name, own in config.own.items():
        entries["own_files"][name] = {"path": own.path}
    for dataset, found in resolved.items():
        for network in found.networks:
            entries["networks_read"][f"{dataset}-{network}"] = {"dataset": dataset, "network": network}
        for name, cell in found.cells.items():
            pair = {"dataset": dataset, "cell": name}
            entries["cells"][f"{dataset}-{name}"] = pair | _inputs(dataset, cell.graph, cell.network)
    for name, sweep in config.sweeps.items():
        cell = resolved[sweep.dataset].cells[sweep.cell]
        pair = {"dataset": sweep.dataset, "sweep": name}
        entries["sweeps_read"][f"{sweep.dataset}-{name}"] = pair | _inputs(sweep.dataset, cell.graph, cell.network)
    held = config.compute.instructions
    lines = [
        f"name: {json.dumps(config.grid)}",
        f"python: {'python' if held == 'native' else f'DEEPCLUST_INSTRUCTIONS={held} python'}",
        f"digests: {layout.DIGESTS if config.own else layout.CELLS}  # a folder only where there is own data",
        f"data_sets: {json.dumps(config.datasets)}",
    ]
    for section, members in entries.items():
        lines.append(f"{section}:{'' if members else ' {}'}")
        lines += [f"  {json.dumps(key)}: {_flow(value)}" for key, value in members.items()]
    return _HEAD + "\n".join(lines) + "\n"


def is_current(config: Config) -> bool:
    """Return whether cells.yaml is that of this configuration."""
    return layout.CELLS.exists() and layout.CELLS.read_text(encoding="utf-8") == table(config)


def read() -> dict[str, Any]:
    """Return the content of cells.yaml."""
    content: dict[str, Any] = files.read_yaml(layout.CELLS)
    return content


def _inputs(dataset: str, graph: bool, network: str | None) -> dict[str, str]:
    none = layout.prepared(dataset) / "X.npy"
    found = {
        "graph": layout.graph(dataset) if graph else none,
        "network": layout.network(dataset, network) if network else none,
    }
    return {kind: path.as_posix() for kind, path in found.items()}


def _flow(entry: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()) + "}"
