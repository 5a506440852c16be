"""Figures are made and not rendered here: a stage's own are their names, and tests/reporting renders every one."""

from typing import IO, Any

import pytest
from matplotlib.figure import Figure


@pytest.fixture(autouse=True)
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write an empty file in place of an image or a page."""

    def write_nothing(self: Figure, file: IO[bytes], **_: Any) -> None:
        file.write(b"")

    monkeypatch.setattr(Figure, "savefig", write_nothing)
