"""Clustering methods, found by their files: `names()` lists them, `load(name)` imports one and nothing else."""

import importlib
import pkgutil

from deepclust.errors import UserError
from deepclust.methods.base import Clusterer


def names() -> list[str]:
    """Return the names of all methods: the stems of this folder's files, `base` and underscored ones excepted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base" and not m.name.startswith("_"))


def load(name: str) -> type[Clusterer]:
    """Return the class of a method, the one `Clusterer` defined in the file of that name."""
    if name not in names():
        raise UserError(f"unknown method '{name}'; the methods are {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Clusterer) and value.__module__ == module.__name__
    )
    return found
