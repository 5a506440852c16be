"""A fit's surroundings are chosen by what its method declares, and a method without a network never meets torch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_info

from deepclust import execution, instructions, methods
from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.files import write_json, write_sparse


def test_threads_are_held_for_plain_methods_and_for_trainings() -> None:
    for name in ("kmeans", "idec"):
        with execution.surroundings(methods.load(name), 1, "float32"):
            assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}


def test_checkpoints_go_where_the_surroundings_say(tmp_path: Path) -> None:
    method = methods.load("ae_kmeans")(2, pretraining={"hidden": [4], "epochs": 1}, random_state=0, device="cpu")
    with execution.surroundings(type(method), 1, "float32", tmp_path / "here"):
        method.fit(np.random.default_rng(0).random((40, 3)))
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["pretrain.safetensors"]


def test_a_graph_is_read_as_it_was_written(tmp_path: Path) -> None:
    W = sp.csr_matrix(sp.random(6, 6, 0.5, random_state=0))
    write_sparse(tmp_path / "weights.npz", W)
    assert (execution.inputs(tmp_path, None)["graph"] != W).nnz == 0
    assert execution.inputs(None, None) == {}


@pytest.mark.parametrize(("status", "error"), [("failed", SeedFailed), ("skipped", NotApplicable)])
def test_what_ended_a_pretraining_ends_the_fit_on_it(status: str, error: type[Exception], tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"status": status, "reason": "why"})
    with pytest.raises(error, match="pretraining: why"):
        execution.inputs(None, tmp_path)


def test_on_a_cpu_seeds_run_one_after_the_other() -> None:
    X = np.zeros((10, 2), dtype=np.float32)
    assert [execution.n_seeds_in_parallel(methods.load(name), X, "cpu", 5) for name in ("kmeans", "idec")] == [1, 1]


def test_a_fit_without_a_network_loads_no_torch() -> None:
    program = """
import sys
from deepclust import execution, methods
cls = methods.load("kmeans")
with execution.surroundings(cls, 1, "float32"):
    cls(2, random_state=0).fit([[0.0], [1.0]])
print("torch" in sys.modules, execution.n_seeds_in_parallel(cls, None, "auto", 3))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(methods.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1"]


def test_a_stage_started_by_hand_without_its_instructions_is_refused() -> None:
    instructions.agree(instructions.held())
    with pytest.raises(UserError, match=r"compute\.instructions: avx2; start it with DEEPCLUST_INSTRUCTIONS=avx2"):
        instructions.agree("avx2")
