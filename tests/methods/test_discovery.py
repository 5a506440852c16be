"""Methods are found by their files, and by nothing else."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from deepclust import methods
from deepclust.errors import UserError
from deepclust.methods.base import Clusterer


def test_names_are_the_public_files() -> None:
    folder = Path(methods.__file__).parent
    public = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")} - {"base"}
    assert methods.names() == sorted(public)


@pytest.mark.parametrize("name", methods.names())
def test_name_fits_a_file_a_key_and_a_stage(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", name)
    cls = methods.load(name)
    assert issubclass(cls, Clusterer)
    assert cls.__module__ == f"deepclust.methods.{name}"
    assert name.replace("_", "") == cls.__name__.lower(), "the class is named as its file"


def test_no_two_methods_share_a_class() -> None:
    assert len({methods.load(name) for name in methods.names()}) == len(methods.names())


def test_private_files_define_no_whole_method() -> None:
    for info in pkgutil.iter_modules(methods.__path__):
        if info.name.startswith("_"):
            module = importlib.import_module(f"deepclust.methods.{info.name}")
            classes = [value for value in vars(module).values() if isinstance(value, type)]
            own = [cls for cls in classes if cls.__module__ == module.__name__ and issubclass(cls, Clusterer)]
            assert not [cls for cls in own if cls.paper]


@pytest.mark.parametrize("name", ["k_means", "base", "_deep", "", "KMeans", "deepclust.methods.baselines.kmeans"])
def test_unknown_name_lists_the_names(name: str) -> None:
    with pytest.raises(
        UserError, match=re.escape(f"unknown method '{name}'; the methods are {', '.join(methods.names())}")
    ):
        methods.load(name)
