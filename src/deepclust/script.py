"""Stages and tools as scripts: arguments, a lock, exit codes, one line for an error."""

import contextlib
import errno
import inspect
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from deepclust.errors import UserError

_log = logging.getLogger(__name__)

# Storage is full, over quota, too large, or read-only. None: NumPy's and shutil's errors, which carry no number
_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, None}


def run_as_script(main: Callable[..., None], *, is_stage: bool = True) -> None:
    """Call `main` with the command line's arguments; a stage waits while another process runs it with the same ones.

    A `UserError`, or storage that takes no more, ends in one line on stderr and exit code 2.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("deepclust").setLevel(logging.INFO)
    try:
        try:
            inspect.signature(main).bind(*sys.argv[1:])
        except TypeError as error:
            raise UserError(f"{sys.argv[0]} {' '.join(sys.argv[1:])}: {error}; see the top of that file") from None
        name = " ".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
        with _alone(name) if is_stage else contextlib.nullcontext():
            main(*sys.argv[1:])
    except UserError as error:
        sys.exit(_complain(str(error)))
    except OSError as error:
        if error.errno not in _STORAGE:
            raise
        what = error.args[0][0][-1] if isinstance(error, shutil.Error) else error  # copytree lists every file
        line = " ".join([str(what), *getattr(error, "__notes__", [])])
        sys.exit(_complain(f"{line}; mend that and run the same command again: what was finished is kept"))


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
