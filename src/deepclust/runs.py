"""The seeds of a stage: each runs once, survives a kill, and fails alone.

Work goes on in `work/STAGE/DATASET/UNIT/seed-S/KEY/`, outside DVC's outputs, which DVC deletes before a stage starts.
KEY hashes the unit's plan (seeds apart), the inputs of this seed, and what decides beside their content: the number of
clusters, the images' shape, and how a network computes. So nothing is ever resumed under other settings.
A seed is finished once the file `finished` is there, with a digest of its results: that is written last and deleted
first, whenever a kill comes. Results that the digest does not fit are computed anew.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepclust import layout
from deepclust.errors import NotApplicable, SeedFailed
from deepclust.files import read_json, write_json, write_text
from deepclust.integrity import md5

RECORD = "run.json"
_FINISHED = "finished"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seed:
    """One repetition: its number, and the folders for its results and for its checkpoints."""

    number: int
    results: Path
    checkpoints: Path


def run_seeds(
    plan: dict[str, Any],
    *,
    output: Path,
    work: Path,
    inputs: Callable[[int], dict[str, str]],
    body: Callable[[Seed], dict[str, Any]],
    n_in_parallel: int = 1,
) -> None:
    """Run `body` for every seed of the plan and put what it wrote into `output/seed-S/`, with its record `run.json`.

    Parameters
    ----------
    plan : the unit's plan; `seeds` and everything else that decides the results
    inputs : seed -> digests of what the seed reads
    body : writes a seed's files and returns what its record says beside the plan
        Raising `SeedFailed` or `NotApplicable` makes a record with that status and reason, and no files.
    n_in_parallel : how many seeds run side by side, each in a thread: more than one where they share a GPU
    """
    _remove(output)  # DVC did so, but where dvc alone was killed, the stage it left wrote on until now

    def run(number: int) -> None:
        settings = {key: value for key, value in plan.items() if key != "seeds"}
        facts = {"seed": number, "inputs": inputs(number), **settings}
        decisive = facts | {"beside": _beside(plan, number)}
        key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
        folder = work / f"seed-{number}" / key
        seed = Seed(number, folder / "results", folder / "checkpoints")
        if is_finished(folder):
            _log.info("%s, seed %d: finished before, reused", output, number)
        else:
            _log.info("%s, seed %d", output, number)
            for marker in folder.glob(f"*{_FINISHED}*"):  # or half of one, which a kill left
                marker.unlink()
            _run(seed, facts, body)
            write_text(folder / _FINISHED, md5(seed.results))
        _remove(seed.checkpoints)
        for other in folder.parent.iterdir():  # superseded settings: DVC's own cache has their results
            if other != folder:
                discard(other)
        shutil.copytree(seed.results, output / f"seed-{number}")

    if n_in_parallel == 1:
        for number in plan["seeds"]:
            run(number)
        return
    pool, interrupted = ThreadPoolExecutor(n_in_parallel), False
    try:
        list(pool.map(run, plan["seeds"]))  # raises what the first of them raised
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        pool.shutdown(wait=not interrupted, cancel_futures=interrupted)


def _beside(plan: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return what decides a seed's results though neither the plan nor the inputs have it.

    The data set's facts hold K and the images' shape. Two networks of equal weights may differ in their activation.
    """
    places = {"data": layout.prepared(plan["dataset"]) / "meta.json"} if "dataset" in plan else {}
    if plan.get("cell") and plan.get("network"):
        places["network"] = layout.network(plan["dataset"], plan["network"]) / f"seed-{seed}" / RECORD
    found = {name: read_json(path) for name, path in places.items() if path.exists()}
    if "network" in found:
        found["network"] = {name: found["network"].get(name) for name in ("uses", "settings", "image_shape")}
    return found


def is_finished(folder: Path) -> bool:
    """Return whether a folder of `work/STAGE/DATASET/UNIT/seed-S` has results, each file of them as it was written."""
    marker, results = folder / _FINISHED, folder / "results"
    if not marker.exists():
        return False
    whole = results.exists() and marker.read_bytes() == md5(results).encode()
    if not whole:
        _log.warning("%s is damaged: its content is not what was written, and is computed anew", results)
    return whole


def _run(seed: Seed, facts: dict[str, Any], body: Callable[[Seed], dict[str, Any]]) -> None:
    _empty(seed.results)
    record: dict[str, Any] = {"status": "ok", "reason": ""}
    try:
        record |= body(seed)
    except (SeedFailed, NotApplicable) as error:
        record |= {"status": "failed" if isinstance(error, SeedFailed) else "skipped", "reason": str(error)}
        _empty(seed.results)
        _log.warning("seed %d %s: %s", seed.number, record["status"], error)
    write_json(seed.results / RECORD, facts | record)


def _empty(folder: Path) -> None:
    _remove(folder)
    folder.mkdir(parents=True)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def discard(folder: Path) -> None:
    """Delete finished seeds and all else in a work folder; cut short, this leaves none that looks finished."""
    for marker in folder.rglob(_FINISHED):
        marker.unlink()
    shutil.rmtree(folder)


def read_finished(folder: Path) -> dict[str, Any]:
    """Return the record in `folder`, or raise what ended that seed, so that a stage built on it ends the same way."""
    record: dict[str, Any] = read_json(folder / RECORD)
    if record["status"] != "ok":
        raise (SeedFailed if record["status"] == "failed" else NotApplicable)(f"pretraining: {record['reason']}")
    return record
