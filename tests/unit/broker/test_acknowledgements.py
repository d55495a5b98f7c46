from __future__ import annotations

import asyncio

import pytest

from zocket.broker.acknowledgements import PublishWindow, read_sequence, read_stored
from zocket.broker.jetstream import ServerError
from zocket.errors import Conflict, Overloaded, TooLarge, Unavailable, ZocketError

NO_RESPONDERS = b"NATS/1.0 503\r\n\r\n"


async def test_each_publish_is_answered_once_by_its_number() -> None:
    window = PublishWindow(asyncio.get_running_loop())
    outcomes: list[tuple[str, ZocketError | None]] = []
    first = window.add(lambda error: outcomes.append(("first", error)), "a.B", read_stored)
    second = window.add(lambda error: outcomes.append(("second", error)), "a.C", read_stored)
    window.answered(second, b'{"stream":"S","seq":1}', None)
    window.answered(second, b'{"stream":"S","seq":1}', None)
    window.answered(99, b"", None)
    assert outcomes == [("second", None)]
    assert len(window) == 1
    window.answered(first, b'{"stream":"S","seq":1,"duplicate":true}', None)
    assert outcomes[1:] == [("first", None)]
    window.fail("closing")
    assert len(outcomes) == 2


@pytest.mark.parametrize(
    ("payload", "header", "kind"),
    [
        (b"", NO_RESPONDERS, Unavailable),
        (b'{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}', None, Overloaded),
        (b'{"error":{"code":400,"err_code":10054,"description":"message size"}}', None, TooLarge),
        (b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}}', None, Conflict),
        (b'{"error":{"code":500,"err_code":1,"description":"?"}}', None, Unavailable),
        (b'{"error":', None, Unavailable),
    ],
)
async def test_a_refusal_becomes_one_of_our_errors(payload: bytes, header: bytes | None, kind: type) -> None:
    window = PublishWindow(asyncio.get_running_loop())
    outcomes: list[ZocketError | None] = []
    window.answered(window.add(outcomes.append, "a", read_stored), payload, header)
    assert isinstance(outcomes[0], kind)
    window.fail("end")


async def test_what_is_not_answered_in_time_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.broker.acknowledgements.ACK_TIMEOUT_S", 0.02)
    monkeypatch.setattr("zocket.broker.acknowledgements.SWEEP_S", 0.005)
    window = PublishWindow(asyncio.get_running_loop())
    done: asyncio.Future[ZocketError | None] = asyncio.get_running_loop().create_future()
    window.add(done.set_result, "a", read_stored)
    outcome = await asyncio.wait_for(done, 5)
    assert isinstance(outcome, Unavailable)
    assert len(window) == 0


async def test_settled_waits_for_what_is_under_way_and_for_nothing_later() -> None:
    window = PublishWindow(asyncio.get_running_loop())
    await window.settled()
    first, second = (window.add(lambda _: None, subject, read_stored) for subject in ("a", "b"))
    waiting = asyncio.ensure_future(window.settled())
    await asyncio.sleep(0)
    later = window.add(lambda _: None, "c", read_stored)
    still = asyncio.ensure_future(window.settled())
    window.answered(second, b'{"seq":2}', None)
    await asyncio.sleep(0)
    assert not waiting.done()
    window.answered(first, b'{"seq":1}', None)
    await waiting
    await asyncio.sleep(0)
    assert not still.done()
    window.refuse("c")
    await still
    window.add(lambda _: None, "d", read_stored)
    given_up, failed = asyncio.ensure_future(window.settled()), asyncio.ensure_future(window.settled())
    await asyncio.sleep(0)
    given_up.cancel()
    window.fail("the connection is lost")
    await failed
    assert later == 3


async def test_a_callback_that_raises_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    window = PublishWindow(asyncio.get_running_loop())
    outcomes: list[ZocketError | None] = []

    def fail(_: ZocketError | None) -> None:
        raise RuntimeError("planted")

    window.add(fail, "a", read_stored)
    window.add(outcomes.append, "a", read_stored)
    window.fail("gone")
    assert isinstance(outcomes[0], Unavailable)
    assert "planted" in caplog.text


async def test_a_refused_subject_ends_its_publishes_and_no_others() -> None:
    window = PublishWindow(asyncio.get_running_loop())
    refused: list[ZocketError | None] = []
    others: list[ZocketError | None] = []
    for subject, outcomes in (("a.B", refused), ("a.c", others), ("a.B", refused)):
        window.add(outcomes.append, subject, read_stored)
    window.refuse("a.B")
    assert [type(error) for error in refused] == [Unavailable, Unavailable]
    assert others == []
    assert len(window) == 1
    window.fail("over")


@pytest.mark.parametrize(
    ("payload", "header", "outcome"),
    [
        (b'{"stream":"KV_b","seq":17}', None, 17),
        (
            b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"KV_b"}',
            None,
            Conflict,
        ),
        (b'{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}', None, Overloaded),
        (b"", NO_RESPONDERS, ServerError),
        (b"{", None, Unavailable),
    ],
)
def test_an_answer_is_the_sequence_or_a_refusal(payload: bytes, header: bytes | None, outcome: int | type) -> None:
    read = read_sequence(payload, header)
    assert read == outcome if isinstance(outcome, int) else isinstance(read, outcome)
