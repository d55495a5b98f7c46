from __future__ import annotations

import asyncio

from zocket.control.orchestration.words import HOLD_S, Words
from zocket.testing.clock import VirtualClock


def words() -> Words:
    return Words(VirtualClock(), asyncio.Event())


async def test_a_word_stays_and_whoever_asks_late_hears_it() -> None:
    said = words()
    said.say("d", "activate")
    first = await said.wait("d")
    assert first[0] == "activate"
    assert await said.wait("d") == first


async def test_a_question_is_held_back_until_there_is_another_word_than_wait() -> None:
    said = words()
    said.say("d", "wait")
    asked = asyncio.ensure_future(said.wait("d"))
    await asyncio.sleep(HOLD_S / 2)
    said.say("other", "activate")
    await asyncio.sleep(1)
    assert not asked.done()
    said.say("d", "activate")
    assert (await asked)[0] == "activate"


async def test_a_word_that_is_heeded_already_is_only_heard_once_it_is_said_again() -> None:
    said = words()
    said.say("d", "activate")
    _, turn = await said.wait("d")
    asked = asyncio.ensure_future(said.wait("d", turn))
    await asyncio.sleep(1)
    said.say("d", "wait")  # a takeover has begun: nothing for the one that serves
    await asyncio.sleep(1)
    assert not asked.done()
    said.say("d", "activate")
    assert await asked == ("activate", turn + 2)


async def test_a_question_without_an_answer_is_answered_with_wait_after_a_while() -> None:
    said = words()
    said.say("d", "wait")
    began = asyncio.get_running_loop().time()
    assert (await said.wait("d"))[0] == "wait"
    assert asyncio.get_running_loop().time() - began == HOLD_S


async def test_a_deployment_without_a_word_is_to_end_and_the_end_of_the_process_holds_nobody_back() -> None:
    closing = asyncio.Event()
    said = Words(VirtualClock(), closing)
    assert (await said.wait("unknown"))[0] == "stop"
    said.say("d", "wait")
    asked = asyncio.ensure_future(said.wait("d"))
    await asyncio.sleep(0)
    closing.set()
    assert (await asked)[0] == "wait"
    said.forget("d")
    assert (await said.wait("d"))[0] == "stop"


async def test_numbers_of_a_later_process_are_other_ones() -> None:
    clock = VirtualClock()
    before = Words(clock, asyncio.Event())
    before.say("d", "activate")
    await clock.sleep(1)
    after = Words(clock, asyncio.Event())
    after.say("d", "activate")
    assert (await before.wait("d"))[1] != (await after.wait("d"))[1]
