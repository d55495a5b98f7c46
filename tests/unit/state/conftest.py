"""A turn that is checked from every side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest

from tests.property.test_state_turns import read
from zocket.state import apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.state import Document


@pytest.fixture
def turn() -> Callable[..., Any]:
    """Run a change in a turn; return its operations, which must lead from the old snapshot to the new one."""

    def run(document: Document[Any], change: Callable[[Any], object]) -> Any:
        before = json.loads(document.snapshot())
        document.begin()
        change(document.state)
        document._snapshot = None
        assert json.loads(document.snapshot()) == before, "an open turn shows in a snapshot"
        patches = document.commit()
        operations = read(patches)
        assert jsonpatch.apply_patch(before, operations) == json.loads(document.snapshot())
        assert apply(before, read(patches, append=True)) == json.loads(document.snapshot())
        return operations

    return run


@pytest.fixture
def undone() -> Callable[..., None]:
    """Run a change in a turn and roll it back: the snapshot must be the same, byte by byte."""

    def run(document: Document[Any], change: Callable[[Any], object]) -> None:
        before = document.snapshot()
        document.begin()
        change(document.state)
        document.rollback()
        document._snapshot = None
        assert document.snapshot() == before

    return run
