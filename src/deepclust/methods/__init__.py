"""Clustering methods by name: `names` lists them, `load` imports one, `restore` brings back a fitted one.

A method is a file in one of this package's folders, which are the families of methods; its name is the file's. Files
whose names begin with an underscore are shared code. The classes themselves are attributes of this package, imported
when they are asked for: `from deepclust.methods import IDEC`.
"""

import importlib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from deepclust import metadata
from deepclust.errors import UserError


@cache
def _files() -> dict[str, Path]:
    """Return the file of every method by its name, sorted."""
    found = [path for path in Path(__path__[0]).glob("*/*.py") if not path.name.startswith("_")]
    if repeated := [name for name, count in Counter(path.stem for path in found).items() if count > 1]:
        raise UserError(f"two files of deepclust/methods are named {repeated[0]}.py; rename one")
    return {path.stem: path for path in sorted(found, key=lambda path: path.stem)}


def names() -> list[str]:
    """Return the names of all methods, sorted."""
    return list(_files())


def family(name: str) -> str:
    """Return the folder that a method is in."""
    return _file(name).parent.name


def module(name: str) -> str:
    """Return the dotted name of a method's module."""
    return f"{__name__}.{family(name)}.{name}"


def load(name: str) -> Any:
    """Return the class of a method, the one `Clusterer` defined in the file of that name."""
    from deepclust.methods.base import Clusterer

    home = importlib.import_module(module(name))
    (found,) = (
        value
        for value in vars(home).values()
        if isinstance(value, type) and issubclass(value, Clusterer) and value.__module__ == home.__name__
    )
    return found


def describe(name: str) -> Any:
    """Return what a method declares, as a class without methods: nothing is imported where its file allows that."""
    try:
        return metadata.declared(_file(name))
    except NameError:
        return load(name)


def restore(folder: Path | str) -> Any:
    """Return the fitted method that was saved in a folder, by `save` or in data/runs/DATASET/CELL/seed-S.

    It labels new samples as the method that was saved did, bit for bit under the same library versions and threads. A
    method fitted on a GPU predicts there if there is one, else on the CPU.

    Raises
    ------
    UserError
        No method is saved there, a newer deepclust saved it, or its files are not as they were written.
    """
    from deepclust.methods import _saving

    facts, fitted = _saving.read(Path(folder))
    cls = load(facts["method"])
    try:
        method = cls(**facts["parameters"])
        method._restore(fitted)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{folder} was saved by another version of deepclust ({why}); fit again") from error
    return method


def _file(name: str) -> Path:
    if name not in _files():
        raise UserError(f"unknown method '{name}'; the methods are {', '.join(names())}")
    return _files()[name]


@cache
def _classes() -> dict[str, str]:
    """Return the method's name for each class."""
    return {describe(name).__name__: name for name in names()}


def __getattr__(attribute: str) -> Any:
    if attribute.startswith("_") or attribute not in _classes():
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
    return load(_classes()[attribute])


def __dir__() -> list[str]:
    return sorted([*globals(), *_classes()])
