"""What can go wrong, by who has to act: the user, a single seed, or nobody."""

import inspect
import logging
import sys
from collections.abc import Callable


class UserError(ValueError):
    """Bad input: one line saying what, where, the valid range and the remedy; a stage exits with code 2."""


class SeedFailed(RuntimeError):
    """One seed of a method broke down (a loss went non-finite, a factorisation failed); the other seeds go on."""


class NotApplicable(ValueError):
    """The method or network cannot work on this data set at all; the cell is reported as skipped, with this reason."""


def run_as_script(main: Callable[..., None]) -> None:
    """Call `main` with the command line's arguments; a `UserError` ends in one line on stderr and exit code 2."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("deepclust").setLevel(logging.INFO)
    try:
        try:
            inspect.signature(main).bind(*sys.argv[1:])
        except TypeError as error:
            raise UserError(f"{sys.argv[0]} {' '.join(sys.argv[1:])}: {error}; see the top of that file") from None
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(_complain(error))


def _complain(error: UserError) -> int:
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    return 2
