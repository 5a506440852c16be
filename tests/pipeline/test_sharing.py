"""One clone computes, others need not: through a folder, a bucket or a common cache, whatever breaks on the way."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest

from deepclust.files import read_yaml
from tests.pipeline.conftest import Workspace, stages_of

pytestmark = pytest.mark.xdist_group("shared")

REMOTES = ["folder", "bucket"]
KEYS = {"access_key_id": "user", "secret_access_key": "of-the-lab"}


@dataclass(frozen=True)
class Lab:
    """A clone that ran the tiny grid and pushed it to two remotes, and a way into both that is not DVC's."""

    owner: Workspace
    folder: Path
    endpoint: str

    def clone(self, root: Path, source: Workspace | None = None) -> Workspace:
        """Clone what the owner, or another, committed: without DVC's cache, without finished seeds."""
        self.owner.run("git", "clone", "--quiet", str((source or self.owner).root), str(root))
        workspace = Workspace(root, dict(self.owner.variables))
        authorise(workspace)
        return workspace

    def store(self, remote: str) -> tuple[Any, str]:
        """Return the file system of a remote and the place of its objects there."""
        if remote == "folder":
            return fsspec.filesystem("file"), f"{self.folder}/files/md5"
        options = {"key": KEYS["access_key_id"], "secret": KEYS["secret_access_key"], "use_listings_cache": False}
        return fsspec.filesystem("s3", endpoint_url=self.endpoint, **options), f"lab/{remote}/files/md5"

    def files(self, remote: str) -> list[str]:
        """Return the paths of the objects on a remote."""
        files, root = self.store(remote)
        return [str(path) for path in files.find(root)]

    def names(self, remote: str) -> set[str]:
        """Return the names of the objects on a remote."""
        return {"".join(path.split("/")[-2:]) for path in self.files(remote)}


def authorise(workspace: Workspace, remote: str = "bucket", **settings: str) -> None:
    """Do what `dvc remote modify --local` does for each key: it is half a second a time."""
    lines = [f"{key} = {value}" for key, value in (KEYS | settings).items()]
    workspace.append(".dvc/config.local", "\n".join([f"['remote \"{remote}\"']", *lines, ""]))


def stored(workspace: Workspace) -> set[str]:
    """Return the names of the objects in the workspace's own cache."""
    cache = workspace.root / ".dvc/cache/files/md5"
    return {"".join(path.relative_to(cache).parts) for path in cache.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer  # a second, in every worker that collects this file

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def lab(finished: Workspace, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    place = tmp_path_factory.mktemp("lab")
    lab = Lab(finished.copy(place / "owner"), place / "remote", endpoint)
    lab.store("bucket")[0].mkdir("lab")
    run = lab.owner.run
    run("dvc", "remote", "add", "--default", "folder", str(lab.folder))
    run("dvc", "remote", "add", "bucket", "s3://lab/bucket")
    run("dvc", "remote", "modify", "bucket", "endpointurl", endpoint)
    run("dvc", "remote", "modify", "bucket", "use_ssl", "false")  # else certificates are read, a second a command
    for remote in REMOTES:
        run("dvc", "remote", "modify", remote, "verify", "true")
    authorise(lab.owner)
    lab.owner.commit()
    for remote in REMOTES:
        run("dvc", "push", "--run-cache", "--remote", remote)
    return lab


@pytest.fixture(params=REMOTES)
def remote(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def failing(workspace: Workspace, *command: str) -> str:
    """Run a command that has to fail, without a traceback, and return its output."""
    done = subprocess.run(command, cwd=workspace.root, env=workspace.environment, capture_output=True, text=True)
    assert done.returncode in (1, 2, 255)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def verify(workspace: Workspace, *remote: str) -> str:
    return workspace.run("python", "tools/verify.py", "objects", *remote)


def name_of(workspace: Workspace, output: str) -> str:
    """Return the name in DVC's cache of an output of the lock."""
    stages = read_yaml(workspace.root / "dvc.lock")["stages"].values()
    (name,) = {out["md5"] for stage in stages for out in stage["outs"] if out["path"] == output}
    return str(name)


def damage(files: Any, path: str) -> None:
    """Change a byte of an object and leave its mode, as a bad disk does."""
    content = files.cat_file(path)
    files.rm_file(path)
    files.pipe_file(path, content[:-1] + bytes([content[-1] ^ 1]))
    if os.path.exists(path):
        os.chmod(path, 0o444)


def test_a_clone_that_pulls_has_every_file_and_runs_nothing(lab: Lab, tmp_path: Path) -> None:
    clone = lab.clone(tmp_path / "clone")
    clone.run("dvc", "pull", "--run-cache", "--remote", "bucket")
    repro = clone.repro()
    assert repro.ran | repro.restored == set()
    for folder in ("data", "reports"):
        files = clone.files(folder)
        assert {Path(name).suffix for name in files} >= {"data": {".npy", ".safetensors"}, "reports": {".png"}}[folder]
        assert files == lab.owner.files(folder)
    assert clone.run("git", "status", "--porcelain") == ""


def test_credentials_stay_out_of_git(lab: Lab) -> None:
    assert KEYS["secret_access_key"] in lab.owner.read(".dvc/config.local")
    assert lab.owner.run("git", "status", "--porcelain") == ""
    assert KEYS["secret_access_key"] not in lab.owner.run("git", "log", "--patch", "--", ".dvc")


@pytest.fixture(scope="module")
def changed(lab: Lab, pool: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, ...]:
    """Return two clones in which another method's settings were changed, rerun and committed at the same time."""
    place = tmp_path_factory.mktemp("changed")

    def change(cell: str) -> Workspace:
        clone = lab.clone(place / cell)
        clone.run("dvc", "pull", "--run-cache")
        clone.edit(lambda params: params["methods"][cell].update(n_init=3))  # the sweep on k-means sets it itself
        repro = clone.repro()
        assert repro.ran == {"plan", "report"} | stages_of(clone, cell)
        assert repro.restored == set()
        clone.commit()
        return clone

    return tuple(pool.map(change, ("kmeans", "dec")))


def test_in_a_clone_a_changed_setting_runs_its_method_alone(changed: tuple[Workspace, ...]) -> None:
    assert [clone.run("git", "status", "--porcelain") for clone in changed] == ["", ""]


def test_of_two_pushes_at_the_same_time_nothing_is_lost(
    lab: Lab, changed: tuple[Workspace, ...], pool: ThreadPoolExecutor
) -> None:
    remote = "bucket"
    push = ("dvc", "push", "--run-cache", "--remote", remote)
    logs = list(pool.map(lambda clone: clone.run(*push), changed))
    assert all("files pushed" in log for log in logs)
    verify(lab.owner, remote)
    for clone in changed:
        assert stored(clone) <= lab.names(remote)


def test_a_merge_of_two_changes_trains_nothing(lab: Lab, changed: tuple[Workspace, ...], tmp_path: Path) -> None:
    one, other = changed
    other.run("dvc", "push", "--run-cache")
    merged = one.copy(tmp_path / "merged")
    merged.run("git", "config", "user.name", "test")
    merged.run("git", "config", "user.email", "test@localhost")
    assert "CONFLICT (content): Merge conflict in dvc.lock" in failing(
        merged, "git", "pull", "--no-rebase", str(other.root)
    )
    merged.run("git", "checkout", "FETCH_HEAD", "--", "dvc.lock", "reports")
    merged.run("dvc", "pull")
    repro = merged.repro()
    assert repro.restored == {"cluster@few-kmeans"}
    assert repro.ran == {"plan", "evaluate@few-kmeans", "report"}
    merged.commit()
    for clone, cell in ((one, "kmeans"), (other, "dec"), (lab.owner, "idec")):
        for folder in (f"data/runs/few/{cell}", f"reports/cells/few/{cell}"):
            assert merged.files(folder) == clone.files(folder)


def test_what_is_damaged_on_a_remote_is_refused_recomputed_and_sent_again(lab: Lab, tmp_path: Path) -> None:
    remote = "folder"
    files, root = lab.store(remote)
    single = name_of(lab.owner, "data/prepared/few/X.npy")
    listing = name_of(lab.owner, "data/runs/few/sc_ncut")
    inside = json.loads(files.cat_file(f"{root}/{listing[:2]}/{listing[2:]}"))[0]["md5"]
    for name in (single, inside):
        damage(files, f"{root}/{name[:2]}/{name[2:]}")

    clone = lab.clone(tmp_path / "clone")
    refused = failing(clone, "dvc", "pull", "--remote", remote).split("Checkout failed for following targets:\n")[1]
    assert set(refused.splitlines()[:2]) == {"data/prepared/few/X.npy", "data/runs/few/sc_ncut"}
    repro = clone.repro()
    assert repro.ran == {"prepare@few", "cluster@few-sc_ncut"}
    assert clone.files("data") == lab.owner.files("data")
    assert clone.run("git", "status", "--porcelain") == ""

    lines = failing(clone, "python", "tools/verify.py", "objects", remote)
    assert f"{single} removed: its content is another" in lines
    assert f"{inside} removed: its content is another" in lines
    assert f"{listing} removed: 1 of what it lists is gone" in lines
    assert ", 3 removed" in lines
    assert "3 files pushed" in clone.run("dvc", "push", "--remote", remote)
    assert ", 0 removed" in verify(clone, remote)


def test_a_clone_has_every_file_of_a_folder_and_fetches_again_what_is_damaged_in_its_cache(
    lab: Lab, tmp_path: Path
) -> None:
    clone = lab.clone(tmp_path / "clone")
    clone.run("dvc", "pull")
    for folder in ("data", "reports"):
        assert clone.files(folder) == lab.owner.files(folder)
    assert clone.run("git", "status", "--porcelain") == ""
    name = name_of(clone, "data/prepared/few/X.npy")
    damage(fsspec.filesystem("file"), str(clone.root / ".dvc/cache/files/md5" / name[:2] / name[2:]))
    assert f"{name} removed: its content is another" in failing(clone, "python", "tools/verify.py", "objects")
    assert "1 file fetched" in clone.run("dvc", "pull")
    assert ", 0 removed" in verify(clone)
    assert clone.files("data") == lab.owner.files("data")


def test_a_push_that_is_killed_is_made_whole_by_the_next(lab: Lab, tmp_path: Path) -> None:
    authorise(lab.owner, "half", url="s3://lab/half", endpointurl=lab.endpoint, use_ssl="false")
    everything = len(lab.files("bucket"))
    push = ("dvc", "push", "--jobs", "1", "--remote", "half")
    process = subprocess.Popen(
        push,
        cwd=lab.owner.root,
        env=lab.owner.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while len(lab.files("half")) < 20:
            assert process.poll() is None
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert 20 <= len(lab.files("half")) < everything

    clone = lab.clone(tmp_path / "clone")
    shutil.copy(lab.owner.root / ".dvc/config.local", clone.root / ".dvc/config.local")
    assert "Checkout failed for following targets" in failing(clone, "dvc", "pull", "--remote", "half")
    assert ", 0 removed" in verify(clone, "half")
    assert "files pushed" in lab.owner.run(*push)
    assert stored(lab.owner) == lab.names("half")
    assert ", 0 removed" in verify(clone, "half")


def test_a_remote_out_of_reach_costs_a_message_and_no_result(lab: Lab, remote: str, tmp_path: Path) -> None:
    with socket.socket() as free:  # bound and not listening: connections are refused
        free.bind(("127.0.0.1", 0))
        places = {"folder": str(tmp_path / "not mounted"), "bucket": f"http://127.0.0.1:{free.getsockname()[1]}"}
        clone = lab.clone(tmp_path / "clone")
        clone.variables["AWS_MAX_ATTEMPTS"] = "1"  # as docs/sharing.md advises
        key = {"folder": "url", "bucket": "endpointurl"}[remote]
        clone.run("dvc", "remote", "modify", "--local", remote, key, places[remote])
        # one file: DVC asks for every folder's list one by one, each time with all of S3's attempts
        target = {"folder": [], "bucket": ["prepare@few"]}[remote]
        message = failing(clone, "dvc", "pull", "--remote", remote, *target)
        assert {"folder": "Checkout failed", "bucket": "failed to connect to s3"}[remote] in message
        assert places[remote] in failing(clone, "python", "tools/verify.py", "objects", remote)
        assert clone.repro("prepare@few").ran == {"plan", "fetch@few", "prepare@few"}
        assert clone.files("data/prepared") == lab.owner.files("data/prepared")
        assert clone.run("git", "status", "--porcelain") == ""


def test_a_group_on_one_machine_computes_once_and_stores_once(lab: Lab, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o2775)

    def member(name: str) -> Workspace:
        clone = lab.clone(tmp_path / name)
        for key, value in {"dir": str(cache), "shared": "group", "type": "reflink,symlink,copy"}.items():
            clone.run("dvc", "config", "--local", f"cache.{key}", value)
        return clone

    one, two = member("one"), member("two")
    one.run("sh", "-c", "umask 002 && dvc pull --run-cache")
    two.run("dvc", "checkout")
    assert two.repro().ran == set()
    assert two.files("data") == lab.owner.files("data")
    assert not (two.root / ".dvc/cache").exists()

    for workspace in (one, two):
        workspace.edit(lambda params: params["methods"]["kmeans"].update(n_init=4))
    assert one.repro().ran == {"plan", "report"} | stages_of(one, "kmeans")
    repro = two.repro()
    assert repro.restored == {"cluster@few-kmeans"}
    assert repro.ran == {"plan", "evaluate@few-kmeans", "report"}
    assert two.files("data") == one.files("data")
    assert two.read("dvc.lock") == one.read("dvc.lock")

    assert ", 0 removed" in verify(two)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in cache.rglob("*") if path.is_dir()}
    assert modes == {0o2775}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (cache / "files").rglob("*") if path.is_file()}
    assert modes == {0o444}
