"""The wheel: all files of the package, and no need of a package that it does not require."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import deepclust

ROOT = Path(__file__).parents[1]
PACKAGE = Path(deepclust.__file__).parent
SITE = sysconfig.get_path("purelib")

# Uses the package as its reader would.
USE = """
import importlib.util, sys
from pathlib import Path

import deepclust
from deepclust import cli, datasets, layout, methods, nets
from deepclust.reporting.aggregate import read_reported

assert Path(deepclust.__file__).is_relative_to(sys.prefix), deepclust.__file__
assert not [name for name in ("dvc", "distributed", "matplotlib", "ruamel") if importlib.util.find_spec(name)]
assert len(read_reported(layout.REPORTED)) == 745
data = datasets.load("digits", "data")
for name in methods.names():
    methods.load(name)
for name in nets.names():
    nets.load(name)
small = {"hidden": [16], "epochs": 1}
labels = methods.load("idec")(10, pretraining=small, epochs=1, random_state=0).fit_predict(data.X[:200])
assert set(labels) <= set(range(10))
Path("table.csv").write_text("a,b\\n" + "".join(f"{i % 2},{i / 40}\\n" for i in range(40)))
cli.main("cluster", "table.csv", "-k", "2", "--method", "kmeans")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    pip(sys.executable, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder)
    (found,) = folder.glob("*.whl")
    return found


def pip(python: str | Path, *words: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *map(str, words)]
    subprocess.run(command, check=True)


def test_every_file_of_the_package_is_in_it(wheel: Path) -> None:
    here = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as content:
        there = {name for name in content.namelist() if ".dist-info/" not in name}
        (licence,) = [name for name in content.namelist() if name.endswith("/LICENSE")]
        assert content.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert there == {name for name in here if "__pycache__" not in name}


def test_it_works_in_an_environment_of_what_it_requires(wheel: Path, tmp_path: Path) -> None:
    """The environment has the wheel, and links to those packages of this environment that the wheel requires."""
    python = tmp_path / "environment/bin/python"
    venv.create(tmp_path / "environment", with_pip=False)
    pip(python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (own,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    for name in closure(own) - {"deepclust"}:
        files = importlib.metadata.files(name) or []
        for part in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (own / part).exists():
                (own / part).symlink_to(Path(SITE, part))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-W", "error", "-c", USE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no map and no figures: matplotlib and openTSNE missing" in done.stdout
    assert (tmp_path / "table-kmeans/labels.csv").exists()
    asked = [str(python.with_name("deepclust")), "--version"]
    told = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout
    assert told == f"deepclust {deepclust.__version__}\n"


def closure(site: Path) -> set[str]:
    """Return the names of the distributions that the one installed in `site` requires, directly or not."""
    (first,) = importlib.metadata.distributions(path=[str(site)])
    assert first.version == deepclust.__version__
    found, waiting = {"deepclust"}, list(first.requires or [])
    while waiting:
        needed = Requirement(waiting.pop())
        name = normal(needed.name)
        if name not in found and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
            found.add(name)
            waiting += importlib.metadata.requires(name) or []
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_version_is_that_of_the_last_changes_and_of_the_citation() -> None:
    last = re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert last
    assert cited
    assert last[1] == cited[1] == deepclust.__version__
