"""Say which committed results are those of the present code; or read every object of DVC's cache or of a remote.

python tools/verify.py                   what is current of every grid, cells and sweeps, and why the rest is not
python tools/verify.py objects           the cache: objects that are not what their names say are removed
python tools/verify.py objects REMOTE    a remote, by its name in .dvc/config

An object's name is the MD5 of its content. DVC trusts read-only objects in its cache. DVC also trusts that a remote
with a directory's list (HASH.dir) has all objects on the list, and neither fetches nor sends these again. Lists that
name a missing object are therefore removed as well. A stage refuses to read a damaged file. The stages that read one
before are named, with the command that runs them again. The exit code is 1 if anything was removed.
"""

import functools
import hashlib
import json
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dvc.repo import Repo
from tqdm import tqdm

from deepclust import grids, provenance
from deepclust.closure import SAME_RESULTS
from deepclust.errors import UserError
from deepclust.files import read_yaml
from deepclust.script import run_as_script

_log = logging.getLogger("deepclust.verify")


def main(what: str = "results", remote: str = "") -> None:
    if what not in {"results", "objects"} or (remote and what == "results"):
        raise UserError(f"verify.py takes nothing, or 'objects' and perhaps a remote; got {' '.join([what, remote])!r}")
    if what == "objects":
        read_objects(remote)
    else:
        judge_results()


def judge_results() -> None:
    """Print, grid by grid, how many cells are current, and each reason why others are not, with its cells."""
    for grid in grids.names():
        os.chdir(grids.folder(grid))
        try:
            verdicts = list(provenance.judge())
        except UserError as error:
            print(f"{grid}: {error}")
            continue
        current = sum(not verdict.reason for verdict in verdicts)
        print(f"{grid}: {current} of {len(verdicts)} cells are of the code, settings and data as they are")
        cells: dict[str, list[str]] = defaultdict(list)
        for verdict in verdicts:
            if verdict.reason:
                cells[verdict.reason].append(f"{verdict.dataset}/{verdict.cell}")
        for reason, names in cells.items():
            rest = "all others" if current else "all"
            print(f"    {reason}: {rest if len(names) + current == len(verdicts) else ', '.join(names)}")
        sweeps = list(provenance.judge_sweeps())
        if older := [sweep.cell for sweep in sweeps if sweep.reason]:
            print(f"    {len(older)} of {len(sweeps)} sweeps are not: {', '.join(older)}")
    kept: dict[str, list[str]] = defaultdict(list)
    for file, entry in SAME_RESULTS.items():
        kept[entry.why].append(file)
    print("changes of code that keep older results, as closure.SAME_RESULTS says:")
    for why, files in kept.items():
        print(f"    {why}: {', '.join(files)}")


def read_objects(remote: str) -> None:
    """Read all objects of the cache or a remote, and remove those that are damaged."""
    with Repo() as repo:
        try:
            store = repo.cloud.get_remote_odb(remote) if remote else repo.cache.local
            there = store.fs.exists(store.path)
        except Exception as error:  # every kind of remote raises errors of its own
            raise UserError(f"remote '{remote}': {error}; see `dvc remote list`") from None
        if not there:
            raise UserError(f"there is nothing at {store.path}; mount it, or push or pull first")

        names = sorted(store.all())
        with ThreadPoolExecutor(store.fs.jobs) as pool:
            found = pool.map(functools.partial(children, store), names)
            listed = dict(zip(names, tqdm(found, total=len(names), unit="object", disable=None), strict=True))
        whole = {name for name in names if listed[name] is not None}
        removed: set[str] = set()
        for name, inside in listed.items():
            if inside is None or inside - whole:
                store.fs.remove(store.oid_to_path(name))
                reason = (
                    "its content is another" if inside is None else f"{len(inside - whole)} of what it lists is gone"
                )
                _log.warning("%s removed: %s", name, reason)
                removed.add(name)

    _log.info("%d objects read, %d removed", len(names), len(removed))
    if removed and not remote:
        name_readers(removed)
    if removed:
        sys.exit(1)


def name_readers(damaged: Set[str]) -> None:
    """Say, grid by grid, which stages read an object with one of these names when they last ran."""
    for grid in grids.names():
        lock = grids.folder(grid) / "dvc.lock"
        stages = read_yaml(lock)["stages"] if lock.exists() else {}
        readers = [name for name, entry in stages.items() if damaged & {dep["md5"] for dep in entry.get("deps", [])}]
        if readers:
            folder = "" if grid == grids.default() else f" in grids/{grid}"
            _log.warning(
                "%s: `%s` makes anew what is gone. These stages have read it: %s. If one may have run after the "
                "damage, by hand or in a version that did not check, also run `dvc repro --force --single-item %s`%s",
                *(grid, grids.renewal(grid), ", ".join(readers), " ".join(readers), folder),
            )


def children(store: Any, name: str) -> set[str] | None:
    """Return the names in a directory's list, an empty set for a file, or None if `name` is not the content's MD5."""
    with store.fs.open(store.oid_to_path(name), "rb") as file:
        if not name.endswith(".dir"):
            return set() if hashlib.file_digest(file, "md5").hexdigest() == name else None
        content = file.read()
    if f"{hashlib.md5(content).hexdigest()}.dir" != name:
        return None
    return {entry["md5"] for entry in json.loads(content)}


if __name__ == "__main__":
    run_as_script(main, is_stage=False)
