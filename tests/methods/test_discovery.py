"""Methods are found by their files, and by nothing else."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from deepclust import methods
from deepclust.errors import UserError
from deepclust.methods.base import Clusterer
from deepclust.settings import defaults_of, meanings_of


def test_names_are_the_public_files() -> None:
    folder = Path(methods.__file__).parent
    public = {path.stem for path in folder.glob("*/*.py") if not path.stem.startswith("_")}
    assert methods.names() == sorted(public)


@pytest.mark.parametrize("name", methods.names())
def test_name_fits_a_file_a_key_and_a_stage(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", name)
    cls = methods.load(name)
    assert issubclass(cls, Clusterer)
    assert cls.__module__ == methods.module(name)
    assert name.replace("_", "") == cls.__name__.lower(), "the class is named as its file"


def test_no_two_methods_share_a_class() -> None:
    assert len({methods.load(name) for name in methods.names()}) == len(methods.names())


def test_private_files_define_no_whole_method() -> None:
    folder = Path(methods.__file__).parent
    for path in folder.rglob("_[a-z]*.py"):
        module = importlib.import_module(".".join(path.relative_to(folder.parents[1]).with_suffix("").parts))
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        own = [cls for cls in classes if cls.__module__ == module.__name__ and issubclass(cls, Clusterer)]
        assert not [cls for cls in own if cls.paper]


@pytest.mark.parametrize("name", methods.names())
def test_a_method_is_described_as_it_is(name: str) -> None:
    described, cls = methods.describe(name), methods.load(name)
    assert described.__name__ == cls.__name__
    assert described.__doc__ == cls.__doc__
    assert defaults_of(described) == defaults_of(cls)
    assert meanings_of(described) == meanings_of(cls)
    assert all(meanings_of(cls).values()), "every setting says what it means"
    assert repr(get_type_hints(described, include_extras=True)) == repr(get_type_hints(cls, include_extras=True))
    for declared in ("reads_graph", "default_network", "paper", "why_no_predict", "libraries", "not_in_params"):
        assert getattr(described, declared) == getattr(cls, declared)


def test_describing_methods_imports_neither_torch_nor_scikit_learn() -> None:
    program = """
import sys
from deepclust import config, methods
for name in methods.names():
    methods.describe(name)
print({"torch", "sklearn"} & set(sys.modules))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(methods.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_class_is_imported_by_its_name_and_alone() -> None:
    program = """
import sys
from deepclust.methods import KMeans
print(KMeans(3), sorted(n for n in sys.modules if n.startswith("deepclust.methods.") and n.split(".")[-1][0] != "_"))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(methods.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    loaded = ["deepclust.methods.base", "deepclust.methods.baselines", "deepclust.methods.baselines.kmeans"]
    assert done.stdout.strip() == f"KMeans(n_clusters=3) {loaded}"
    assert {"IDEC", "KMeans", "load"} <= set(dir(methods))
    with pytest.raises(AttributeError, match="KMean'"):
        methods.KMean  # noqa: B018


@pytest.mark.parametrize("name", ["k_means", "base", "_deep", "", "KMeans", "deepclust.methods.baselines.kmeans"])
def test_unknown_name_lists_the_names(name: str) -> None:
    with pytest.raises(
        UserError, match=re.escape(f"unknown method '{name}'; the methods are {', '.join(methods.names())}")
    ):
        methods.load(name)
