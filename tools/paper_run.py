"""Run a grid within a time budget, on a machine that may lack DVC, and bring the results home as one archive.

    python tools/paper_run.py run ARCHIVE --budget SECONDS [--grid paper] [--datasets mnist,usps] [--rounds 1,3,10]
                                          [--cells dec,idec] [--jobs 4]
    python tools/paper_run.py import ARCHIVE

`run` calls the stages' own code in the order of the grid: every cell of the first data set, then of the next. Every
round over the grid brings each cell to as many seeds as the next number of `--rounds`. With `--cells`, these cells
alone run, in the order in which they are named, and are packed. With `--jobs`, that many stages run side by side: while
one reads labels off on a CPU, another trains on the GPU. Finished seeds stay in `work/`, so that the same command goes
on where the budget ended it, and a command that names more cells finds the finished ones there. A stage that fails is
named, and the others go on. No file in git is changed.

The archive is a grid without gaps: the cells that finished a seed of the first data set; the further data sets on which
all these cells finished a seed; and the seeds that all cells of a data set finished, fewer if the archive would exceed
`--limit` megabytes. The command names all that is left out. The archive holds run records, traces, labels and
read-outs, no weights and no embeddings; metrics are computed at home, from the labels.

`import` prepares the data and graphs, and checks the archive's digests and that every record is of the code, the
settings and the data that are here. `import` then deletes from the grid's params.yaml what the archive lacks, puts the
files where the stages would have put them, and prints the commands by which DVC records and evaluates them. These
commands draw no figures of embeddings.
"""

import argparse
import functools
import hashlib
import io
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from deepclust import config, grids, instructions, layout, planning  # first: NumPy reads as it loads what it is held to
import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from deepclust.errors import UserError
from deepclust.files import atomic, read_json, read_yaml, sha256, write_json, write_text
from deepclust.runs import RECORD, is_finished
from deepclust.script import run_as_script

ASKED = Path("work/paper_run/params.yaml")  # the part of the grid that is run
PLACES = {"pretrain": Path("data/pretrained"), "cluster": Path("data/runs")}
UNPACKED = 4e9  # bytes: no archive unpacks to more
KEPT = [RECORD, "trace.csv", "labels.npy", "readouts/*.npy"]
NEXT = "cd {folder} && dvc commit -f plan fetch prepare graph pretrain cluster && dvc repro"


def main(*words: str) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "work", "import"], metavar="{run,import}")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--budget", type=float, default=540, help="seconds, packing included")
    parser.add_argument("--grid", default="paper")
    parser.add_argument("--datasets", help="those to run, most wanted first, by commas; default: the grid's")
    parser.add_argument("--cells", help="those to run, most wanted first, by commas; default: the grid's")
    parser.add_argument("--rounds", default="1,3,5,10", help="seeds a cell after each round over the grid")
    parser.add_argument("--jobs", type=int, default=1, help="stages side by side")
    parser.add_argument("--limit", type=float, default=16, help="megabytes")
    asked = parser.parse_args(words)
    if asked.command == "import":
        bring(asked.archive)
    elif asked.command == "work":
        work(asked)
    else:
        asked.archive = asked.archive.absolute()
        os.chdir(grids.folder(asked.grid))
        named(asked.cells, config.load().methods)
        rounds(asked.rounds)
        for option, value in (("jobs", asked.jobs), ("budget", asked.budget), ("limit", asked.limit)):
            if value <= 0:
                raise UserError(f"--{option} must be above 0, got {value:g}")
        run(asked)


@functools.cache
def stage(name: str) -> Callable[..., None]:
    """Return the `main` of a stage's script."""
    found: Callable[..., None] = runpy.run_path(f"stages/{name}.py")["main"]
    return found


# ------------------------------------------------------------------------------------------------------------- running


def run(asked: argparse.Namespace) -> None:
    """Let a process group of its own work until the budget ends it, then pack what is finished."""
    end = time.monotonic() + asked.budget - min(60, asked.budget / 10)
    ASKED.unlink(missing_ok=True)
    held = os.environ | {instructions.VARIABLE: config.load().compute.instructions}
    options = ((name, getattr(asked, name)) for name in ("grid", "datasets", "cells", "rounds", "jobs"))
    words = [f"--{name}={value}" for name, value in options if value is not None]
    command = [sys.executable, str(Path(__file__).absolute()), "work", str(asked.archive), *words]
    ends = (signal.SIGTERM, signal.SIGHUP)  # the workers end with this process; neither counts before it knows them
    for number in ends:
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    heed = functools.partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, ends)
    child, code = subprocess.Popen(command, env=held, start_new_session=True, preexec_fn=heed), 0
    try:
        heed()
        code = child.wait(timeout=end - time.monotonic())
    except BaseException as error:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        print("the budget is spent; the same command goes on from here", flush=True)
    if not code or ASKED.exists():  # where a part failed, the rest comes home
        pack(asked.archive, asked.limit * 1e6, asked.cells)
    if code:
        sys.exit(code)


def named(cells: str | None, known: Iterable[str]) -> list[str]:
    """Return the cells that `--cells` names, in its order, each once; without `--cells`, none."""
    found = list(dict.fromkeys(cells.split(","))) if cells is not None else []
    if unknown := [cell for cell in found if cell not in known]:
        raise UserError(f"--cells: '{unknown[0]}' is no cell of this grid; its cells are {', '.join(known)}")
    return found


def rounds(text: str) -> list[int]:
    """Return the numbers of seeds that `--rounds` says."""
    if not all(part.isdecimal() and int(part) for part in text.split(",")):
        raise UserError(f"--rounds takes numbers of seeds from 1 on, by commas, as in 1,3,10; got {text!r}")
    return [int(part) for part in text.split(",")]


def work(asked: argparse.Namespace) -> None:
    """Run the grid of the current folder, round after round."""
    content = read_yaml(layout.PARAMS) | {"sweeps": {}}
    if asked.datasets:
        content["datasets"] = asked.datasets.split(",")
    overrides = content.setdefault("overrides", {})
    seeds = {name: changed.get("seeds") for name, changed in overrides.items()}
    prepared = set[Task]()
    with ProcessPoolExecutor(asked.jobs, multiprocessing.get_context("spawn")) as pool:
        for count in rounds(asked.rounds):
            for dataset in content["datasets"]:
                allowed = seeds.get(dataset) or content["seeds"]
                overrides.setdefault(dataset, {})["seeds"] = allowed[:count]
            wanted = tasks(plan(content), named(asked.cells, content["methods"]))
            try:
                done = in_order(pool, asked.jobs, wanted, prepared)
            except BrokenExecutor:
                raise UserError(
                    "a process at work was killed, for lack of memory perhaps; the same command goes on, with fewer "
                    "--jobs, or with --cells that leave the largest cell out"
                ) from None
            prepared = {task for task in done if task[0] == "data"}


Task = tuple[str, ...]  # a stage, its data set and the name of its unit


def tasks(params: config.Config, wanted: Sequence[str] = ()) -> dict[Task, list[Task]]:
    """Return the tasks of the wanted cells, or of all, most wanted first, each with those that must be done before."""
    found: dict[Task, list[Task]] = {}
    for dataset in params.datasets:
        found[("data", dataset)] = []
        cells = config.resolve(params, dataset).cells
        # cells without a network take one core for long; among the others, labels of a graph are slowest to read off
        for cell in wanted or sorted(cells, key=lambda name: (bool(cells[name].network), not cells[name].graph)):
            needed: list[Task] = [("data", dataset)]
            if network := cells[cell].network:
                needed.append(("pretrain", dataset, network))
                found.setdefault(needed[-1], needed[:1])
            found[("cluster", dataset, cell)] = needed
    return found


def in_order(pool: Executor, jobs: int, waiting: dict[Task, list[Task]], prepared: set[Task]) -> set[Task]:
    """Do the tasks that are not prepared, each after those it needs, `jobs` at a time; return all that are done.

    Tasks that need a failed task are left out.
    """
    done, running = set(prepared), dict[Future[float], Task]()
    waiting = {task: needed for task, needed in waiting.items() if task not in done}
    while True:
        ready = [task for task, needed in waiting.items() if done.issuperset(needed)]
        for task in ready[: jobs - len(running)]:
            running[pool.submit(perform, task)] = task
            del waiting[task]
        if not running:
            return done
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            if isinstance(error := future.exception(), BrokenExecutor):
                raise error
            if error:
                print(f"failed: {' '.join(task)}: {error}", flush=True)
            else:
                done.add(task)
                print(f"{future.result():8.1f} s  {' '.join(task)}", flush=True)


def perform(task: Task) -> float:
    """Run a stage, or for "data" the three stages that prepare a data set; return the seconds taken."""
    began = time.monotonic()
    kind, *rest = task
    if kind == "data":
        data(*rest)
    else:
        stage(kind)(*rest)
    return time.monotonic() - began


def plan(content: dict[str, Any]) -> config.Config:
    """Write down the part of the grid that is run, and its plan; return that part, checked."""
    with atomic(ASKED, "w") as file:
        YAML().dump(content, file)
    try:
        params = config.load(ASKED)
        config.check(params)
    except UserError:
        ASKED.unlink()  # nothing began that could come home
        raise
    for dataset in params.datasets:
        for unit in planning.units(params, dataset):
            write_json(unit.path, unit.content)
    return params


def data(dataset: str) -> None:
    for name in ("fetch", "prepare", "graph"):
        stage(name)(dataset)


def pack(archive: Path, limit: float, wanted: str | None = None) -> None:
    """Write the archive: for each data set, the seeds that all its cells have finished, as far as the limit allows."""
    params = config.load(ASKED if ASKED.exists() else layout.PARAMS)
    begun = params.datasets if ASKED.exists() else []
    every = (named(wanted, params.methods) or list(params.methods)) if begun else []
    cells = [cell for cell in every if finished(params, begun[0], [cell])]
    found_of = {dataset: finished(params, dataset, cells) if cells else [] for dataset in begun}
    parts = {dataset: found for dataset, found in found_of.items() if found}
    if left_out := [name for name in (*every, *begun) if name not in cells and name not in parts]:
        print(f"not finished, and left out of the archive: {', '.join(left_out)}")
    chosen: dict[str, list[int]] = {}
    files: dict[str, bytes] = {}
    size = 0
    for place in range(max(map(len, parts.values()), default=0)):  # every data set's first seed before a second one
        for dataset, seeds in parts.items():
            if place < len(seeds) and len(chosen.get(dataset, [])) == place:
                seed, found = seeds[place]
                needed = len(zipped(found))
                if size + needed < 0.98 * limit:  # the rest is for the manifest
                    size += needed
                    files |= found
                    chosen.setdefault(dataset, []).append(seed)
    if not chosen:
        raise UserError("no cell has finished a seed of the first data set; run again with a larger budget")
    text = io.StringIO()
    YAML().dump(part(read_yaml(ASKED), params, cells, chosen), text)
    files["params.yaml"] = text.getvalue().encode()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    with atomic(archive) as file:
        file.write(zipped(files | {"digests.json": json.dumps(digests, indent=1).encode()}))
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, seeds {chosen}")


def part(
    content: dict[str, Any], params: config.Config, cells: Sequence[str], seeds: dict[str, list[int]]
) -> dict[str, Any]:
    """Return the part of a grid that has these cells on these data sets alone, without settings that nothing there has.

    `content` is the whole grid's, and is left alone; `params` is the same, checked.
    """
    cells_of = {dataset: config.resolve(params, dataset) for dataset in seeds}
    kept = [found.cells[cell] for found in cells_of.values() for cell in cells]
    read = {cell.network for cell in kept}
    used = [network for found in cells_of.values() for name, network in found.networks.items() if name in read]
    reached = set[str]().union(*(cell.settings for cell in kept), *(network.settings for network in used))

    def only(section: dict[str, Any], names: Collection[str | None]) -> dict[str, Any]:
        return {name: value for name, value in section.items() if name in names}

    allowed = {"methods": cells, "networks": read, "defaults": reached}
    whole = {"methods": content["methods"]} | {key: content[key] for key in ("networks", "defaults") if key in content}
    overrides = {
        dataset: {key: only(value, allowed[key]) if key in allowed else value for key, value in changed.items()}
        | {"seeds": seeds[dataset]}
        for dataset, changed in content["overrides"].items()
        if dataset in seeds
    }
    sections = {key: only(value, allowed[key]) for key, value in whole.items()}
    return content | sections | {"datasets": list(seeds), "overrides": overrides}


def finished(params: config.Config, dataset: str, cells: Sequence[str]) -> list[tuple[int, dict[str, bytes]]]:
    """Return the seeds that these cells of a data set have finished, each with its files."""
    return list(complete(dataset, params.seeds_of(dataset), units(params, dataset, cells)))


def units(params: config.Config, dataset: str, cells: Sequence[str]) -> list[tuple[str, str]]:
    """Return (stage, name) of each unit that some cells of a data set consist of."""
    resolved = config.resolve(params, dataset).cells
    networks = dict.fromkeys(network for cell in cells if (network := resolved[cell].network))
    return [("pretrain", name) for name in networks] + [("cluster", name) for name in cells]


def complete(
    dataset: str, seeds: Sequence[int], units: Sequence[tuple[str, str]]
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield each seed with its files, up to the first seed that some unit has not finished under the present plan."""
    for seed in seeds:
        files: dict[str, bytes] = {}
        for kind, name in units:
            asked = read_json(layout.plan(dataset, kind, name))
            keys = Path("work", kind, dataset, name, f"seed-{seed}").glob("*")
            folder = next((key / "results" for key in keys if is_finished(key)), None)
            if folder is None or difference(read_json(folder / RECORD), asked):
                return
            target = PLACES[kind] / dataset / name / f"seed-{seed}"
            for file in (file for pattern in KEPT for file in sorted(folder.glob(pattern))):
                files[(target / file.relative_to(folder)).as_posix()] = file.read_bytes()
        yield seed, files


def difference(record: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    """Return the names on which a run record and its unit's plan disagree."""
    return [key for key, value in plan.items() if key != "seeds" and record.get(key) != value]


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_BZIP2)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------------ importing


def bring(archive: Path) -> None:
    """Check an archive and put its files where the stages would have; a failed check changes nothing in git."""
    files = read(archive)
    content = grid_of(archive, files.pop("params.yaml", b""))
    folder = grids.folder(content["grid"])
    asked = config.load(folder / layout.PARAMS).compute.instructions
    if instructions.held() != asked:  # NumPy, loaded by now, cannot be held any more: once again, from the start
        held = os.environ | {instructions.VARIABLE: asked}
        os.execve(sys.executable, [sys.executable, *sys.argv], held)
    os.chdir(folder)
    before, after = layout.PARAMS.read_text(encoding="utf-8"), reduced(content)
    params = plan(content)
    for dataset in params.datasets:
        data(dataset)
    folders = [
        (d, k, n, s)
        for d in params.datasets
        for k, n in units(params, d, list(params.methods))
        for s in params.seeds_of(d)
    ]
    places = {PLACES[kind] / dataset / name / f"seed-{seed}" for dataset, kind, name, seed in folders}
    if strays := sorted(name for name in files if places.isdisjoint(Path(name).parents)):
        raise UserError(f"{archive}: {strays[0]} is of no seed that its params.yaml declares; pack it again")
    for dataset, kind, name, seed in folders:
        check(archive, files, dataset, kind, name, seed)
    for dataset, kind, name, _ in folders:
        shutil.rmtree(PLACES[kind] / dataset / name, ignore_errors=True)
    for name, found in files.items():
        with atomic(name) as file:
            file.write(found)
    if after != before:
        write_text(layout.PARAMS, after)
    stage("plan")("table")
    stage("plan")()
    print(f"{len(folders)} seeds of {len(params.datasets)} data sets are in place. To record and evaluate them:")
    print(NEXT.format(folder=folder))


def reduced(content: dict[str, Any]) -> str:
    """Return params.yaml with its comments, without the methods and data sets that the archive lacks."""
    editor = YAML()
    editor.width, editor.preserve_quotes = 120, True
    document = editor.load(layout.PARAMS)
    for name in [name for name in document["methods"] if name not in content["methods"]]:
        del document["methods"][name]
    if document["datasets"] != content["datasets"]:
        document["datasets"] = content["datasets"]
    for section in ("defaults", "overrides", "sweeps"):
        if document.get(section, {}) != content.get(section, {}):
            document[section] = content.get(section, {})
    text = io.StringIO()
    editor.dump(document, text)
    return text.getvalue()


def read(archive: Path) -> dict[str, bytes]:
    """Return an archive's files by name; every digest is checked, and every name lies in the stages' folders."""
    try:
        with zipfile.ZipFile(archive) as content:
            if (size := sum(entry.file_size for entry in content.infolist())) > UNPACKED:
                raise UserError(f"{archive} unpacks to {size / 1e6:,.0f} MB, over {UNPACKED / 1e6:,.0f}; pack less")
            files = {name: content.read(name) for name in content.namelist()}
        digests = json.loads(files.pop("digests.json"))
    except UserError:
        raise
    except (OSError, KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive} is no archive of this script ({error}); copy it again") from None
    if not isinstance(digests, dict):
        raise UserError(f"{archive}: digests.json is no table of names and digests; pack it again")
    found = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    if wrong := sorted(name for name in found.keys() | digests if found.get(name) != digests.get(name)):
        raise UserError(f"{archive}: {wrong[0]} is not what was packed; copy it again")
    for name in files:
        if name != "params.yaml" and (".." in name or not any(name.startswith(f"{p}/") for p in PLACES.values())):
            raise UserError(f"{archive}: {name} does not belong to a stage; nothing was written")
    return files


def grid_of(archive: Path, text: bytes) -> dict[str, Any]:
    """Return the part of a grid that an archive holds: its params.yaml, with the sections that `pack` writes."""
    try:
        content = YAML(typ="safe").load(text)
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{archive}: params.yaml is not YAML: {' '.join(str(error).split())}; pack it again") from None
    sections = {"grid": str, "datasets": list, "methods": dict, "overrides": dict, "sweeps": dict}
    for name, kind in sections.items():
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise UserError(f"{archive}: params.yaml has no {name} as a {kind.__name__}; pack it again")
    return dict(content)


def check(archive: Path, files: dict[str, bytes], dataset: str, kind: str, name: str, seed: int) -> None:
    """Raise `UserError` if a record's code, settings or data are not those that are here, or its labels are none."""
    folder = PLACES[kind] / dataset / name / f"seed-{seed}"
    at = (folder / RECORD).as_posix()
    if at not in files:
        raise UserError(f"{archive}: {at} is missing; pack it again")
    try:
        record = json.loads(files[at])
        status, inputs = record["status"], dict(record["inputs"])
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{archive}: {at} is no record of a seed; pack it again") from None
    if wrong := difference(record, read_json(layout.plan(dataset, kind, name))):
        raise UserError(f"{at} was made with another {' and '.join(wrong)}; check out the commit it was made with")
    here = {"X": layout.prepared(dataset) / "X.npy", "graph": layout.graph(dataset) / "weights.npz"}
    for part, path in here.items():
        if part in inputs and inputs[part] != sha256(path):
            raise UserError(f"{at} was made from another {path}; prepare the data from the same source")
    if kind == "cluster" and status == "ok":
        try:
            labels = np.load(io.BytesIO(files.get((folder / "labels.npy").as_posix(), b"")), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            labels = np.empty(0)
        n_samples = read_json(layout.prepared(dataset) / "meta.json")["n"]
        if labels.shape != (n_samples,) or labels.dtype.kind not in "iu":
            raise UserError(f"{archive}: {folder}/labels.npy is not of {n_samples} integers; pack it again")


if __name__ == "__main__":
    run_as_script(main, is_stage=False)
