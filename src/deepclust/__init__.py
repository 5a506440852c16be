"""Deep clustering that anyone can rerun: data, graphs, networks, methods, metrics and reports."""

import os

from deepclust import instructions

# OpenMP's idle threads wait for some 20 microseconds, then sleep. Asleep at once, two threads took small networks
# through a batch slower than one does, waking up for every layer; waiting on and on, training beside other work on the
# same cores took nine times as long. Read once, when torch or scikit-learn load their OpenMP: no stage imports either
# before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # GNU's OpenMP, which torch has on Linux; it outranks the policy
# Deterministic kernels on CUDA need a fixed workspace of cuBLAS, read at its first call.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# Before NumPy or torch load: which of the processor's instructions they may use.
instructions.hold(os.environ.get(instructions.VARIABLE) or "native")
