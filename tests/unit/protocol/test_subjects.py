"""Subjects and names on NATS, as the contract has them."""

from __future__ import annotations

import pytest

from zocket.errors import InvalidId
from zocket.ids import Scope
from zocket.protocol import subjects

SCOPE = Scope("acme", "chat")


def test_subjects_are_those_of_the_contract() -> None:
    assert subjects.inbound(SCOPE, "room", "general") == "inbound.acme.chat.room.general"
    assert subjects.inbound_filter(SCOPE, "room") == "inbound.acme.chat.room.>"
    assert subjects.outbound(SCOPE, "s_1") == "outbound.acme.chat.s_1"
    assert subjects.connected(SCOPE) == "session.connected.acme.chat"
    assert subjects.disconnected(SCOPE) == "session.disconnected.acme.chat"
    assert subjects.announcement(SCOPE) == "runtime.announce.acme.chat"


def test_the_consumer_has_the_exact_name() -> None:
    """R5, the name."""
    assert subjects.consumer(SCOPE, "room") == "rt-acme-chat-room"


def test_additions_are_tenant_scoped_like_the_rest() -> None:
    assert subjects.gateway(SCOPE, "g_1") == "gateway.acme.chat.g_1"
    assert subjects.gateway_filter("g_1") == "gateway.*.*.g_1"
    assert subjects.discovery(SCOPE) == "runtime.discover.acme.chat"
    assert subjects.rewritten(SCOPE) == "runtime.rewritten.acme.chat"
    assert subjects.owner_key(SCOPE) == "acme.chat"


@pytest.mark.parametrize("actor_id", ["general", "a b", "a.b", "*", ">", "$JS", "ü", "%41", "a/b:c@d"])
def test_an_instance_ends_its_inbound_subject(actor_id: str) -> None:
    subject = subjects.inbound_prefix(SCOPE) + subjects.instance("room", actor_id)
    assert subject == subjects.inbound(SCOPE, "room", actor_id)
    assert subject.count(".") == 4


@pytest.mark.parametrize(
    ("actor", "actor_id"), [("a.b", "x"), ("", "x"), ("room", ""), ("room", "x" * 257), (">", "x")]
)
def test_an_instance_that_may_not_be_used_has_no_subject(actor: str, actor_id: str) -> None:
    for _ in range(2):
        with pytest.raises(InvalidId):
            subjects.instance(actor, actor_id)


@pytest.mark.parametrize(
    ("subject", "actor_id", "expected"),
    [
        ("inbound.acme.chat.room.general", "general", True),
        ("inbound.acme.chat.room.a%2Eb", "a.b", True),
        ("inbound.acme.chat.room.a.b", "a.b", True),
        ("inbound.acme.chat.room.a%2Eb", "a%2Eb", True),
        ("inbound.acme.chat.room.general", "other", False),
        ("inbound.acme.other.room.general", "general", False),
        ("inbound.rival.chat.room.general", "general", False),
        ("inbound.acme.chat.board.general", "general", False),
        ("outbound.acme.chat.room.general", "general", False),
    ],
)
def test_an_envelope_and_its_subject_agree_by_token_or_raw_id(subject: str, actor_id: str, expected: bool) -> None:
    assert subjects.agrees(subject, SCOPE, "room", actor_id) is expected
