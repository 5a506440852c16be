"""Read every object of DVC's cache, or of a remote, and remove those that are not what their names say.

python tools/verify.py            the cache
python tools/verify.py REMOTE     a remote, by its name in .dvc/config

Not a stage of the pipeline. An object's name is the MD5 of its content. DVC trusts what is read-only in its cache, and
that a remote which has a directory's list (HASH.dir) has all that it names, and neither fetches nor sends such objects
again; hence lists that name what is not there are removed as well. Exit code 1 where anything was.
"""

import functools
import hashlib
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dvc.repo import Repo
from tqdm import tqdm

from deepclust.errors import UserError
from deepclust.script import run_as_script

_log = logging.getLogger("deepclust.verify")


def main(remote: str = "") -> None:
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
        removed = 0
        for name, inside in listed.items():
            if inside is None or inside - whole:
                store.fs.remove(store.oid_to_path(name))
                reason = (
                    "its content is another" if inside is None else f"{len(inside - whole)} of what it lists is gone"
                )
                _log.warning("%s removed: %s", name, reason)
                removed += 1

    _log.info("%d objects read, %d removed", len(names), removed)
    if removed:
        sys.exit(1)


def children(store: Any, name: str) -> set[str] | None:
    """Return the names in a directory's list, none for a file, or None where the content is not what `name` says."""
    with store.fs.open(store.oid_to_path(name), "rb") as file:
        if not name.endswith(".dir"):
            return set() if hashlib.file_digest(file, "md5").hexdigest() == name else None
        content = file.read()
    if f"{hashlib.md5(content).hexdigest()}.dir" != name:
        return None
    return {entry["md5"] for entry in json.loads(content)}


if __name__ == "__main__":
    run_as_script(main, is_stage=False)
