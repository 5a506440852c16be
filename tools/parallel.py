"""Run the pipeline with several stages at a time: DVC says which, Dask says where. Not a stage; `make repro` runs it.

python tools/parallel.py 4                  four at a time on this machine, with a GPU each where there are any
python tools/parallel.py tcp://HOST:8786    on the workers of a Dask cluster, which must see this folder at its path
python tools/parallel.py 4 'evaluate@usps-*'      stages of such a name, and what they build on

A worker runs a stage's bare command in this folder. DVC runs in this process alone, which judges staleness and keeps
hashes, the caches and dvc.lock: nothing has to be locked between machines. A stage is judged when its inputs are there,
as `dvc repro` does.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Collection, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from deepclust import integrity  # first: NumPy reads as it loads what it is held to
import dask
from distributed import Client, Future, LocalCluster, Reschedule, Status, get_worker, wait
from dvc.dvcfile import PROJECT_FILE
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.rwlock import rwlock
from dvc.stage.cache import RunCacheNotFoundError

from deepclust.errors import UserError
from deepclust.script import run_as_script

# A stage gets the values that this process began with, as under `dvc repro`. Dask sets the first five for its workers,
# and in this process while it starts workers. Stages are a third slower with Dask's, which trim the heap all the time.
CARRIED = [
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MALLOC_TRIM_THRESHOLD_",
    "PYTHONHASHSEED",
    "PYTHONPATH",
    "DEEPCLUST_MIRROR",
]
# Runs a command in a shell, and ends with all its children if its own parent dies (prctl(2); 1 is PR_SET_PDEATHSIG).
# A killed worker cannot stop its stage: without this, the stage would go on writing beside its own second attempt.
TIED = """
import ctypes, os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
sys.exit(subprocess.call(["/bin/sh", "-c", sys.argv[1]]) & 255)
"""
# Dask watches itself fifty times a second, as suits tasks of milliseconds. Stages take minutes, and need the cores.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
TAIL = 2000  # bytes shown of a failed stage's output
_log = logging.getLogger("deepclust.parallel")


def main(where: str, *only: str) -> None:
    if not re.fullmatch(r"[1-9][0-9]*|[a-z]+://.+", where):
        raise UserError(f"give a number of jobs from 1 or a Dask scheduler's address, tcp://HOST:PORT; got {where!r}")
    logging.getLogger("dvc").setLevel(logging.ERROR)  # DVC logs every line of dvc.lock
    carried = {name: os.environ.get(name) for name in CARRIED}
    with Repo(_wait_for_lock=True) as repo, alone(repo):
        ledger = Ledger(repo, only)
        if not ledger.any_stale():
            _log.info("%d stages, all up to date: nothing to do", len(ledger.order))
            return
        try:
            with connect(where) as (client, gpus):
                try:
                    outcomes = run_all(ledger, client, gpus, carried)
                finally:
                    ledger.write()
        except KeyboardInterrupt:
            _log.error("interrupted: stages were stopped; the next run goes on from there")
            sys.exit(128 + signal.SIGINT)
    _log.info("%s", ", ".join(f"{count} {outcome}" for outcome, count in Counter(outcomes.values()).items()))
    for outcome, remark in ("failed", "their output is in work/log"), ("not run", "they build on what failed"):
        if names := [stage.addressing for stage in ledger.order if outcomes[stage] == outcome]:
            _log.error("%s: %s (%s)", outcome, ", ".join(names), remark)
    if "failed" in outcomes.values():
        sys.exit(1)


@contextlib.contextmanager
def alone(repo: Repo) -> Iterator[None]:
    """Lock this folder against other runs of DVC; raise UserError if one holds it. Killed runs do not count."""
    command = " ".join(sys.argv)  # DVC knows its own locks by command and process
    hard = repo.config["core"].get("hardlink_lock", False)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(rwlock(repo.tmp_dir, repo.fs, command, [], [repo.root_dir], hard))
        except LockError as error:
            raise UserError(str(error)) from None
        yield


@contextlib.contextmanager
def connect(where: str) -> Iterator[tuple[Client, list[str]]]:
    """Start workers on this machine, or find a cluster's; yield a client, and the GPUs for the workers to share."""
    if "://" in where:
        try:
            client = Client(where)
        except (OSError, ValueError) as error:
            raise UserError(f"no Dask scheduler at {where} ({error}); start one, or give a number of jobs") from None
        with client:
            yield client, []
        return
    gpus = visible_gpus()
    dask.config.set(QUIET)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # workers inherit it: Ctrl-C is for this process alone
    cluster = LocalCluster(
        n_workers=int(where),
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",  # a free port
        security=True,  # certificates for this run; otherwise anybody on the machine could run code in it
    )
    signal.signal(signal.SIGINT, handler)
    with cluster, Client(cluster) as client:
        yield client, gpus


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (listed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in listed.split(",") if gpu.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def gpu_of(worker: Any, gpus: list[str]) -> dict[str, str]:
    """Return the variable that names the GPU for a worker's stages: one each, or in turn with more workers than GPUs.

    Without `gpus`, the worker's own environment decides. Local workers are named 0, 1, ...
    """
    return {"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {}


class Ledger:
    """DVC's account of a run: stale stages, the cache, dvc.lock."""

    def __init__(self, repo: Repo, only: Collection[str] = ()) -> None:
        self.graph = get_active_graph(repo.index.graph)  # edges lead from a stage to those it builds on
        wanted = collect_stages(repo, only or [PROJECT_FILE], glob=bool(only))
        if not wanted:
            raise UserError(f"no stage is named like {', '.join(only)}; dvc stage list shows the names")
        self.order = plan_repro(self.graph, wanted)  # the order of a serial run
        self.root = repo.root_dir
        self._repo = repo
        self._unwritten = deque(self.order)
        self._settled: dict[Any, bool] = {}
        self._changed: list[Any] = []  # settled, next in order, and not in dvc.lock yet
        self._written, self._cost = time.monotonic(), 0.0

    def any_stale(self) -> bool:
        with self._repo.lock:
            return any(stage.changed() for stage in self.order)

    def look_up(self, stage: Any) -> str:
        """Return whether a stage is unchanged, now restored from the run-cache, or stale."""
        with self._repo.lock:
            if not stage.changed():
                return "unchanged"
            stage.remove_outs()
            try:
                self._repo.stage_cache.restore(stage)
            except RunCacheNotFoundError:
                stage.save_deps()
                return "stale"
        self.record(stage)
        return "restored"

    def record(self, stage: Any) -> None:
        """Put a stage's outputs into the cache, and its inputs and outputs into the run-cache."""
        # as at the end of dvc.stage.Stage.run: the run-cache has no stage with outputs that are in git
        in_git = any(not out.use_cache for out in stage.outs if not (out.is_metric or out.is_plot))
        with self._repo.lock:
            stage.save(run_cache=not in_git)
            stage.commit()

    def settle(self, stage: Any, *, changed: bool) -> None:
        """Note that a stage is done; write dvc.lock when that is due.

        DVC parses and writes the whole file for every change, 20 s at a thousand stages. Entries therefore wait, so
        that at most a tenth of the time goes into writing. Entries are written in the order of a serial run: at every
        moment the file is one that a serial run has. The run-cache restores the entries that a kill takes with it.
        """
        self._settled[stage] = changed
        while self._unwritten and self._unwritten[0] in self._settled:
            if self._settled[stage := self._unwritten.popleft()]:
                self._changed.append(stage)
        if time.monotonic() - self._written >= 9 * self._cost:
            self.write()

    def write(self) -> None:
        """Write the waiting entries into dvc.lock."""
        if not self._changed:
            return
        began = time.monotonic()
        with self._repo.lock:
            self._changed[0].dvcfile._lockfile.dump_stages(self._changed)
        self._changed = []
        self._written = time.monotonic()
        self._cost = self._written - began


def run_all(ledger: Ledger, client: Client, gpus: list[str], carried: dict[str, str | None]) -> dict[Any, str]:
    """Bring every stage up to date, each as soon as the stages it builds on are; return each stage's outcome.

    Dask finds a worker for a stage, and another one if the first dies. Stages that build on a failed one do not run.
    """
    outcomes: dict[Any, str] = {}
    ready: deque[Any] = deque()
    running: dict[Future, Any] = {}
    graph = TopologicalSorter({stage: list(ledger.graph.successors(stage)) for stage in ledger.order})

    def settle(stage: Any, outcome: str) -> None:
        outcomes[stage] = outcome
        ledger.settle(stage, changed=outcome in {"ran", "restored"})
        graph.done(stage)
        if outcome != "unchanged":
            _log.info("%d/%d %s: %s", len(outcomes), len(ledger.order), stage.addressing, outcome)

    def start(stage: Any) -> None:
        if {outcomes[upstream] for upstream in ledger.graph.successors(stage)} & {"failed", "not run"}:
            settle(stage, "not run")
        elif (found := ledger.look_up(stage)) != "stale":
            settle(stage, found)
        else:
            name, outs = stage.addressing, [out.fs_path for out in stage.outs if not out.persist]
            key = f"{name}-{uuid.uuid4()}"  # no other client of the cluster has this key
            # what DVC tells a stage that it runs itself; dvc.lock may lag behind
            known = {dep.def_path: dep.hash_info.value for dep in stage.deps if isinstance(dep.hash_info.value, str)}
            told = {"DVC_STAGE": name, integrity.RECORDED: json.dumps(known)}
            future = client.submit(run, name, stage.cmd, outs, ledger.root, carried | told, gpus, key=key, pure=False)
            running[future] = stage

    def start_ready() -> None:
        """Give Dask no more stages than it has threads: further ones would wait behind one of unknown length."""
        threads = sum(client.nthreads().values())
        while len(running) < threads:
            ready.extend(graph.get_ready())
            if not ready:
                return
            start(ready.popleft())

    if not client.nthreads():
        _log.info("the cluster has no worker yet: waiting for one")
    graph.prepare()
    while graph.is_active():
        start_ready()
        for future in first_ended(running):
            stage = running.pop(future)
            try:
                future.result()
                ledger.record(stage)
            except Exception as error:  # of the stage, its worker or DVC: other stages go on
                settle(stage, "failed")
                _log.error("%s", error)
            else:
                settle(stage, "ran")
    return outcomes


def first_ended(futures: Collection[Future]) -> list[Future]:
    """Wait until a future has ended, but not for long, as workers may join; return the futures that have ended."""
    if not futures:  # no worker yet
        time.sleep(1)
    try:
        wait(list(futures), timeout=2, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return []
    return [future for future in futures if future.done()]


def run(name: str, command: str, outs: list[str], root: str, carried: dict[str, str | None], gpus: list[str]) -> None:
    """Run a stage's command on a worker, its output in work/log; kill the command if its result is no longer wanted.

    Raises
    ------
    RuntimeError
        The command failed; the message has the end of its output.
    """
    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]
    log = Path(root, "work", "log", f"{name}.log")
    if not Path(root, PROJECT_FILE).exists():
        raise RuntimeError(f"the worker at {worker.address} sees no {root}: share it there under the same path")
    for out in map(Path, outs):  # leftovers of an attempt that died with its worker
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
    here = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])} | gpu_of(worker.name, gpus)
    surroundings = {key: value for key, value in (os.environ | carried | here).items() if value is not None}
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-ISc", TIED, command],
            cwd=root,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while process.poll() is None:
            if task.state != "executing" or worker.status == Status.closing:  # client gone, or worker going
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise Reschedule
            time.sleep(0.2)
    if process.returncode:
        tail = log.read_bytes()[-TAIL:].decode(errors="replace")
        raise RuntimeError(f"{name}: {command!r} ended with {process.returncode}\n{tail}")


if __name__ == "__main__":
    run_as_script(main, is_stage=False)
