"""Errors, by who has to act: the user, one seed, or nobody."""

from typing import Any


class UserError(ValueError):
    """Bad input: one line with the fault, the place, the valid range and the remedy; a stage exits with code 2."""


class SeedFailed(RuntimeError):
    """One seed of a method broke down (a loss went non-finite, a factorisation failed); the other seeds go on."""


class NotApplicable(ValueError):
    """The method or network cannot work on this data set at all; the cell is reported as skipped, with this reason."""


def refuse_masked(name: str, values: Any) -> None:
    """Raise UserError for an array with masked entries: without the mask their hidden values would count."""
    import numpy as np

    if np.ma.is_masked(values):
        raise UserError(f"{name} must have no masked entries, got {values.mask.sum():,}; fill them or drop their rows")
