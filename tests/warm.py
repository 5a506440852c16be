"""A `python` that runs scripts, and a `dvc`, in forks of one process with the libraries loaded.

Most of a tiny stage, and half of a command of DVC's, is their import. Most of an evaluation would be drawing: the file
of a figure here is the digest of what the figure shows, and t-SNE stops early. A third of `dvc repro` would be reading
and writing dvc.lock: libyaml does it here, to the same bytes. A fork is killed, with its children, when the process
that asked for it is.

python warm.py SOCKET        serves; the `python` and the `dvc` that `commands` writes ask it
"""

import array
import atexit
import contextlib
import fcntl
import hashlib
import importlib
import io
import json
import os
import re
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NoReturn

LIBRARIES = [
    "distributed",
    "dvc.analytics",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.data_cloud",
    "dvc.repo.index",
    "dvc.repo.reproduce",
    "dvc.utils.strictyaml",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "matplotlib.figure",
    "networkx",
    "openTSNE",
    "pandas",
    "pydantic.main",
    "ruamel.yaml",
    "safetensors.torch",
    "scipy.sparse.csgraph",
    "scmrepo.git",
    "sklearn.cluster",
    "sklearn.mixture",
    "torch",
    "torch._dynamo",  # which the first optimizer loads
]
F_SETSIG = 10  # of fcntl(2) on Linux; Python has no name for it
# Hands its name, arguments, surroundings, folder, umask and streams on, and ends with the exit code that comes back. A
# `python` without a script, or `-c` and a program, is real Python's.
CLIENT = """#!{python} -ISs
import array, json, os, socket, sys
name = os.path.basename(sys.argv[0])
if name == "python" and not (sys.argv[1:2] == ["-c"] or sys.argv[1:] and sys.argv[1].endswith(".py")):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
mask = os.umask(0)
asked = json.dumps([[name, *sys.argv[1:]], dict(os.environ), os.getcwd(), mask]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
    server.sendmsg([len(asked).to_bytes(8, "little")], [streams])
    server.sendall(asked)
    os._exit((server.recv(1) or b"\\x01")[0])
"""


@contextlib.contextmanager
def warmed(
    folder: Path, surroundings: Mapping[str, str] = MappingProxyType({}), site: str = ""
) -> Iterator[dict[str, str]]:
    """Start a server of `warm.py` in some surroundings, and yield the variables that lead to it.

    Processes that are not the server's, such as workers of Dask, find its `python` in `sys.executable`. All run `site`.
    """
    address, serve = commands(folder, sys.executable)
    found = f"import sys\nsys.executable = {str(folder / 'bin/python')!r}\n"
    (folder / "sitecustomize.py").write_text(found + textwrap.dedent(site), encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DEEPCLUST_", "PYTHON"))}
    with subprocess.Popen(serve, env={**kept, **surroundings}, start_new_session=True) as server:
        try:
            while not address.exists():
                assert server.poll() is None
                time.sleep(0.05)
            path = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
            yield {"PATH": os.pathsep.join(path), "SITE": str(folder)}
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def commands(folder: Path, python: str) -> tuple[Path, list[str]]:
    """Write the clients into the folder `bin`, for PATH; return the socket's path, and how its server is started."""
    address = folder / "socket"
    (folder / "bin").mkdir()
    for name in ("python", "dvc"):
        client = folder / "bin" / name
        client.write_text(CLIENT.format(python=python, address=str(address)), encoding="utf-8")
        client.chmod(0o755)
    return address, [python, __file__, str(address)]


def serve(address: str) -> NoReturn:
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}  # as deepclust does, before libraries load
    for name in LIBRARIES:
        __import__(name)
    draw_nothing()
    write_locks_fast()
    find_plugins()
    atexit._clear()  # a fork runs what it registers itself
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children need no wait
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}.new")
        server.listen(64)
        os.rename(f"{address}.new", address)
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                answer(client)
            client.close()


def draw_nothing() -> None:
    """Make a figure's file of its texts, lines, areas, points and images, and stop t-SNE after five steps.

    The look of figures is the matter of other tests.
    """
    import numpy as np
    from matplotlib.figure import Figure
    from openTSNE import TSNEEmbedding

    def savefig(self: Figure, file: IO[bytes], **_: Any) -> None:
        digest = hashlib.sha256()
        for artist in self.findobj():
            for name in ("get_text", "get_xydata", "get_path", "get_offsets", "get_array"):
                shown = getattr(artist, name, lambda: None)()
                digest.update(repr(shown).encode() if isinstance(shown, str) else content(shown))
        file.write(digest.hexdigest().encode())

    def content(shown: Any) -> bytes:
        return np.ma.filled(np.ma.asarray(getattr(shown, "vertices", shown), dtype=float), np.nan).tobytes()

    Figure.savefig = savefig  # type: ignore[assignment,method-assign]
    optimize = TSNEEmbedding.optimize
    TSNEEmbedding.optimize = lambda self, n_iter, **given: optimize(self, min(n_iter, 5), **given)


def write_locks_fast() -> None:
    """Let libyaml read and write dvc.lock, which has no comments to keep, and DVC's other files of plain values."""
    from dvc.utils.serialize import _yaml
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RepresenterError, SafeRepresenter

    class Plain(SafeRepresenter):
        """Represent None by nothing, and an ordered mapping as any other, as DVC does."""

    Plain.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", ""))
    Plain.add_representer(OrderedDict, SafeRepresenter.represent_dict)
    parse, dump = _yaml.parse_yaml_for_update, _yaml._dump

    def parse_fast(text: str, path: str) -> Any:
        return (_yaml.parse_yaml if str(path).endswith(".lock") else parse)(text, path)

    def dump_fast(data: Any, stream: IO[str]) -> None:
        yaml, written = YAML(typ="safe"), io.StringIO()
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.Representer = Plain
        try:
            yaml.dump(data, written)
        except RepresenterError:  # it has comments
            dump(data, stream)
        else:
            stream.write(re.sub(": $", ":", written.getvalue(), flags=re.MULTILINE))

    _yaml.parse_yaml_for_update, _yaml._dump = parse_fast, dump_fast


def find_plugins() -> None:
    """Have pydantic and scikit-learn ask all installed packages for plugins, as each process would on first use."""
    from pydantic import create_model
    from sklearn.utils import check_array

    create_model("Model", field=(int, 0))
    check_array([[0.0]])


def answer(client: socket.socket) -> NoReturn:
    """Be the script that a client asks for, and send it the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    fcntl.fcntl(client, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(client, F_SETSIG, signal.SIGKILL)
    numbers = array.array("i")
    size, ancillary, *_ = client.recvmsg(8, socket.CMSG_SPACE(3 * numbers.itemsize))
    numbers.frombytes(ancillary[0][2])
    text = b""
    while len(text) < int.from_bytes(size, "little"):
        part = client.recv(1 << 16)
        if not part:  # the client was killed
            os._exit(1)
        text += part
    (name, *arguments), environment, folder, mask = json.loads(text)
    flags = fcntl.fcntl(client, fcntl.F_GETFL)
    fcntl.fcntl(client, fcntl.F_SETFL, flags | os.O_ASYNC)  # from now on, SIGKILL where the client ends
    if select.select([client], [], [], 0)[0]:
        os._exit(1)
    for target, number in enumerate(numbers):
        os.dup2(number, target)
        os.close(number)
    os.chdir(folder)
    os.umask(mask)
    os.environ.clear()
    os.environ.update(environment)
    # of the test's processes, the one that this stands for
    os.environ["WARM_CLIENT"] = str(struct.unpack("i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4))[0])
    time.tzset()
    paths = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if name == "dvc":
        from dvc.cli import main

        sys.argv = [name, *arguments]
        code = main(arguments)
    else:
        place = "" if arguments[0] == "-c" else str(Path(arguments[0]).resolve().parent)
        sys.argv, sys.path[:1] = arguments, [place, *paths]
        sys.modules.pop("sitecustomize", None)
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module("sitecustomize")
        code = run(arguments)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    fcntl.fcntl(client, fcntl.F_SETFL, flags)
    with contextlib.suppress(OSError):  # the client was killed
        client.sendall(bytes([code]))
    os._exit(code)


def run(arguments: list[str]) -> int:
    try:
        if arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            exec(arguments[1], {"__name__": "__main__"})
        else:
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(*sys.argv[1:])
