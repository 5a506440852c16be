"""The instruction set that numerical libraries may use: AVX2, by which every x86-64 processor gives the same bits.

A sum of floats depends on how many are added at a time, which is a matter of the vectors' width. Each library has a
variable of its own for it, read when the library loads; DEEPCLUST_INSTRUCTIONS=avx2 sets them all (docs/same-bits.md).
"""

import os
import platform
import sys
from pathlib import Path

from deepclust.errors import UserError

VARIABLE = "DEEPCLUST_INSTRUCTIONS"
_HELD = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch's convolutions and some products
    "MKL_CBWR": "AVX2,STRICT",  # torch's products and factorisations
    "OPENBLAS_CORETYPE": "Haswell",  # NumPy's and SciPy's products and factorisations
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy's own kernels, as NumPy 2.4 groups them
}


def held() -> str:
    """Return what the libraries are held to: `avx2`, or `native` for whatever the processor has."""
    return os.environ.get(VARIABLE) or "native"


def hold() -> None:
    """Set the libraries' variables as DEEPCLUST_INSTRUCTIONS asks for, whatever stood in them.

    Raises
    ------
    UserError
        The value is none of `avx2` and `native`, the processor has no AVX2, or a library is loaded already.
    """
    if held() == "native":
        return
    if held() != "avx2":
        raise UserError(f"{VARIABLE} must be avx2 or native, got {held()!r}; correct or unset it")
    if not supported(held()):
        raise UserError(f"{VARIABLE} is avx2, which this processor lacks; set compute.instructions: native")
    if loaded := [name for name in ("numpy", "torch") if name in sys.modules]:
        raise UserError(f"{VARIABLE} is avx2, but {loaded[0]} is loaded already; import deepclust before it")
    os.environ.update(_HELD)


def supported(instructions: str) -> bool:
    """Return whether this processor can be held to `avx2`, or to `native`, which every one is."""
    if instructions == "native":
        return True
    if platform.machine() not in {"x86_64", "AMD64"}:
        return False
    try:
        return " avx2 " in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux, where no stage runs
        return True
