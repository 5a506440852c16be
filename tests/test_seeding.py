"""Derived seeds: functions of their names alone."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from deepclust.seeding import derive_seed

SEED = 258150281  # of (3, "a", "b"): published results are repeatable only as long as this does not change


def test_seed_is_a_fixed_function_of_base_and_names() -> None:
    code = "from deepclust.seeding import derive_seed; import sys; sys.stdout.write(str(derive_seed(3, 'a', 'b')))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert other.stdout.decode() == str(derive_seed(3, "a", "b")) == str(SEED)


def test_seeds_of_other_names_orders_and_bases_differ() -> None:
    names = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", ""), ("", "a"), ("1",)]
    seeds = [derive_seed(base, *some) for base, some in itertools.product([0, 1, 11, 2**40], names)]
    assert len(set(seeds)) == len(seeds)


def test_seeds_fill_the_range_every_generator_takes() -> None:
    seeds = [derive_seed(0, str(i)) for i in range(1000)]
    assert 0 <= min(seeds) < 0.01 * 2**32
    assert 0.99 * 2**32 < max(seeds) < 2**32
    for seed in (min(seeds), max(seeds)):
        np.random.RandomState(seed)
        np.random.default_rng(seed)
        torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("bits", range(32))
def test_every_bit_of_a_seed_varies(bits: int) -> None:
    share = np.mean([derive_seed(i) >> bits & 1 for i in range(400)])
    assert 0.35 < share < 0.65
