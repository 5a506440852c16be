"""Methods are found by their files, and by nothing else; what they declare is read without running them."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest

from deepclust import methods
from deepclust.errors import UserError
from deepclust.metadata import class_in, declared
from deepclust.methods._deep import DeepClusterer
from deepclust.methods.base import Clusterer
from deepclust.settings import Settings, defaults_of, meanings_of, names_of, setting

FOLDER = Path(methods.__file__).parent
CLASS_VARIABLES = ("reads_graph", "default_network", "paper", "why_no_predict", "not_in_params", "libraries")
every_method = pytest.mark.parametrize("name", methods.names())


def file_of(name: str) -> Path:
    return FOLDER / methods.family(name) / f"{name}.py"


def test_names_are_the_public_files_of_the_folders() -> None:
    public = [path.stem for path in FOLDER.glob("*/*.py") if not path.stem.startswith("_")]
    assert methods.names() == sorted(public)


@every_method
def test_name_fits_a_file_a_key_and_a_stage(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", name)
    cls = methods.load(name)
    assert issubclass(cls, Clusterer)
    assert cls.__module__ == methods.module(name) == f"deepclust.methods.{methods.family(name)}.{name}"
    assert name.replace("_", "") == cls.__name__.lower(), "the class is named as its file"
    assert getattr(methods, cls.__name__) is cls
    assert cls.__name__ in dir(methods)


@every_method
def test_family_says_what_its_methods_share(name: str) -> None:
    assert importlib.import_module(f"deepclust.methods.{methods.family(name)}").__doc__


def test_no_two_methods_share_a_class() -> None:
    assert len({methods.load(name) for name in methods.names()}) == len(methods.names())


def test_private_files_define_no_whole_method() -> None:
    for path in FOLDER.rglob("_*.py"):
        module = importlib.import_module(".".join(path.relative_to(FOLDER.parents[1]).with_suffix("").parts))
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        own = [cls for cls in classes if cls.__module__ == module.__name__ and issubclass(cls, Clusterer)]
        assert not [cls for cls in own if cls.paper]


@pytest.mark.parametrize(
    "name", ["k_means", "base", "_deep", "", "KMeans", "deepclust.methods.kmeans", "baselines", "baselines.kmeans"]
)
def test_unknown_name_lists_the_names(name: str) -> None:
    message = re.escape(f"unknown method '{name}'; the methods are {', '.join(methods.names())}")
    for function in (methods.load, methods.describe, methods.family, methods.module):
        with pytest.raises(UserError, match=message):
            function(name)


def test_unknown_class_is_no_attribute() -> None:
    for name in ("IDECS", "kmeans", "_deeper"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(methods, name)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_two_files_of_one_name_are_refused_and_shared_files_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "_FOLDER", tmp_path)
    monkeypatch.setattr(methods, "_files", methods._files.__wrapped__)  # type: ignore[attr-defined]
    for file in (
        "one/mine.py",
        "one/_scheme.py",
        "one/deeper/yours.py",
        "_private/hers.py",
        "base.py",
        "one/__init__.py",
    ):
        write(tmp_path / file, "")
    assert methods.names() == ["mine"]
    write(tmp_path / "two" / "mine.py", "")
    with pytest.raises(
        UserError, match=r"two methods are named 'mine': one/mine\.py and two/mine\.py in .*; rename one"
    ):
        methods.names()


# ------------------------------------------------------------------------------------------------------ declarations


@every_method
def test_declarations_read_from_the_source_are_those_of_the_class(name: str) -> None:
    cls = methods.load(name)
    for found in (declared(file_of(name)), methods.describe(name)):
        assert found is not cls
        assert found.__name__ == cls.__name__
        assert found.__doc__ == cls.__doc__
        assert names_of(found) == names_of(cls)
        assert defaults_of(found) == defaults_of(cls)
        assert meanings_of(found) == meanings_of(cls)
        types, expected = (get_type_hints(where, include_extras=True) for where in (found, cls))
        for one in names_of(cls):
            assert repr(types[one]) == repr(expected[one])  # two runs of one Annotated[...] are not equal
        for variable in CLASS_VARIABLES:
            assert getattr(found, variable) == getattr(cls, variable)


def test_describing_imports_neither_torch_nor_scikit_learn() -> None:
    program = """
import sys
from deepclust import methods
for name in methods.names():
    methods.describe(name)
dir(methods)
print([name for name in ("torch", "sklearn", "scipy") if name in sys.modules])
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_declaration_that_needs_more_is_described_by_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `metadata` cannot run a line, the file is imported."""
    write(
        tmp_path / "one" / "mine.py",
        "import numpy as np\nfrom deepclust.settings import Settings, setting\n\n\n"
        'class Mine(Settings):\n    """Mine."""\n\n    rate: float = setting(np.pi, "a rate")\n',
    )
    monkeypatch.setattr(methods, "_FOLDER", tmp_path)
    monkeypatch.setattr(methods, "_files", methods._files.__wrapped__)  # type: ignore[attr-defined]
    loaded = type("Mine", (Settings,), {})
    monkeypatch.setattr(methods, "load", lambda name: loaded)
    assert methods.describe("mine") is loaded


@pytest.mark.parametrize(
    ("name", "text", "has"),
    [
        ("empty", "", "none"),
        ("other", "class Mine:\n    pass\n", "none"),
        ("two", "class One(Settings):\n    pass\n\n\nclass Two(Settings):\n    def fit(self): ...\n", "One and Two"),
    ],
)
def test_a_file_of_not_one_method_is_named(name: str, text: str, has: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.py"  # a file is read once
    write(path, f"from deepclust.settings import Settings\n\n\n{text}")
    with pytest.raises(UserError, match=rf"{name}\.py must define one public class with settings, and has {has}; see"):
        declared(path)


def test_a_module_of_not_one_class_is_named_where_it_is_loaded() -> None:
    module = ModuleType("mine")
    module.__file__ = "methods/own/mine.py"
    with pytest.raises(
        UserError, match=r"methods.own.mine\.py must define one public class with settings, and has none"
    ):
        class_in(module, Clusterer)
    for name in ("One", "Two"):
        setattr(module, name, type(name, (Clusterer,), {"__module__": "mine"}))
    with pytest.raises(UserError, match=r"and has One and Two; see"):
        class_in(module, Clusterer)
    module.Two.__name__ = "_Two"
    assert class_in(module, Clusterer) is module.One


@pytest.mark.parametrize("name", ["transform", "predict_proba", "fit"])
def test_a_setting_with_the_name_of_a_method_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"^Mine.{name}: a setting cannot have the name of a method; rename it$"):
        type("Mine", (DeepClusterer,), {"__annotations__": {name: int}, name: setting("a number", default=1)})
    again = type(
        "Mine", (DeepClusterer,), {"__annotations__": {"random_state": int}, "random_state": setting("", default=1)}
    )
    assert defaults_of(again)["random_state"] == 1


def test_a_class_of_methods_alone_is_described(tmp_path: Path) -> None:
    path = tmp_path / "methods_alone.py"
    write(path, "from deepclust.settings import Settings\n\n\nclass Mine(Settings):\n    def fit(self): ...\n")
    assert names_of(declared(path)) == []
