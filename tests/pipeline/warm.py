"""A `python` that runs scripts, and a `dvc`, in forks of one process with the libraries loaded.

Most of a tiny stage, and half of a command of DVC's, is their import.

python warm.py SOCKET        serves; the `python` and the `dvc` that `commands` writes ask it
"""

import array
import contextlib
import json
import os
import runpy
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

LIBRARIES = [
    "distributed",
    "dvc.analytics",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.data_cloud",
    "dvc.repo.index",
    "dvc.repo.reproduce",
    "dvc.utils.strictyaml",
    "fontTools.subset",
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
# Hands its name, arguments, surroundings, folder, umask and streams on, and ends with the exit code that comes back. A
# `python` without a script is real Python's.
CLIENT = """#!{python} -ISs
import array, json, os, socket, sys
name = os.path.basename(sys.argv[0])
if name == "python" and (len(sys.argv) < 2 or not sys.argv[1].endswith(".py")):
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
    for name in LIBRARIES:
        __import__(name)
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


def answer(client: socket.socket) -> NoReturn:
    """Be the script that a client asks for, and send it the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    numbers = array.array("i")
    size, ancillary, *_ = client.recvmsg(8, socket.CMSG_SPACE(3 * numbers.itemsize))
    numbers.frombytes(ancillary[0][2])
    text = b""
    while len(text) < int.from_bytes(size, "little"):
        text += client.recv(1 << 16)
    (name, *arguments), environment, folder, mask = json.loads(text)
    for target, number in enumerate(numbers):
        os.dup2(number, target)
        os.close(number)
    os.chdir(folder)
    os.umask(mask)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    paths = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if name == "dvc":
        from dvc.cli import main

        sys.argv = [name, *arguments]
        code = main(arguments)
    else:
        sys.argv, sys.path[:1] = arguments, [str(Path(arguments[0]).resolve().parent), *paths]
        code = run(arguments[0])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    with contextlib.suppress(OSError):  # the client was killed
        client.sendall(bytes([code]))
    os._exit(code)


def run(script: str) -> int:
    try:
        runpy.run_path(script, run_name="__main__")
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
