"""Seeds derived by hashing names, so that no result depends on the order in which things run."""

import hashlib


def derive_seed(base: int, *names: str) -> int:
    """Return a seed in [0, 2**32) that is a function of `base` and `names` alone.

    scikit-learn's `random_state` and the generators of NumPy and PyTorch all accept this range.
    """
    text = "\x1f".join([str(base), *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
