"""Declarations of methods and networks, read from their source: names, settings, inputs; without importing torch.

A file is parsed, and of classes that derive from `Settings` only the declarations are run: docstring, settings, class
variables. Declarations may use `typing`, `deepclust.settings` and constants of the file. If a declaration needs more,
`declared` raises NameError, and the caller imports the file.
"""

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from deepclust.errors import UserError
from deepclust.settings import Settings

T = TypeVar("T")
_PACKAGE = Path(__file__).parent
_CHEAP = {"collections.abc", "dataclasses", "functools", "math", "pydantic", "typing", "deepclust.settings"}


def declared(path: Path) -> type[Settings]:
    """Return the one public class with settings that a file defines, bare of all methods, or raise UserError."""
    return _only(path, _classes(path))


def class_in(module: ModuleType, base: type[T]) -> type[T]:
    """Return the one public class of this base that an imported module defines, or raise UserError."""
    classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, base)]
    own = {cls.__name__: cls for cls in classes if cls.__module__ == module.__name__}
    return _only(Path(str(module.__file__)), own)


def _only(path: Path, classes: Mapping[str, type[T]]) -> type[T]:
    public = {name: cls for name, cls in classes.items() if not name.startswith("_")}
    if len(public) != 1:
        raise UserError(
            f"{path} must define one public class with settings, and has {' and '.join(public) or 'none'}; see "
            "docs/adding-a-method.md"
        )
    return next(iter(public.values()))


@cache
def _classes(path: Path) -> dict[str, type[Settings]]:
    """Return the classes with settings that a file defines, by name."""
    space: dict[str, Any] = {"__name__": path.stem}
    own: dict[str, type[Settings]] = {}
    for node in ast.parse(path.read_bytes(), str(path)).body:
        if isinstance(node, ast.ImportFrom) and node.module in _CHEAP:
            _run(node, space)
        elif isinstance(node, ast.ImportFrom) and (file := _file_of(node.module or "")):
            imported = _classes(file)
            space |= {
                alias.asname or alias.name: imported[alias.name] for alias in node.names if alias.name in imported
            }
        elif isinstance(node, ast.Assign):
            try:
                _run(node, space)
            except (NameError, AttributeError):  # a constant that no declaration uses
                continue
        elif isinstance(node, ast.ClassDef) and (bases := [base for base in node.bases if _has_settings(base, space)]):
            node.bases, node.decorator_list = bases, []
            node.body = [part for part in node.body if _declares(part)] or [ast.Pass()]
            _run(node, space)
            own[node.name] = space[node.name]
    return own


def _has_settings(base: ast.expr, space: dict[str, Any]) -> bool:
    found = space.get(base.id) if isinstance(base, ast.Name) else None
    return isinstance(found, type) and issubclass(found, Settings)


def _declares(part: ast.stmt) -> bool:
    docstring = isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
    return docstring or isinstance(part, ast.Assign) or (isinstance(part, ast.AnnAssign) and part.value is not None)


def _run(node: ast.stmt, space: dict[str, Any]) -> None:
    module = ast.fix_missing_locations(ast.Module([node], []))
    exec(compile(module, "<declarations>", "exec"), space)


def _file_of(module: str) -> Path | None:
    """Return the file of a module of the folders that declare settings."""
    parts = module.split(".")
    if parts[0] != _PACKAGE.name or parts[1:2] not in (["methods"], ["nets"]):
        return None
    path = _PACKAGE.joinpath(*parts[1:]).with_suffix(".py")
    return path if path.is_file() else None
