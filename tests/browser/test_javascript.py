"""The module that servers give to pages as `/zocket.js`, in a real browser; its own tests are in clients/js/test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.browser.conftest import Site, Tabs

    Browse = Callable[[], AbstractAsyncContextManager[Tabs]]
    Start = Callable[[str, str], Awaitable[Site]]

pytestmark = [pytest.mark.browser, pytest.mark.realtime]

CLIENT = """async () => {
    const { createClient, gatewayUrl } = await import("/zocket.js");
    globalThis.client = createClient({ url: await gatewayUrl(), rpcTimeoutMs: 60_000 });
    globalThis.counter = client.counter("of this test");
    globalThis.counts = [];
    globalThis.stop = counter.state.subscribe(({ count }) => counts.push(count));
}"""


async def test_a_client_calls_watches_aborts_and_finds_its_server_again(start: Start, browse: Browse) -> None:
    site = await start("serve", "counter")
    async with browse() as tabs:
        page = await tabs.open(site.url)
        await page.evaluate(CLIENT)
        assert await page.evaluate("counter.add({ amount: 3 })") == 3
        assert await page.evaluate("counter.add()") == 4
        assert await page.evaluate("[client.status, [...new Set(counts)]]") == ["open", [0, 3, 4]]

        aborted = "counter.add({}, { signal: AbortSignal.abort() }).catch((error) => error.name)"
        assert await page.evaluate(aborted) == "AbortError"
        refused = "counter.add({ amount: 1000 }).catch((error) => [error.name, error.code])"
        assert await page.evaluate(refused) == ["ZocketError", "validation_failed"]
        assert await page.evaluate("counter.state.getSnapshot().count") == 4

        await site.kill_and_restart()
        assert await page.evaluate("counter.add({ amount: 1 }, { idempotencyKey: true })") == 1
        await page.wait_for_function("counts.at(-1) === 1")
        await page.evaluate("stop()")
        assert await page.evaluate("counter.state.getSnapshot()") is None
        await page.evaluate("client.close()")
