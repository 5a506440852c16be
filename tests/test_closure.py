"""The code a stage runs: all of it is found, nothing else, and only changes of code change its hashes."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepclust import datasets, methods, nets
from deepclust.closure import PLUMBING, SAME_RESULTS, code_of, digest_of, hash_of, is_plumbing
from deepclust.settings import later_of

ROOT = Path(__file__).parents[1]
STAGES = ROOT / "stages"
# Modules that stages load by name at run time; `plan` hands these to code_of.
LOADED_BY_NAME = {
    "cluster": [methods.module(name) for name in methods.names()],
    "fetch": [f"deepclust.datasets.{name}" for name in datasets.names()],
    "pretrain": [nets.module(name) for name in nets.names()],
    "prepare": [f"deepclust.datasets.{name}" for name in datasets.names()],
}
TRAINING = ("training/", "nets/", "losses/")


def code_of_method(name: str) -> set[str]:
    return set(code_of([STAGES / "cluster.py"], [methods.module(name)]))


def hashes(package: Path, module: str, **options: bool) -> dict[str, str]:
    """Return the code of a module in a copy of the package, which is where that copy's closure.py looks."""
    spec = importlib.util.spec_from_file_location("closure_of_a_copy", package / "closure.py")
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    found: dict[str, str] = copy.code_of([], [module], **options)
    return found


def changed(package: Path, file: str, old: str, new: str, module: str) -> set[str]:
    """Return whose hashes change when `old` becomes `new` in a file of the package."""
    before = hashes(package, module)
    path = package / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    after = hashes(package, module)
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Make a small package around the real closure.py, so that its imports are known."""
    package = tmp_path / "src" / "deepclust"
    (package / "methods").mkdir(parents=True)
    shutil.copy(ROOT / "src/deepclust/closure.py", package)
    modules = {
        "__init__.py": "",
        "methods/__init__.py": "",
        "direct.py": "VALUE = 1\n",
        "lazy.py": "from deepclust.behind import VALUE\n",
        "behind.py": "VALUE = 2\n",
        "typed.py": "VALUE = 3\n",
        "other.py": "VALUE = 4\n",
        "methods/mine.py": '''"""A module."""

import numpy as np
from typing import TYPE_CHECKING
from deepclust import direct

if TYPE_CHECKING:
    import deepclust.typed


class Mine:
    """A class."""

    def fit(self, X):
        """A method."""
        # a comment
        from deepclust import lazy

        return [direct.VALUE, lazy.VALUE]
''',
    }
    for name, text in modules.items():
        (package / name).write_text(text, encoding="utf-8")
    return package


def test_a_module_brings_in_its_imports_those_inside_functions_and_those_behind_them(package: Path) -> None:
    names = ["__init__", "methods/mine", "direct", "lazy", "behind", "typed"]
    assert set(hashes(package, "deepclust.methods.mine")) == {f"{name}.py" for name in names}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        # a comment\n", ""),
        ("# a comment", "# another comment"),
        ('"""A module."""', '"""Another module.\n\nOf many lines.\n"""'),
        ('    """A class."""\n', ""),
        ('        """A method."""\n', ""),
        ("[direct.VALUE, lazy.VALUE]", "[\n            direct.VALUE,\n            lazy.VALUE,\n        ]"),
        ("import numpy as np\n", "import numpy as np\n\n\n"),
    ],
    ids=[
        "comment_removed",
        "comment_changed",
        "docstring_changed",
        "docstring_of_a_class_removed",
        "docstring_of_a_method_removed",
        "expression_reformatted",
        "blank_lines_added",
    ],
)
def test_comments_docstrings_and_formatting_change_no_hash(package: Path, old: str, new: str) -> None:
    assert changed(package, "methods/mine.py", old, new, "deepclust.methods.mine") == set()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("methods/mine.py", "[direct.VALUE, lazy.VALUE]", "[lazy.VALUE, direct.VALUE]"),
        ("methods/mine.py", "def fit(self, X)", "def fit(self, X, y=None)"),
        ("methods/mine.py", "return [", "'not a docstring'; return ["),
        ("direct.py", "1", "1.0"),
        ("behind.py", "2", "'2'"),
        ("__init__.py", "", "import os\n"),
    ],
    ids=["order", "signature", "statement", "imported_file", "lazily_imported_file", "package"],
)
def test_a_change_of_code_changes_the_hash_of_its_file_alone(package: Path, file: str, old: str, new: str) -> None:
    assert changed(package, file, old, new, "deepclust.methods.mine") == {file}


def test_a_change_elsewhere_changes_no_hash(package: Path) -> None:
    assert changed(package, "other.py", "4", "5", "deepclust.methods.mine") == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("raise ValueError('too few')", "raise ValueError('too few samples')"),
        ("raise ValueError('too few')", "raise ValueError(f'too few: {X}') from None"),
        ("_log.info('begun')", "_log.warning('begun with %s', X)"),
    ],
    ids=["error", "formatted_error", "log"],
)
def test_texts_for_people_change_no_hash(package: Path, old: str, new: str) -> None:
    texts = "_log = None\ndef f(X):\n    _log.info('begun')\n    if not X:\n        raise ValueError('too few')\n"
    (package / "other.py").write_text(texts, encoding="utf-8")
    assert changed(package, "other.py", old, new, "deepclust.other") == set()


def test_the_kind_of_an_error_changes_the_hash(package: Path) -> None:
    (package / "other.py").write_text("def f():\n    raise ValueError('no')\n", encoding="utf-8")
    assert changed(package, "other.py", "ValueError", "KeyError", "deepclust.other") == {"other.py"}


def test_code_that_keeps_the_results_of_older_code_has_its_hash_until_it_changes_again(package: Path) -> None:
    def everything(**options: bool) -> dict[str, str]:
        return hashes(package, "deepclust.lazy", **options)

    before = everything()
    (package / "lazy.py").write_text(
        "from deepclust import other\nfrom deepclust.behind import VALUE\n", encoding="utf-8"
    )
    now = everything()
    assert now.keys() - before.keys() == {"other.py"}
    entry = f'Kept("{now["lazy.py"]}", "{before["lazy.py"]}", "an option", True, ("deepclust.other",))'
    with (package / "closure.py").open("a", encoding="utf-8") as file:
        file.write(f'SAME_RESULTS = {{"lazy.py": {entry}}}\n')
    assert everything() == before != now == everything(as_it_is=True)
    (package / "lazy.py").write_text("from deepclust import other\n", encoding="utf-8")
    assert everything()["lazy.py"] not in (before["lazy.py"], now["lazy.py"])
    assert "other.py" in everything()


def test_settings_that_came_later_have_defaults_that_are_in_their_own_file() -> None:
    """A default made elsewhere, as of a class in `settings`, could change while no plan and no hash does."""
    classes = [methods.describe(name) for name in methods.names()] + [nets.describe(name) for name in nets.names()]
    later = [default for cls in classes for default in later_of(cls).values()]
    assert later
    assert all(default is None or isinstance(default, bool | int | float | str) for default in later)


def test_code_that_keeps_results_is_the_code_as_it_is() -> None:
    for file, kept in SAME_RESULTS.items():
        path = next(path for path in (ROOT / "src/deepclust" / file, STAGES / file) if path.exists())
        assert hash_of(path) == kept.now, f"{file} has changed again: closure.SAME_RESULTS says what to do"
        assert not is_plumbing(path)
        assert kept.why
        assert kept.setting or not (kept.added or "later=True" in path.read_text(encoding="utf-8")), file


def test_plumbing_exists_and_is_guarded_by_tests_that_exist() -> None:
    for name, reason in PLUMBING.items():
        assert (ROOT / "src/deepclust" / name).exists(), name
        guards = re.findall(r"tests/\S+?\.py", reason)
        assert guards, name
        assert all((ROOT / guard).exists() for guard in guards), reason


def test_plumbing_has_no_hash_and_one_digest_stands_for_all() -> None:
    code = code_of([STAGES / "cluster.py"], [methods.module("dec")])
    assert not {"errors.py", "files.py", "runs.py"} & set(code)
    assert digest_of(code) == digest_of(dict(reversed(code.items())))
    assert digest_of(code) != digest_of(code | {"cluster.py": "0"})


def test_kmeans_runs_no_training_code() -> None:
    code = code_of_method("kmeans")
    assert {"cluster.py", "methods/baselines/kmeans.py", "methods/base.py"} <= code
    assert [path for path in code if path.startswith(TRAINING)] == []


def test_spectral_clustering_runs_the_graph_code() -> None:
    code = code_of_method("sc_ncut")
    assert {"graph/knn.py", "graph/weights.py", "graph/spectral.py"} <= code
    assert [path for path in code if path.startswith(TRAINING)] == []


def test_dec_runs_the_loop_its_loss_and_the_networks() -> None:
    needed = ["training/loop", "training/pretrain", "losses/student_t", "nets/base", "methods/self_training/_scheme"]
    assert {f"{name}.py" for name in needed} <= code_of_method("dec")


def test_no_method_runs_another_ones_file() -> None:
    own = {name: f"methods/{methods.family(name)}/{name}.py" for name in methods.names()}
    for name in methods.names():
        assert code_of_method(name) & set(own.values()) == {own[name]}


def test_no_data_set_runs_more_than_the_files_it_reuses() -> None:
    own = {f"datasets/{name}.py" for name in datasets.names()}
    found = {name: set(code_of([], [f"deepclust.datasets.{name}"])) & own for name in datasets.names()}
    assert found["digits"] == {"datasets/digits.py"}
    assert all(f"datasets/{name}.py" in code for name, code in found.items())


@pytest.mark.parametrize(
    "line", ["from .. import other", "from ..other import VALUE", "from ._own import VALUE", "from . import _own"]
)
def test_relative_imports_are_followed(package: Path, line: str) -> None:
    """A method of a user's own may have them; those of this package are absolute (tests/test_architecture.py)."""
    (package / "methods/_own.py").write_text("VALUE = 5\n", encoding="utf-8")
    (package / "methods/mine.py").write_text(f"{line}\n", encoding="utf-8")
    file = "methods/_own.py" if "_own" in line else "other.py"
    assert set(hashes(package, "deepclust.methods.mine")) == {"__init__.py", "methods/mine.py", file}


def test_all_code_that_a_stage_loads_is_found() -> None:
    """Import each script, and each module that it loads by name, and compare with what was read from the sources."""
    script = """
import importlib, json, runpy, sys
loaded = []
for script, module in json.loads(sys.argv[1]):
    for name in [name for name in sys.modules if name.split(".")[0] == "deepclust"]:
        del sys.modules[name]
    runpy.run_path(script)
    if module:
        importlib.import_module(module)
    loaded.append([m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "deepclust"])
print(json.dumps(loaded))
"""
    pairs = [(path, module) for path in sorted(STAGES.glob("*.py")) for module in LOADED_BY_NAME.get(path.stem, [""])]
    command = [sys.executable, "-c", script, json.dumps([(str(path), module) for path, module in pairs])]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    for (path, module), files in zip(pairs, json.loads(done.stdout), strict=True):
        found = code_of([path], [module] if module else [], as_it_is=True)
        assert path.name in found
        deciding = [Path(file) for file in files if not is_plumbing(Path(file))]
        assert {file.relative_to(ROOT / "src/deepclust").as_posix() for file in deciding} <= set(found), (path, module)


def test_the_hash_is_the_same_in_every_version_of_python(package: Path) -> None:
    """The value was found with 3.11, 3.12 and 3.13, whose trees and way of writing them out differ."""
    (package / "other.py").write_text(
        "def f(*a: int, b=None, **c) -> str | None:\n"
        "    return f\"{a!r:>{len('x')}} {c['k']} 'q'\" 'end' if b else ...\n"
        "class C(dict): x: float = 1e-3; y = lambda self: (yield)\n",
        encoding="utf-8",
    )
    assert hashes(package, "deepclust.other")["other.py"].startswith("c55d29b84b7f7778")
