"""A file that is not what was written is refused where a stage would read it; names of content are DVC's."""

import json
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc_data.hashfile.build import build

from deepclust import integrity
from deepclust.errors import UserError
from deepclust.files import read_yaml, write_text
from deepclust.integrity import intact, md5, recorded

ROOT = Path(__file__).parents[1]
LOCKS = sorted([ROOT / "dvc.lock", *ROOT.glob("grids/*/dvc.lock")])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project's folder with a folder and a file that stages wrote, and their record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "evaluate@few-kmeans")
    for name, text in {"runs/b/labels": "1", "runs/a.json": "{}", "runs/a-b": "", "X.npy": "x"}.items():
        write_text(Path("data") / name, text)
    stages = ""
    for path in ("data/runs", "data/X.npy"):
        out = f"    - path: {path}\n      hash: md5\n      md5: {md5(path)}\n      size: 3\n"
        dep = out.replace(md5(path), "0" * 32)
        stages += f"  make {path}:\n    cmd: x\n    deps:\n{dep}    params:\n      params.yaml:\n        outs: 1\n"
        stages += f"    outs:\n{out}"
    write_text("dvc.lock", f"schema: '2.0'\nstages:\n{stages}")
    return tmp_path


def test_content_has_the_name_that_dvc_gives_it(folder: Path) -> None:
    write_text(folder / "data/runs/.x.0123.tmp", "half")
    write_text(folder / "data/runs/__pycache__/x.pyc", "")
    (folder / ".dvcignore").write_text((ROOT / ".dvcignore").read_text(encoding="utf-8"), encoding="utf-8")
    with Repo.init(str(folder), no_scm=True) as repo:
        for path in ("data/runs", "data/X.npy", "data/runs/a.json"):
            _, _, found = build(repo.cache.local, str(folder / path), repo.fs, "md5", ignore=repo.dvcignore)
            assert md5(folder / path) == found.hash_info.value, path


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_a_record_is_what_yaml_would_read(lock: Path) -> None:
    stages = read_yaml(lock)["stages"].values()
    expected = {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}
    assert expected
    assert recorded(lock) == expected


READ = [Path("data/runs"), Path("data/runs/b"), Path("data/X.npy")]


@pytest.mark.parametrize("source", ["dvc.lock", "environment"])
def test_what_is_whole_may_be_read_and_what_is_not_is_refused(
    source: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "environment":
        monkeypatch.setenv(integrity.RECORDED, json.dumps(recorded()))
        (folder / "dvc.lock").unlink()
    intact(*READ, Path("data/never recorded"), Path("other"))
    for name in ("data/runs/b/labels", "data/runs/a.json", "data/X.npy"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(UserError, match=f"^{Path(*Path(name).parts[:2])} is damaged"):
            intact(*READ)
        (folder / name).write_bytes(content)
    write_text(folder / "data/runs/more", "")
    with pytest.raises(UserError, match="data/runs is damaged"):
        intact(Path("data/runs/b"))
    (folder / "data/runs/more").unlink()
    (folder / "data/runs/a-b").unlink()
    with pytest.raises(UserError, match="data/runs is damaged"):
        intact(Path("data/runs/b"))


def test_what_is_run_by_hand_has_no_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE")
    write_text("data/X.npy", "other")
    intact(*READ)
