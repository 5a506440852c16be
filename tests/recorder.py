"""A stand-in for a graphics card where a training's steps are recorded: it takes them, and counts."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


class Recorder:
    """Does what is recorded at once, inside `guard()`, and leaves out the first replay instead."""

    def __init__(self, guard: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext) -> None:
        self.guard = guard
        self.recordings = self.replays = 0

    def __call__(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        self.recordings += 1
        with self.guard():
            names, values = function()
        pending = False

        def replay() -> None:
            nonlocal pending
            self.replays += 1
            if pending:
                values.copy_(function()[1])
            pending = True

        return replay, (names, values)
