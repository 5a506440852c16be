"""The import rules of the package, read from its source, and what start-up must not import."""

import ast
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
    "cli": {"closure", "config", "datasets", "execution", "grids", "instructions", "methods", "metrics", "nets"}
    | {"reporting", "results", "script", "selection", "training", "_version"},
}
RANDOM_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
INITIAL_DRAWS = {"uniform", "normal", "trunc_normal", "orthogonal"}
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


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def test_imports_go_downwards_only() -> None:
    upwards = {}
    for path in files_in(*ALLOWED):
        folder = path.relative_to(PACKAGE).parts[0]
        own = {name.split(".")[1] for name in imports(path) if name.startswith("deepclust.")}
        upwards[identity(path)] = own - (ALLOWED[folder] | BASE | {folder})
    assert {path: found for path, found in upwards.items() if found} == {}


def test_every_folder_has_a_rule() -> None:
    assert {path.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE} <= set(ALLOWED)


def test_results_are_read_and_judged_without_torch() -> None:
    judging = files_in("reporting", "metrics")
    assert [identity(path) for path in judging if packages(path) & {"torch", "torchvision"}] == []


def test_no_method_imports_another() -> None:
    public = {name_of(p) for p in PACKAGE.glob("methods/*/[!_]*.py")}
    found = {identity(path): public & set(imports(path)) - {name_of(path)} for path in FILES}
    assert {path: others for path, others in found.items() if others} == {}


def test_nothing_is_pickled() -> None:
    offences = []
    for path in FILES:
        if packages(path) & {"pickle", "cPickle", "dill", "cloudpickle", "joblib"}:
            offences.append(identity(path))
        for name, call in calls(path):
            allowed = name not in {"torch.load", "torch.save"}
            if name in {"np.load", "numpy.load", "np.save"}:
                values = [keyword.value for keyword in call.keywords if keyword.arg == "allow_pickle"]
                allowed = [isinstance(value, ast.Constant) and value.value is False for value in values] == [True]
            if not allowed:
                offences.append(f"{identity(path)}, line {call.lineno}: {name}")
    assert offences == []


def test_no_global_random_generator_is_used() -> None:
    offences = [identity(path) for path in FILES if "random" in imports(path)]
    for path in FILES:
        for name, call in calls(path):
            parts, told = name.split("."), any(keyword.arg == "generator" for keyword in call.keywords)
            last = parts[-1]
            rules = [
                parts[:2] in (["np", "random"], ["numpy", "random"]) and parts[2] not in OWN_GENERATORS,
                parts[0] == "torch" and last in {"seed", "manual_seed", "manual_seed_all", "set_rng_state"},
                parts[0] == "torch" and parts[1] in RANDOM_DRAWS and not told,
                last in {"dropout", "Dropout", "rand_like", "randn_like", "randint_like"},
                ".init." in name and last.removesuffix("_") in INITIAL_DRAWS and not told,
            ]
            if any(rules):
                offences.append(f"{identity(path)}, line {call.lineno}: {name}")
    assert offences == []


def test_library_never_prints() -> None:
    assert [identity(path) for path in FILES if "print" in {name for name, _ in calls(path)}] == []


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


def test_tools_load_the_package_before_a_library_that_it_holds_to_instructions() -> None:
    for path in sorted((SOURCE.parent / "tools").glob("*.py")):
        imports = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [getattr(node, "module", None) or node.names[0].name for node in imports]
        roots = [name.partition(".")[0] for name in names]
        numerical = [place for place, root in enumerate(roots) if root in {"numpy", "pandas", "dask", "torch"}]
        assert not numerical or roots.index("deepclust") < numerical[0], path.name
