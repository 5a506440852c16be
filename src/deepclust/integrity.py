"""Whether files are what was written: those a stage reads, and folders that a later run takes up again.

DVC trusts what it checks out of its cache: a damaged object keeps its name, the MD5 of its content when it was whole,
and whatever is computed from the damaged file is recorded as computed from the whole one. So a stage checks itself, at
its start, what it is about to read.
"""

import hashlib
import json
import os
import re
from pathlib import Path

from deepclust.errors import UserError

RECORDED = "DEEPCLUST_RECORDED"
"""Environment variable: path -> MD5 in JSON, where dvc.lock does not have them yet (`tools/parallel.py`)."""

_IGNORED = re.compile(r"\..*\.tmp|.*\.pyc")  # files that .dvcignore names


def md5(path: Path | str) -> str:
    """Return the hex MD5 of a file's content or, ending in `.dir`, of a folder's list of files: DVC's names for both.

    The list is JSON: for each file its MD5 and its path below the folder, in the order of the paths.
    """
    path = Path(path)
    if not path.is_dir():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(path, followlinks=True)
        for name in names
        if not _IGNORED.fullmatch(name)
    ]
    listed = [{"md5": md5(file), "relpath": Path(file).relative_to(path).as_posix()} for file in files]
    text = json.dumps(sorted(listed, key=lambda entry: entry["relpath"]))
    return f"{hashlib.md5(text.encode()).hexdigest()}.dir"


def recorded(lock: Path = Path("dvc.lock")) -> dict[str, str]:
    """Return path -> MD5 of everything that stages wrote, as dvc.lock has it.

    The file is searched, not parsed: YAML takes seconds for a thousand stages, and every stage would spend them.
    """
    text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    blocks = re.findall(r"^    outs:\n((?:    [- ] .*\n)+)", text, re.MULTILINE)
    entry = re.compile(r"^    - path: (.+)\n(?:      .+\n)*?      md5: (\S+)", re.MULTILINE)
    return {path: digest for block in blocks for path, digest in entry.findall(block)}


def intact(*paths: Path) -> None:
    """Raise UserError where something that this stage reads is not what was recorded when it was written.

    A path that lies in a recorded folder stands for the folder. Nothing is checked that nobody recorded, and nothing
    where DVC did not start this process: files that a user made by hand have no record.
    """
    if "DVC_STAGE" not in os.environ:
        return
    given = os.environ.get(RECORDED)
    known = json.loads(given) if given else recorded()
    places = {place: None for path in paths for place in (path, *path.parents) if place.as_posix() in known}
    for place in places:
        if not place.exists() or md5(place) != known[place.as_posix()]:
            raise UserError(
                f"{place} is damaged: its content is not what its stage wrote, by dvc.lock. Remove it, run `python "
                "tools/verify.py objects`, which removes what is damaged in DVC's cache, and repeat the command"
            )
