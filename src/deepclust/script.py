"""Stages and tools as scripts: arguments, a lock, exit codes, one line for an error."""

import codecs
import contextlib
import errno
import inspect
import io
import logging
import os
import platform
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from deepclust.errors import UserError

_log = logging.getLogger(__name__)

# Storage is full, over quota, too large, or read-only. None: NumPy's and shutil's errors, which carry no number
_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, None}
_STORAGE |= {errno.ENOTDIR, errno.ENAMETOOLONG}  # or takes no such name
_ASCII = {"\u2212": "-", "\u00b1": "+-", "\u2248": "~"}


def run_as_script(main: Callable[..., None], *, is_stage: bool = True) -> None:
    """Call `main` with the command line's arguments; a stage waits while another process runs it with the same ones.

    Where DVC runs a stage, the parts of the stage's name come before them: `evaluate@digits-kmeans` stands for the
    arguments `digits kmeans`. A `UserError`, and storage that takes no more, end in one line on stderr and exit code 2,
    Ctrl-C, from the import of this module on, in one line and exit code 130.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, `>&-`
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    logging.basicConfig(format="%(message)s")
    codecs.register_error("plain", _plainly)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="plain")
    logging.getLogger("deepclust").setLevel(logging.INFO)
    try:
        arguments = [*(_parts(os.environ.get("DVC_STAGE", "")) if is_stage else []), *sys.argv[1:]]
        try:
            inspect.signature(main).bind(*arguments)
        except TypeError as error:
            raise UserError(f"{' '.join([sys.argv[0], *arguments])}: {error}; see the top of that file") from None
        name = " ".join([Path(sys.argv[0]).stem, *arguments])
        with _alone(name) if is_stage else contextlib.nullcontext():
            main(*arguments)
    except UserError as error:
        sys.exit(_complain(str(error)))
    except BrokenPipeError:  # nobody reads on: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except FileNotFoundError as error:
        if not (is_stage and str(error.filename).startswith("data/")):
            raise
        sys.exit(_complain(f"{error.filename} is not there; `dvc repro` in the grid's folder makes what a stage reads"))
    except OSError as error:
        if error.errno not in _STORAGE:
            raise
        what = error.args[0][0][-1] if isinstance(error, shutil.Error) else error  # copytree lists every file
        line = " ".join([str(what), *getattr(error, "__notes__", [])])
        kept = ": what was finished is kept" if is_stage else ""
        sys.exit(_complain(f"{line}; mend that and run the same command again{kept}"))


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Write what an output's encoding lacks in ASCII, a minus as one: a sign that is lost is another number."""
    assert isinstance(error, UnicodeEncodeError)
    lacked = error.object[error.start : error.end]
    return "".join(_ASCII.get(character, "?") for character in lacked), error.end


def _hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """End a script that nothing else ended: at Ctrl-C in a line, else in a traceback."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    kept = str(error) or "what was finished is kept, and the same command goes on from there"
    sys.stderr.write(f"interrupted: {kept}\n")
    sys.stderr.flush()
    os._exit(128 + signal.SIGINT)  # seeds that train in threads would hold up an exit until they are done


sys.excepthook = _hook  # here, since a script loads libraries for seconds before it calls `run_as_script`


def _parts(stage: str) -> list[str]:
    """Return what the name of one of DVC's stages stands for: a data set, a cell; none where DVC runs nothing."""
    key = stage.rpartition(":")[2].partition("@")[2]
    parts = key.split("-") if key else []
    if not all(re.fullmatch("[a-z0-9_]+", part) for part in parts):
        raise UserError(
            f"the stage {stage!r} is none of cells.yaml's: names are of a-z, 0-9 and _. Remove from params.yaml what "
            "is no setting: cells, own_files, networks_read and sweeps_read are sections of cells.yaml"
        )
    return parts


def _complain(message: str) -> int:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return 2


@contextlib.contextmanager
def _alone(script: str) -> Iterator[None]:
    """Wait until no other process runs the script, and name that process: a killed `dvc` leaves its stage at work."""
    import fcntl  # not on Windows, where the library works but no stage does

    path = Path("work/locks") / script.replace(os.sep, "_")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+", buffering=0) as file:  # the lock goes with its process, however the process ends
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode() or "another process"
            _log.warning("%s: %s still works on this; waiting for it. Kill it to go on at once", script, holder)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            _log.warning("%s: no lock (%s); see to it yourself that this runs once at a time", path, error.strerror)
        with contextlib.suppress(OSError):  # a full disk is reported where room is needed
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}".encode())
        yield
