"""Which code a stage runs: the files of this package that a script imports, directly or not, with their hashes.

Hashes are of the code alone: comments, docstrings and formatting may change, and so may Python's version, without a day
of training being repeated.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent


def code_of(scripts: Iterable[Path], modules: Iterable[str] = ()) -> dict[str, str]:
    """Return path -> SHA-256 of the code of the scripts, the named modules and every deepclust module they import.

    Imports are read from the source, those inside functions included; modules loaded by name at run time (methods,
    data sets) are what `modules` is for. Paths are relative to the package's parent folder, or names of scripts.
    """
    found: set[Path] = set()
    waiting = [*scripts, *(path for name in modules for path in _files_of(name))]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [imported for name in _imports(path) for imported in _files_of(name)]
    return {_label(path): _digest(path) for path in sorted(found)}


@functools.cache
def _digest(path: Path) -> str:
    tree = ast.parse(path.read_bytes(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.JoinedStr):  # 3.12 ends some formats with an empty string
            node.values = [part for part in node.values if getattr(part, "value", None) != ""]
    return hashlib.sha256(repr(_content(tree)).encode()).hexdigest()


def _content(tree: Any) -> Any:
    """Return a syntax tree as nested lists, alike in every version of Python: empty fields are not in all of them."""
    if isinstance(tree, list):
        return [_content(part) for part in tree]
    if not isinstance(tree, ast.AST):
        return tree
    fields = [[name, _content(value)] for name, value in ast.iter_fields(tree) if value is not None and value != []]
    return [type(tree).__name__, *fields]


@functools.cache
def _imports(path: Path) -> frozenset[str]:
    """Return the dotted names a file imports from this package; `from a import b` may mean the module a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(name for name in names if name.split(".")[0] == _PACKAGE.name)


def _files_of(name: str) -> list[Path]:
    """Return the file of a dotted module and the `__init__.py` files of the packages around it, where they exist."""
    parts = name.split(".")[1:]
    folders = [_PACKAGE.joinpath(*parts[:i]) for i in range(len(parts) + 1)]
    candidates = [folder / "__init__.py" for folder in folders] + [folders[-1].with_suffix(".py")]
    return [path for path in candidates if path.is_file()]


def _label(path: Path) -> str:
    parent = _PACKAGE.parent
    return path.relative_to(parent).as_posix() if path.is_relative_to(parent) else path.name
