"""Networks by name: `names` lists them, `load` imports one, `make` gives one its settings.

A network is a file of this folder: the settings, how it is built, and the terms of its pretraining. The file's name is
the network's. Files whose names begin with an underscore, and `base`, are shared code.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepclust import metadata
from deepclust.errors import UserError
from deepclust.settings import checked, names_of

if TYPE_CHECKING:
    from torch import Tensor

    from deepclust.nets._autoencoder import Autoencoder
    from deepclust.nets.base import Network


def names() -> list[str]:
    """Return the names of all networks, sorted."""
    return list(_names())


@functools.cache
def _names() -> tuple[str, ...]:
    found = (m.name for m in pkgutil.iter_modules(__path__) if m.name != "base" and not m.name.startswith("_"))
    return tuple(sorted(found))


def module(name: str) -> str:
    """Return the dotted name of a network's module, or raise UserError for an unknown one."""
    if name not in names():
        raise UserError(f"unknown network '{name}'; the networks are {', '.join(names())}")
    return f"{__name__}.{name}"


def load(name: str) -> "type[Network]":
    """Return the class of a network, the one `Network` that its file defines."""
    from deepclust.nets.base import Network

    return metadata.class_in(importlib.import_module(module(name)), Network)


def describe(name: str) -> Any:
    """Return what a network declares, as a class without methods: nothing is imported where its file allows that."""
    path = Path(__path__[0], *module(name).split(".")[2:]).with_suffix(".py")
    try:
        return metadata.declared(path)
    except NameError:
        return load(name)


def make(name: str, settings: Mapping[str, Any]) -> "Network":
    """Return a network of these settings, those left out as declared; raise UserError for a wrong one."""
    cls = load(name)
    for setting in settings:
        if setting not in names_of(cls):
            raise UserError(f"'{setting}' is not a setting of network '{name}'; it takes {', '.join(names_of(cls))}")
    return cls(**{setting: checked(cls, setting, value) for setting, value in settings.items()})


def rebuild(facts: Mapping[str, Any], weights: "Mapping[str, Tensor]") -> "Autoencoder":
    """Return the autoencoder of these `Autoencoder.facts` and weights."""
    import torch

    shape = tuple(facts["image_shape"]) if facts["image_shape"] else None
    network = make(facts["uses"], facts["settings"]).build(facts["n_features"], shape, torch.Generator())
    network.load_state_dict(weights)
    return network
