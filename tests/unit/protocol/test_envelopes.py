"""Envelopes around frames: spliced on one side, decoded on the other."""

from __future__ import annotations

import json

import msgspec
import pytest

from zocket.ids import Scope
from zocket.protocol import envelopes, frames

SCOPE = Scope("acme", "chat")
WIRE = envelopes.WireScope("acme", "chat")
CALL = b'{"type":"rpc","id":1,"actor":"room","actorId":"a","method":"m","input":{"x" : 1}}'


def test_an_inbound_envelope_is_read_as_it_was_spliced() -> None:
    head = envelopes.inbound_head(SCOPE, "s_1", 'ada"', b'{"sub":"ada"}', "g_1", "r.")
    inbound = envelopes.decode_inbound(envelopes.inbound(head, 7, CALL))
    assert (inbound.scope, inbound.session_id, inbound.user_id) == (WIRE, "s_1", 'ada"')
    assert (inbound.request_id, inbound.gateway, bytes(inbound.claims)) == ("r.7", "g_1", b'{"sub":"ada"}')
    assert isinstance(inbound.message, frames.Rpc)
    assert bytes(inbound.message.input) == b'{"x" : 1}'


def test_without_a_gateway_the_envelope_has_only_the_request_id_beyond_the_contract() -> None:
    head = envelopes.inbound_head(SCOPE, "s_1", None, b"null", None, "r.")
    assert json.loads(envelopes.inbound(head, 1, CALL)) == {
        "scope": {"workspaceId": "acme", "projectId": "chat"},
        "sessionId": "s_1",
        "userId": None,
        "claims": None,
        "requestId": "r.1",
        "message": json.loads(CALL),
    }


def test_an_envelope_of_an_existing_gateway_is_read() -> None:
    payload = {
        "scope": {"workspaceId": "acme", "projectId": "chat", "region": "x"},
        "sessionId": "abc",
        "userId": None,
        "claims": {},
        "message": {"type": "state:sub", "actor": "room", "actorId": "a"},
        "sentAt": 1,
    }
    inbound = envelopes.decode_inbound(json.dumps(payload).encode())
    assert inbound.message == frames.StateSub("room", "a")
    assert (inbound.request_id, inbound.gateway) == (None, None)


def test_an_outbound_envelope_is_read_as_it_was_spliced() -> None:
    payload = envelopes.outbound(envelopes.outbound_head(SCOPE, "s_1"), b'{"type":"event"}')
    outbound = envelopes.decode_outbound(payload)
    assert (outbound.scope, outbound.session_id, bytes(outbound.message)) == (WIRE, "s_1", b'{"type":"event"}')
    assert json.loads(payload).keys() == {"scope", "sessionId", "message"}


def test_a_batch_is_read_in_the_order_it_was_made() -> None:
    scope = envelopes.encode(envelopes.wire_scope(SCOPE))
    batch = envelopes.decode_batch(
        envelopes.batch(
            scope,
            [
                envelopes.delivery(envelopes.session_list(["s_1", "s_2"]), b'{"n":1}'),
                envelopes.delivery(envelopes.session_list(["s_1"]), b'{"n":2}'),
            ],
        )
    )
    assert batch.scope == WIRE
    assert [(d.sessions, bytes(d.message)) for d in batch.deliveries] == [
        (["s_1", "s_2"], b'{"n":1}'),
        (["s_1"], b'{"n":2}'),
    ]
    assert not batch.lapsed


def test_a_batch_says_that_a_gateway_was_taken_for_dead() -> None:
    scope = envelopes.encode(envelopes.wire_scope(SCOPE))
    batch = envelopes.decode_batch(envelopes.batch(scope, (), b'"e_1"', lapsed=True))
    assert (batch.scope, batch.epoch, batch.deliveries, batch.lapsed) == (WIRE, "e_1", [], True)


def test_notices_are_read_as_they_were_written() -> None:
    connected = envelopes.SessionConnected(WIRE, "s_1", None, 5)
    assert envelopes.decode_connected(envelopes.encode(connected)) == connected
    disconnected = envelopes.SessionDisconnected(WIRE, "s_1", 6)
    assert envelopes.decode_disconnected(envelopes.encode(disconnected)) == disconnected
    announcement = envelopes.Announcement(WIRE, "e_1", ["room"], "host:1")
    assert envelopes.decode_announcement(envelopes.encode(announcement)) == announcement


def test_a_notice_of_an_existing_gateway_needs_no_time() -> None:
    payload = b'{"scope":{"workspaceId":"acme","projectId":"chat"},"sessionId":"s_1"}'
    assert envelopes.decode_disconnected(payload).session_id == "s_1"


@pytest.mark.parametrize("payload", [b"{}", b"[]", b'{"scope":{},"sessionId":"s"}', b'{"sessionId":1}'])
def test_what_is_no_envelope_is_an_error(payload: bytes) -> None:
    for decode in (envelopes.decode_inbound, envelopes.decode_outbound, envelopes.decode_batch):
        with pytest.raises(msgspec.DecodeError):
            decode(payload)
