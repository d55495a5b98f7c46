"""Any bytes on the socket port, beside a victim with an open socket: each is answered or closed, it hears nothing."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

STATUS = re.compile(rb"HTTP/1\.1 (101|200|400|401|403|404|405|408|413|426|431|503) ")
LINES = [
    b"Host: a",
    b"Host: victim.example",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Version: 99",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Key: x",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Transfer-Encoding: chunked",
    b"Authorization: Bearer x",
    b"Expect: 100-continue",
    b"X: " + b"x" * 5_000,
    b" folded",
    b"no colon",
    b"\x00: \xff",
]
starts = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"GET /?token=x HTTP/1.1",
        b"POST / HTTP/1.1",
        b"GET http://a/ HTTP/1.1",
        b"GET / HTTP/1.0",
        b"",
    ]
) | st.binary(max_size=30)
lines = st.lists(st.sampled_from(LINES) | st.binary(max_size=20), max_size=8)
after = st.sampled_from([b"", b"\x81\x80abcd", b"\x88\x80abcd", b"\xff" * 20, b"hello", b"GET / HTTP/1.1\r\n\r\n"])
ends = st.sampled_from([b"\r\n\r\n"] * 5 + [b"\r\n", b"\n\n", b""])
requests = st.tuples(starts, lines, ends, after | st.binary(max_size=40)).map(
    lambda parts: b"\r\n".join([parts[0], *parts[1]]) + parts[2] + parts[3]
)
FIRST = b"\x81\x85\x00\x00\x00\x00early"


def test_no_bytes_on_the_port_reach_or_disturb_the_session_of_somebody_else(world: Any, frame: Any) -> None:
    def attack(runner: asyncio.Runner, victim: Any, octets: list[bytes]) -> None:
        runner.run(asyncio.wait_for(attacked(victim, octets), 60))

    async def attacked(victim: Any, attempts: list[bytes]) -> None:
        for octets in attempts:
            raw = await world.raw(upgrade=False)
            await raw.write(octets)
            raw.sock.shutdown(1)
            answer = await raw.read_to_end()
            assert answer == b"" or STATUS.match(answer), answer[:100]
        await victim.write(frame(b"mine"))
        assert await victim.frame() == (1, b"mine")
        assert victim.received == b""
        assert world.sessions[0].frames[-1] == b"mine"
        assert world.sessions[0].closed_count == 0

    with asyncio.Runner() as runner:
        context = world.serve(limits={"head_timeout_s": 0.2})
        runner.run(context.__aenter__())
        victim = runner.run(world.raw())

        @settings(
            max_examples=settings().max_examples // 2,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(st.lists(requests, min_size=1, max_size=4))
        def fuzzed(attempts: list[bytes]) -> None:
            attack(runner, victim, attempts)

        fuzzed()
        assert set(world.sessions[0].frames) == {b"mine"}
        runner.run(context.__aexit__(None, None, None))
