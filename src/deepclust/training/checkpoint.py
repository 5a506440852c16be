"""Training states in single safetensors files, written atomically."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from deepclust.files import atomic


def save_tensors(path: Path, tensors: Mapping[str, Tensor], **facts: Any) -> None:
    """Write tensors, and JSON facts beside them, to one safetensors file."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"facts": json.dumps(facts)} if facts else None  # in order: a trace's columns come from it
    with atomic(path) as file:
        file.write(save(contiguous, metadata=metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors (on the CPU) and the facts of a file written by `save_tensors`."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    return tensors, facts


def save_state(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, generators: Sequence[torch.Generator], **facts: Any
) -> None:
    """Write all that a training needs to go on with the same bits: weights and buffers, optimiser, generators, facts.

    The optimiser's learning rates are kept, since a training may change them; its other settings are its maker's.
    """
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if value is not None}
    tensors |= {f"generator.{number}": generator.get_state() for number, generator in enumerate(generators)}
    save_tensors(path, tensors, learning_rates=[group["lr"] for group in optimizer.param_groups], **facts)


def load_state(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, generators: Sequence[torch.Generator]
) -> dict[str, Any]:
    """Restore in place what `save_state` wrote, and return its facts."""
    tensors, facts = load_tensors(path)
    weights = {name.removeprefix("module."): value for name, value in tensors.items() if name.startswith("module.")}
    module.load_state_dict(weights)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    for group, rate in zip(optimizer.param_groups, facts.pop("learning_rates"), strict=True):
        group["lr"] = rate
    for number, generator in enumerate(generators):
        generator.set_state(tensors[f"generator.{number}"])
    return facts
