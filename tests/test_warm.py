"""The warm `dvc` of the pipeline's tests writes what DVC writes."""

import os
from pathlib import Path

import pytest

from tests.warm import write_locks_fast

LOCK = Path(__file__).parents[1] / "dvc.lock"


def test_a_lock_of_dvcs_is_read_and_written_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.utils.serialize import _yaml

    text = LOCK.read_text(encoding="utf-8")
    slow = _yaml.parse_yaml_for_update(text, os.fspath(LOCK))
    for name in ("parse_yaml_for_update", "_dump"):
        monkeypatch.setattr(_yaml, name, getattr(_yaml, name))
    write_locks_fast()
    fast = _yaml.parse_yaml_for_update(text, os.fspath(LOCK))
    assert type(fast) is dict
    assert fast == slow
    assert _yaml.dumps_yaml(fast) == text
