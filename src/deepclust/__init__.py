"""Deep clustering that anyone can rerun: data, graphs, networks, methods, metrics and reports."""

import os

from deepclust import instructions
from deepclust._version import __version__ as __version__

# OpenMP's idle threads wait for some 20 microseconds, then sleep. With threads that sleep at once, two threads took
# small networks through a batch slower than one, because they woke up for every layer. With threads that wait on and
# on, training beside other work on the same cores took nine times as long. OpenMP reads the variable once, when torch
# or scikit-learn load it: no stage imports either before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # GNU's OpenMP, torch's on Linux; this outranks the policy
# Deterministic kernels on CUDA need a fixed workspace of cuBLAS, which reads the variable at its first call.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# Before NumPy or torch load: which of the processor's instructions they may use.
instructions.hold(os.environ.get(instructions.VARIABLE) or "native")
