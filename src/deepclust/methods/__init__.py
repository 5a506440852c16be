"""Clustering methods, found by their files: `names()` lists them, `load(name)` imports one and nothing else.

`restore(folder)` brings back a fitted one that its `save(folder)` wrote.
"""

import importlib
import pkgutil
from pathlib import Path

from deepclust.errors import UserError
from deepclust.methods import _saving
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


def restore(folder: Path | str) -> Clusterer:
    """Return the fitted method that was saved in a folder, by `save` or in data/runs/DATASET/CELL/seed-S.

    It labels new samples as the method that was saved did, bit for bit under the same library versions and threads. A
    method fitted on a GPU predicts there if there is one, else on the CPU.

    Raises
    ------
    UserError
        No method is saved there, a newer deepclust saved it, or its files are not as they were written.
    """
    facts, fitted = _saving.read(Path(folder))
    cls = load(facts["method"])
    try:
        method = cls(**facts["parameters"])
        method._keep(fitted)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{folder} was saved by another version of deepclust ({why}); fit again") from error
    return method
