"""The import rules of the package, read from its source, and what start-up must not import."""

import ast
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepclust import methods

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "deepclust"
FILES = sorted(PACKAGE.rglob("*.py"))
BASE = {"errors", "files", "layout", "mapped", "metadata", "seeding", "settings"}  # what anyone may import

# folder -> what it may import beside itself and BASE; folders not named here have no rule
ALLOWED = {
    "losses": set[str](),
    "metrics": {"graph"},
    "graph": set[str](),
    "solvers": set[str](),
    "nets": {"losses"},
    "datasets": {"graph"},
    "training": {"nets", "losses", "runs"},
    "methods": {"nets", "losses", "graph", "solvers", "training"},
    "reporting": {"metrics"},
    "config": {"datasets", "instructions", "methods", "nets"},
    "consensus": {"metrics"},
    "cli": {"closure", "config", "datasets", "execution", "grids", "methods", "metrics", "nets", "reporting", "results"}
    | {"script", "selection", "training", "_version"},
}
RANDOM_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
OWN_GENERATORS = {"default_rng", "Generator", "SeedSequence", "PCG64", "RandomState", "BitGenerator"}


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything imported anywhere in a file; `from a import b` gives a.b, where a module."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = SOURCE.joinpath(*full.split(".")).with_suffix(".py").exists()
                is_package = SOURCE.joinpath(*full.split(".")).is_dir()
                yield full if is_module or is_package else node.module


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for an attribute of a name, else the empty string."""
    if isinstance(node, ast.Attribute):
        return f"{inner}.{node.attr}" if (inner := dotted(node.value)) else ""
    return node.id if isinstance(node, ast.Name) else ""


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and (name := dotted(node.func)):
            yield name, node


def identity(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def files_in(*folders: str) -> list[Path]:
    return [path for path in FILES if path.relative_to(PACKAGE).parts[0] in folders]


each_file = pytest.mark.parametrize("path", FILES, ids=identity)


@pytest.mark.parametrize("path", files_in(*ALLOWED), ids=identity)
def test_imports_go_downwards_only(path: Path) -> None:
    folder = path.relative_to(PACKAGE).parts[0]
    own = [name.split(".")[1] for name in imports(path) if name.startswith("deepclust.")]
    assert set(own) <= ALLOWED[folder] | BASE | {folder}


def test_every_folder_has_a_rule() -> None:
    assert {path.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE} <= set(ALLOWED)


@pytest.mark.parametrize("path", files_in("reporting", "metrics"), ids=identity)
def test_results_are_read_and_judged_without_torch(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & {"torch", "torchvision"}


@each_file
def test_no_method_imports_another(path: Path) -> None:
    public = {name_of(p) for p in PACKAGE.glob("methods/*/[!_]*.py")}
    assert not public & set(imports(path)) - {name_of(path)}


@each_file
def test_nothing_is_pickled(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & {"pickle", "cPickle", "dill", "cloudpickle", "joblib"}
    for name, call in calls(path):
        assert name not in {"torch.load", "torch.save"}, f"line {call.lineno}"
        if name in {"np.load", "numpy.load", "np.save"}:
            (allow,) = (keyword.value for keyword in call.keywords if keyword.arg == "allow_pickle")
            assert isinstance(allow, ast.Constant), f"line {call.lineno}"
            assert allow.value is False, f"line {call.lineno}"


@each_file
def test_no_global_random_generator_is_used(path: Path) -> None:
    assert "random" not in set(imports(path))
    for name, call in calls(path):
        where = f"line {call.lineno}: {name}"
        parts = name.split(".")
        if parts[:2] in (["np", "random"], ["numpy", "random"]):
            assert parts[2] in OWN_GENERATORS, where
        if parts[0] == "torch":
            assert parts[-1] not in {"seed", "manual_seed", "manual_seed_all", "set_rng_state"}, where
            assert parts[1] not in RANDOM_DRAWS or any(k.arg == "generator" for k in call.keywords), where
        assert parts[-1] not in {"dropout", "Dropout", "rand_like", "randn_like", "randint_like"}, where
        if ".init." in name and parts[-1].removesuffix("_") in {"uniform", "normal", "trunc_normal", "orthogonal"}:
            assert any(k.arg == "generator" for k in call.keywords), where


@each_file
def test_library_never_prints(path: Path) -> None:
    assert "print" not in {name for name, _ in calls(path)}


def run(program: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_start_up_without_torch() -> None:
    modules = [name_of(path) for path in files_in("metrics", "reporting", "datasets", "graph")]
    modules += [methods.module(name) for name in ("kmeans", "gmm", "ward", "sc_ncut")]
    modules += ["deepclust.config", "deepclust.runs", "deepclust.nets", "deepclust.planning"]
    program = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.stdout.write(name)
        break
"""
    assert run(program) == []


def test_loading_a_method_loads_no_other() -> None:
    program = "import sys\nfrom deepclust import methods\nmethods.load('ward')\nsys.stdout.write(' '.join(sys.modules))"
    public = {name_of(path) for path in files_in("methods") if not path.stem.startswith("_")}
    loaded = {"deepclust.methods.base", "deepclust.methods.baselines.ward"}
    assert set(run(program)) & public == loaded
