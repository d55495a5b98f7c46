"""Allow lists: of one project alone, and without a wildcard that reaches further."""

from __future__ import annotations

import pytest

from zocket.broker.matching import matches
from zocket.broker.permissions import gateway_permissions, runtime_permissions
from zocket.errors import InvalidId
from zocket.ids import Scope
from zocket.protocol import subjects

OURS, THEIRS = Scope("ws", "proj"), Scope("ws", "other")


def test_two_projects_share_nothing_but_what_a_stream_is() -> None:
    ours, theirs = (runtime_permissions(scope, ["chat", "lobby"]) for scope in (OURS, THEIRS))
    shared = {f"$JS.API.STREAM.INFO.{stream}" for stream in ("INBOUND", "OUTBOUND", "DEADLETTER")}
    assert set(ours.publish) & set(theirs.publish) == shared
    for pattern in ours.publish:
        if pattern not in shared:
            assert not any(matches(pattern, subject) for subject in theirs.publish), pattern
    for pattern in set(ours.subscribe) - {subjects.ANY_ALIVE}:
        assert not any(matches(pattern, subject) for subject in theirs.subscribe), pattern


def test_no_runtime_makes_or_removes_a_stream() -> None:
    for verb in ("CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE"):
        subject = f"$JS.API.STREAM.{verb}.INBOUND"
        assert not any(matches(pattern, subject) for pattern in runtime_permissions(OURS, ["chat"]).publish)


def test_nobody_may_read_the_inboxes_of_others() -> None:
    users = [gateway_permissions(), runtime_permissions(OURS, ["chat"]), runtime_permissions(THEIRS, ["chat"])]
    for user in users:
        readers = [
            other for other in users if any(matches(item, f"{user.inbox_prefix}.x.1") for item in other.subscribe)
        ]
        assert readers == [user]


def test_an_actor_type_is_checked_before_it_enters_a_subject() -> None:
    with pytest.raises(InvalidId):
        runtime_permissions(OURS, ["*"])
