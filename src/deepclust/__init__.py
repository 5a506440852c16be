"""Deep clustering that anyone can rerun: data, graphs, networks, methods, metrics and reports."""

import os

# OpenMP's idle threads must sleep, not spin: beside other work on the same cores, spinning slowed training ninefold.
# Read once, when torch or scikit-learn load their OpenMP: the stages import neither before this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Deterministic kernels on CUDA need a fixed workspace of cuBLAS, read at its first call.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
