"""Training states in single safetensors files, written atomically, each with a digest of all that is in it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from deepclust.errors import UserError
from deepclust.files import atomic


class Damaged(UserError):
    """A file of tensors is not what was written."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], **facts: Any) -> None:
    """Write tensors, and JSON facts beside them, to one safetensors file."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(facts)  # in order: a trace's columns come from it
    with atomic(path) as file:
        # under one name, since safetensors writes several in an order of chance
        file.write(save(contiguous, metadata={"facts": f"{_digest(contiguous, text)} {text}"}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors (on the CPU) and the facts of a file written by `save_tensors`.

    Raises
    ------
    Damaged
        A byte that matters is not what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise Damaged(f"{path} is damaged: {error}; remove it, and make it anew") from None
    digest, _, text = metadata.get("facts", "").partition(" ")
    if digest != _digest(tensors, text):
        raise Damaged(f"{path} is damaged: its content does not fit its digest; remove it, and make it anew")
    facts: dict[str, Any] = json.loads(text)
    return tensors, facts


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    """Return the hex SHA-256 of the facts, and of every contiguous tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
    rates, devices = [group["lr"] for group in optimizer.param_groups], [one.device.type for one in generators]
    save_tensors(path, tensors, learning_rates=rates, devices=devices, **facts)


def load_state(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, generators: Sequence[torch.Generator]
) -> dict[str, Any]:
    """Restore in place what `save_state` wrote, and return its facts; raise `Damaged` before anything is restored.

    A state of another kind of device is none to go on from: the generators of devices have states of their own.
    """
    tensors, facts = load_tensors(path)
    here = [one.device.type for one in generators]
    if (there := facts.pop("devices", here)) != here:
        raise Damaged(f"{path} was written on a device '{there[-1]}', and this training is on '{here[-1]}'")
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
