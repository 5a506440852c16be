"""Every benchmark runs to its end at its smallest size: a signature that changed breaks a script that nobody runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
ELSEWHERE = ["pipeline"]  # runs on a small grid, in tests/pipeline/test_grids.py
SMALLEST = {
    "autoencoder": ["--samples", "256", "--turns", "1", "--threads", "1"],
    "convex_clustering": ["--n", "60", "--rows", "30"],
    "gpu": ["--device", "cpu", "--samples", "256", "--seeds", "2", "--epochs", "1", "--turns", "1", "--threads", "1"],
    # not pynndescent, which compiles for a minute; tests/graph/test_knn.py has its search
    "knn": ["--dataset", "synthetic", "--n", "500", "--threads", "1", "--peers", "faiss", "deepclust", "sklearn"],
    "methods": ["--samples", "256", "--turns", "1", "--threads", "1"],
    "partition": ["--dataset", "synthetic", "--n", "500"],
    "same_bits": ["--pairs", "1", "--threads", "1", "--only", "exact graph"],
    "scale": ["--sizes", "500,1000", "--clusters", "10", "--only", "prepare,graph,graph_modularity", "--threads", "1"],
    "self_expression": ["--n", "200", "--large", "300", "--rows", "20", "--turns", "1"],
    "spectral": ["--dataset", "synthetic", "--n", "600", "--small", "300"],
    "training_free": ["--dataset", "synthetic", "--n", "300", "--large", "400", "--turns", "1"],
}
# in processes of their own: one says which instructions its libraries may use, the other imports the package first
COLD = ["same_bits", "autoencoder"]


def test_each_benchmark_has_a_smallest_size() -> None:
    assert sorted([*SMALLEST, *ELSEWHERE]) == sorted(path.stem for path in BENCH.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_it_runs(name: str, warm: dict[str, str], tmp_path: Path) -> None:
    variables = os.environ | {"TMPDIR": str(tmp_path), "PYTHONWARNINGS": "default"}
    python = sys.executable
    if name not in COLD:
        variables |= {"PATH": warm["PATH"], "PYTHONPATH": os.pathsep.join([str(BENCH.parent / "src"), warm["SITE"]])}
        python = "python"
    words = [python, str(BENCH / f"{name}.py"), *SMALLEST[name]]
    done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
