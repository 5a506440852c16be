"""Instructions held to AVX2: in force before the libraries load, or refused; "native" changes nothing."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from deepclust import instructions
from deepclust.errors import UserError

try:
    instructions.require("avx2")
    REASON = ""
except UserError as error:
    REASON = str(error)
needs_avx2 = pytest.mark.skipif(bool(REASON), reason=REASON)

TELL = """
import json, os, sys
from deepclust import instructions
early = sorted({"numpy", "torch", "numba"} & set(sys.modules))
import numpy, scipy.linalg, torch
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from threadpoolctl import threadpool_info
sys.stdout.write(json.dumps({
    "early": early,
    "variables": {name: os.environ.get(name) for name in instructions.HELD},
    "held": instructions.held(),
    "torch": torch.backends.cpu.get_cpu_capability(),
    "numpy": [name for name in __cpu_dispatch__ if __cpu_features__[name]],
    "openblas": [library["architecture"] for library in threadpool_info() if library["internal_api"] == "openblas"],
}))
"""


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program, warnings being errors, with these variables and no other that matters here."""
    ours = {*instructions.HELD, instructions.VARIABLE, "NPY_ENABLE_CPU_FEATURES"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment, capture_output=True, text=True
    )


def tell(**variables: str) -> dict[str, Any]:
    done = run(TELL, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refusal(program: str, **variables: str) -> str:
    """Return the message of the UserError that a program ends with."""
    done = run(program, **variables)
    assert done.returncode == 1
    kind, _, message = done.stderr.splitlines()[-1].partition(": ")
    assert kind == "deepclust.errors.UserError"
    return message


@needs_avx2
def test_held_libraries_use_avx2_and_no_more_whatever_was_set_before() -> None:
    before = {"OPENBLAS_CORETYPE": "SkylakeX", "ATEN_CPU_CAPABILITY": "default"}
    before |= {"NPY_DISABLE_CPU_FEATURES": "X86_V3", "NPY_ENABLE_CPU_FEATURES": "X86_V3"}
    found = tell(DEEPCLUST_INSTRUCTIONS="avx2", **before)
    assert found["early"] == []
    assert found["variables"] == instructions.HELD
    assert found["held"] == "avx2"
    assert found["torch"] == "AVX2"
    assert found["numpy"] == ["X86_V3"]
    assert found["openblas"] == ["Haswell", "Haswell"]


@needs_avx2
def test_held_numba_compiles_for_avx2() -> None:
    pytest.importorskip("numba", reason="comes with the extra `approximate`")
    program = """
import sys
import deepclust, numba, numpy as np
@numba.njit(fastmath=True)
def total(x):
    s = 0.0
    for value in x:
        s += value
    return s
total(np.ones(9))
sys.stdout.write(total.inspect_asm(total.signatures[0]))
"""
    held = run(program, DEEPCLUST_INSTRUCTIONS="avx2").stdout
    assert "%ymm" in held
    assert "%zmm" not in held


def test_native_leaves_everything_alone() -> None:
    plain = TELL.replace("from deepclust import instructions", "class instructions:\n    HELD = NAMES\n    held = str")
    done = run(plain.replace("NAMES", repr([*instructions.HELD])), OPENBLAS_CORETYPE="Haswell")
    expected = json.loads(done.stdout) | {"held": "native"}
    assert tell(OPENBLAS_CORETYPE="Haswell", DEEPCLUST_INSTRUCTIONS="native") == expected
    variables = f"{TELL.partition('import numpy')[0]}json.dump([instructions.held(), dict(os.environ)], sys.stdout)"
    told = [json.loads(run(variables, **value).stdout) for value in ({}, {instructions.VARIABLE: ""})]
    for held, environment in told:
        assert held == "native"
        assert not set(environment) & set(instructions.HELD)


@needs_avx2
def test_libraries_loaded_before_are_refused_unless_started_held() -> None:
    message = refusal("import torch, deepclust", DEEPCLUST_INSTRUCTIONS="avx2")
    assert "numpy and torch having been loaded before deepclust" in message
    assert message.endswith("import deepclust first")
    program = "import numpy\nfrom deepclust import instructions\nimport sys; sys.stdout.write(instructions.held())"
    assert "numpy having been loaded before deepclust" in refusal(program, DEEPCLUST_INSTRUCTIONS="avx2")
    some = dict(list(instructions.HELD.items())[:-1])
    assert "too late" in refusal(program, DEEPCLUST_INSTRUCTIONS="avx2", **some)
    assert run(program, DEEPCLUST_INSTRUCTIONS="avx2", **instructions.HELD).stdout == "avx2"


@needs_avx2
def test_processes_started_by_a_held_one_are_held() -> None:
    child = "import numpy, deepclust.instructions as i, sys; sys.stdout.write(i.held())"
    program = f"import deepclust, subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)"
    assert run(program, DEEPCLUST_INSTRUCTIONS="avx2").stdout == "avx2"


def test_unknown_values_are_refused() -> None:
    message = refusal("import deepclust", DEEPCLUST_INSTRUCTIONS="AVX512")
    assert message == "compute.instructions (DEEPCLUST_INSTRUCTIONS) must be avx2 or native, got 'AVX512'"


@pytest.mark.parametrize(
    ("system", "machine", "flags", "words"),
    [
        ("Linux", "aarch64", "", "Linux on aarch64"),
        ("Darwin", "arm64", "", "Darwin on arm64"),
        ("Linux", "x86_64", "fma sse4_2 movbe", "without abm, avx2, bmi1, bmi2, f16c"),
    ],
)
def test_processors_that_cannot_be_held_are_told_the_remedy(
    system: str, machine: str, flags: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(instructions, "_flags", lambda: set(flags.split()))
    with pytest.raises(UserError, match=words) as caught:
        instructions.require("avx2")
    assert str(caught.value).endswith("use compute.instructions: native")
    instructions.require("native")


@needs_avx2
def test_numpy_that_ignored_its_variable_is_no_held_run() -> None:
    program = """
import deepclust, os
from deepclust import instructions
os.environ["NPY_DISABLE_CPU_FEATURES"] = ""  # as good as names this NumPy does not know
import numpy
from numpy._core._multiarray_umath import __cpu_features__
__cpu_features__["X86_V4"] = True  # where the processor has none, too
instructions.held()
"""
    assert "though held to AVX2" in refusal(program, DEEPCLUST_INSTRUCTIONS="avx2")
