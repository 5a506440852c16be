"""Clustering methods, found by their files: `names()` lists them, `load(name)` imports one and nothing else.

A method is any file `methods/FOLDER/NAME.py` whose name has no leading underscore. The folder is the scheme it shares
with its neighbours, and names are global. Discovery looks one folder deep: a file directly in methods/ is shared code.

`describe(name)` reads what a method declares without importing torch; `restore(folder)` brings back a fitted method
that its `save(folder)` wrote; `from deepclust.methods import IDEC` imports that one class.
"""

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepclust.errors import UserError
from deepclust.metadata import class_in, declared

if TYPE_CHECKING:
    from deepclust.methods.base import Clusterer

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all methods, in alphabetical order."""
    return sorted(_files())


def family(name: str) -> str:
    """Return the folder of a method, which is its heading in a table."""
    return _file(name).parent.name


def module(name: str) -> str:
    """Return the dotted name of the module that defines a method."""
    return f"{__name__}.{family(name)}.{name}"


def describe(name: str) -> "type[Clusterer]":
    """Return what a method declares, as a class without methods: docstring, settings and class variables.

    Neither torch nor scikit-learn is imported, but for a method whose declarations need more than
    `deepclust.metadata` can run: its class is loaded.
    """
    path = _file(name)
    try:
        return cast("type[Clusterer]", declared(path))
    except NameError:
        return load(name)


def load(name: str) -> "type[Clusterer]":
    """Return the class of a method, the one public `Clusterer` defined in the file of that name."""
    from deepclust.methods.base import Clusterer

    return class_in(importlib.import_module(module(name)), Clusterer)


def restore(folder: Path | str) -> "Clusterer":
    """Return the fitted method that was saved in a folder, by `save` or in data/runs/DATASET/CELL/seed-S.

    The restored method labels new samples as the saved one did, bit for bit under the same library versions and
    threads. A method fitted on a GPU predicts there if there is one, else on the CPU.

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


@cache  # a plan asks some thousand times
def _files() -> dict[str, Path]:
    """Return the file of every method by the method's name."""
    found: dict[str, Path] = {}
    for path in sorted(_FOLDER.glob("[!_]*/[!_]*.py")):
        if path.stem in found:
            both = " and ".join(str(file.relative_to(_FOLDER)) for file in (found[path.stem], path))
            raise UserError(f"two methods are named '{path.stem}': {both} in {_FOLDER}; rename one")
        found[path.stem] = path
    return found


def _file(name: str) -> Path:
    files = _files()
    if name not in files:
        raise UserError(f"unknown method '{name}'; the methods are {', '.join(sorted(files))}")
    return files[name]


def _classes() -> dict[str, str]:
    """Return the name of every method by the name of its class."""
    return {describe(name).__name__: name for name in names()}


def __getattr__(name: str) -> Any:
    if name[:1].isupper() and (method := _classes().get(name)):
        return load(method)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_classes()])
