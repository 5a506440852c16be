"""A method takes no more than docs/adding-a-method.md says: its files and a line of params.yaml each."""

import re
import sys

import pytest

from tests.pipeline.conftest import ROOT, Workspace, stages_of

pytestmark = pytest.mark.xdist_group("finished")

WHOLE_FILE = re.compile(r"^```python\n# (src/deepclust/\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """Return the files of the page's examples by their paths."""
    found = dict(WHOLE_FILE.findall((ROOT / "docs/adding-a-method.md").read_text(encoding="utf-8")))
    folders = sorted(path.split("/")[2] for path in found)
    assert folders == ["methods", "methods", "nets", "reporting"]
    return found


def stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".py")


def test_a_method_is_a_file_and_a_line_with_a_network_and_a_figure_a_file_each(
    finished: Workspace, files: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = finished.copy(tmp_path_factory.mktemp("adding") / "project")
    names = [stem(path) for path in files if "/methods/" in path]
    (network,) = (stem(path) for path in files if "/nets/" in path)
    (figure,) = (stem(path) for path in files if "/figures/" in path)
    for path, text in files.items():
        assert not (project.root / path).exists()
        project.write(path, text)
    project.edit(lambda params: params["methods"].update({name: {} for name in names}))
    repro = project.repro()
    evaluations = {stage for stage in stages_of(project) if stage.startswith("evaluate@")}  # a figure is for every cell
    assert repro.ran == {"plan", "report", f"pretrain@few-{network}"} | stages_of(project, *names) | evaluations
    changed = {line[3:] for line in project.run("git", "status", "--porcelain", "--untracked-files=all").splitlines()}
    made = {path for path in changed if path == "dvc.lock" or path.startswith("reports/")}
    assert changed - made == {*files, "params.yaml", "cells.yaml"}  # the last is generated

    for name in names:
        seeds = project.read_json(f"reports/metrics/few/{name}.json")
        assert (seeds["n"], seeds["failed"]) == (2, 0)
    (drawn,) = (name for name in names if (project.root / f"reports/cells/few/{name}/{figure}.png").exists())
    project.cold.run("python", "stages/evaluate.py", "few", drawn)
    assert (project.root / f"reports/cells/few/{drawn}/{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert not (project.root / f"reports/cells/few/kmeans/{figure}.png").exists()


def test_the_examples_pass_what_every_method_has_to(
    pristine: Workspace, files: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = pristine.copy(tmp_path_factory.mktemp("suite") / "project")
    for path, text in files.items():
        project.write(path, text)
    names = [stem(path) for path in files if "/methods/" in path]
    project.replace("tests/methods/test_every_method.py", "NAMES = methods.names()", f"NAMES = {names}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/methods/test_every_method.py"]
    # scikit-learn's checks are named by the class, all others by the method
    wanted = " or ".join([*names, *(name.replace("_", "") for name in names)])
    said = project.run(*command, "-k", f"({wanted}) and not quiet")
    assert re.search(r"^\d+ passed", said, re.MULTILINE)
