"""The processor's instructions that the numerical libraries may use: all of them, or AVX2 and below.

The width of a processor's vectors decides the order in which it adds, and so the last bits of nearly every result.
Held to AVX2, processors with wider vectors add as those without; docs/same-bits.md has the evidence and the cost. The
libraries read their variables once, when they load: nothing here imports one of them.
"""

import os
import platform
import sys
from pathlib import Path
from typing import Literal

from deepclust.errors import UserError

VARIABLE = "DEEPCLUST_INSTRUCTIONS"
Instructions = Literal["avx2", "native"]

HELD = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch's convolutions, and products in bfloat16
    "MKL_CBWR": "AVX2,STRICT",  # torch's other products and factorisations
    "OPENBLAS_CORETYPE": "Haswell",  # the products and factorisations of NumPy and SciPy
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy 2.4's names of its groups above AVX2 (X86_V3)
    "NUMBA_CPU_NAME": "haswell",  # approximate neighbours, compiled where they run
    "NUMBA_CPU_FEATURES": "",  # otherwise the features of the processor at hand join those of the named one
}
_EXCLUDED = "NPY_ENABLE_CPU_FEATURES"  # NumPy does not load where features are both enabled and disabled
_NEEDED = {"abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}  # used by the libraries' kernels for AVX2

_in_force: Instructions = "native"


def hold(asked: str) -> None:
    """Let the libraries of this process and of its children use no more than the instructions asked for.

    Variables that say otherwise are replaced; "native" leaves all as they are.

    Raises
    ------
    UserError
        The value is unknown, this processor lacks the instructions, or the libraries are loaded already, so that the
        value would have no effect.
    """
    global _in_force
    require(asked)
    if asked == "native" or _in_force == asked:
        return
    loaded = [name for name in ("numpy", "torch") if name in sys.modules]
    if loaded and not _started_held():
        raise UserError(
            f"{VARIABLE}={asked} comes too late, {' and '.join(loaded)} having been loaded before deepclust; "
            "import deepclust first"
        )
    os.environ.pop(_EXCLUDED, None)
    os.environ.update(HELD)
    _in_force = "avx2"


def require(asked: str) -> None:
    """Raise UserError, of one line, unless `asked` is "native", or "avx2" and this machine can be held to it."""
    if asked == "native":
        return
    if asked != "avx2":
        raise UserError(f"compute.instructions ({VARIABLE}) must be avx2 or native, got {asked!r}")
    system, machine = platform.system(), platform.machine()
    found = f"{system} on {machine}"
    if (system, machine) == ("Linux", "x86_64"):
        missing = sorted(_NEEDED - _flags())
        if not missing:
            return
        found = f"a processor without {', '.join(missing)}"
    raise UserError(
        f"compute.instructions: avx2 ({VARIABLE}) is for Linux on x86-64 processors with AVX2, and this is {found}; "
        "use compute.instructions: native"
    )


def held() -> Instructions:
    """Return the instructions that this process was held to, for the record of a run.

    Raises
    ------
    UserError
        NumPy was to be held and was not: a version with other names for its groups ignores ours.
    """
    numpy = sys.modules.get("numpy._core._multiarray_umath")
    if _in_force == "avx2" and numpy is not None:
        wider = [group for group in numpy.__cpu_dispatch__ if numpy.__cpu_features__[group] and group != "X86_V3"]
        if wider:
            raise UserError(
                f"NumPy {sys.modules['numpy'].__version__} uses {' '.join(wider)} though held to AVX2; "
                "install the versions of constraints.txt, or use compute.instructions: native"
            )
    return _in_force


def agree(asked: str) -> None:
    """Raise UserError unless this process is held to the instructions that a stage's plan asks for."""
    if held() != asked:
        raise UserError(f"this stage's plan has compute.instructions: {asked}; start it with {VARIABLE}={asked}")


def _flags() -> set[str]:
    """Return the first processor's features, by Linux's names."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # a long file where processors are many
        return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def _started_held() -> bool:
    """Return whether the variables stood in the environment this process was started with, before anything loaded."""
    try:
        started = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    wanted = {f"{name}={value}".encode() for name, value in HELD.items()}
    return wanted <= set(started) and not any(entry.startswith(_EXCLUDED.encode() + b"=") for entry in started)
