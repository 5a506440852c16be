"""Lines of text on standard output."""

import sys
from collections.abc import Iterable, Sequence


def say(line: str = "") -> None:
    """Write a line for the user."""
    sys.stdout.write(f"{line}\n")


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows of texts as lines with columns one below the other; the last column is as wide as it is."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]
