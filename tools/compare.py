"""Say whether a grid's scores agree with those of a commit: the same, within what seeds differ by, or beyond it.

python tools/compare.py                  the default grid beside HEAD
python tools/compare.py GRID             a grid in grids/
python tools/compare.py GRID COMMIT      beside another commit, by any name that git knows

`make repro` ends with it. The scores of the working tree are read as they are: of a cell that was not run again they
are the committed ones. A grid whose settings were changed is compared all the same.
"""

import io
import json
import subprocess
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

from deepclust import grids, layout
from deepclust.cli._lines import aligned, say
from deepclust.errors import UserError
from deepclust.files import read_json
from deepclust.script import run_as_script

SCORES = layout.REPORTS / "scores"


def main(grid: str = "", commit: str = "HEAD") -> None:
    name = grid or grids.default()
    folder = grids.folder(name)
    before = committed(folder, commit)
    if before is None:
        say("no git repository here: nothing to compare the scores with")
        return
    now = {f"{path.parent.name}/{path.stem}": read_json(path) for path in sorted((folder / SCORES).glob("*/*.json"))}
    both = [(cell, row) for cell in now if cell in before for row in now[cell] if row in before[cell]]
    if not both:
        say(f"grid {name}: {commit} has no scores of it to compare with")
        return
    changed = [(cell, row) for cell, row in both if before[cell][row] != now[cell][row]]
    lines = [f"grid {name}: {len(both)} rows beside those of {commit}, {len(both) - len(changed)} the same"]
    if changed:
        lines += judged(before, now, changed)
    one, other = ({(cell, row) for cell in side for row in side[cell]} for side in (before, now))
    if others := sorted(f"{cell.partition('/')[0]}/{row}" for cell, row in one ^ other):
        lines.append(f"on one side alone: {', '.join(others)}")
    for line in lines:
        say(line)


def judged(before: dict[str, Any], now: dict[str, Any], changed: list[tuple[str, str]]) -> list[str]:
    """Return what there is to say of the rows whose scores differ, the most urgent first."""
    from deepclust.reporting.agreement import ALIKE, RULE, VERDICTS, agreement

    found = {(cell.partition("/")[0], row): agreement(before[cell][row], now[cell][row]) for cell, row in changed}
    counts = Counter(one.verdict for one in found.values())
    rows = [("DATA SET", "ROW", "METRIC", "BEFORE", "NOW", "")]
    for (dataset, row), one in sorted(found.items(), key=lambda item: VERDICTS.index(item[1].verdict)):
        if one.verdict != ALIKE:
            rows.append((dataset, row, one.metric, one.before, one.now, one.verdict))
    said = [", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])]
    return [*said, *aligned(rows), RULE] if len(rows) > 1 else said


def committed(folder: Path, commit: str) -> dict[str, Any] | None:
    """Return the content of the score files of a commit by DATASET/CELL, none where it has none; None without git.

    Raises
    ------
    UserError
        If git knows no such commit.
    """
    if git(folder, "rev-parse", "--is-inside-work-tree") is None:
        return None
    if commit.startswith("-") or git(folder, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}") is None:
        if commit == "HEAD":  # nothing is committed yet
            return {}
        raise UserError(f"git knows no commit '{commit}'; see git log")
    archive = git(folder, "archive", "--format=tar", commit, str(SCORES))
    if archive is None:  # git archives no folder that is not there
        return {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {Path(member.name): tar.extractfile(member) for member in tar if member.isfile()}
        return {f"{path.parent.name}/{path.stem}": json.load(file) for path, file in files.items() if file}


def git(folder: Path, *words: str) -> bytes | None:
    """Return what git printed, or None where it failed or is not installed."""
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout


if __name__ == "__main__":
    run_as_script(main, is_stage=False)
