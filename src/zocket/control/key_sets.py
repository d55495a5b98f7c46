"""Public keys of `jwt-jwks` projects, fetched from a URL that a customer wrote into the configuration.

Rules: that URL must not reach into our own network: https only, and every address the name resolves to is checked by
the code that connects, on the very address that it connects to (a second look-up could answer differently). No
redirects; bounded in size and time; cached, also a failure for a moment, so that a flood of bad tokens causes no
flood of requests. Symmetric keys of a set are never used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpcore
import jwt
import msgspec

from zocket.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from zocket.clock import Clock

REFRESH_S: Final = 300.0
"""Age at which a set is fetched again: a withdrawn key is refused five minutes later."""
EXPIRE_S: Final = 900.0
"""Age at which a set is no longer used, if its server has not answered since."""
RETRY_S: Final = 10.0
"""Least time between two fetches of one set, also for an unknown key id or after a failure."""
FETCH_TIMEOUT_S: Final = 5.0
"""A slower key server counts as away; a client waits for its upgrade meanwhile."""
MAX_SET_BYTES: Final = 262_144
"""Largest key set; a usual one has 2-5 kB."""
MAX_SETS: Final = 1_000
"""Key sets that are remembered; the oldest goes first."""

log = logging.getLogger("zocket.control")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also when it is written as IPv6 around an IPv4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


@dataclass(slots=True)
class _KeySet:
    keys: list[dict[str, Any]] = field(default_factory=list)
    fetched_at: float = 0.0
    tried_at: float = 0.0
    failure: str = ""


class KeySets:
    """The cached key sets of every project.

    Args:
        clock: ages the cache.
        allow: which addresses may be connected to.
        context: TLS settings; by default those of the machine.
    """

    def __init__(
        self, clock: Clock, *, allow: Callable[[str], bool] = is_public, context: ssl.SSLContext | None = None
    ) -> None:
        self._clock = clock
        self._allow = allow
        self._context = context
        self._sets: dict[str, _KeySet] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def keys(self, url: str, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
        """The keys of a set that may have signed a token with this header; fetched again for an unknown key id.

        Raises:
            Unavailable: the set cannot be fetched.
        """
        known = await self._current(url, max_age_s=REFRESH_S)
        found = list(_matching(known.keys, key_id, algorithm))
        if not found and key_id is not None:
            known = await self._current(url, max_age_s=RETRY_S)
            found = list(_matching(known.keys, key_id, algorithm))
        return found

    async def _current(self, url: str, max_age_s: float) -> _KeySet:
        async with self._locks.setdefault(url, asyncio.Lock()):
            known = self._sets.get(url)
            now = self._clock.now()
            if known is None or (now - known.fetched_at >= max_age_s and now - known.tried_at >= RETRY_S):
                known = await self._refresh(url, known or _KeySet(fetched_at=now - EXPIRE_S))
            if known.failure and now - known.fetched_at >= EXPIRE_S:
                raise Unavailable(known.failure)
            return known

    async def _refresh(self, url: str, known: _KeySet) -> _KeySet:
        known.tried_at = self._clock.now()
        self._sets[url] = known
        while len(self._sets) > MAX_SETS:
            oldest = next(iter(self._sets))
            del self._sets[oldest]
            self._locks.pop(oldest, None)
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                known.keys = _parse(await self._fetch(url))
        except (httpcore.TimeoutException, TimeoutError):
            known.failure = "the project's key set did not answer in time"
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            known.failure = f"the project's key set cannot be fetched: {error or type(error).__name__}"
        except _Refused as error:
            known.failure = f"the project's key set cannot be used: {error}"
        else:
            known.fetched_at, known.failure = self._clock.now(), ""
            return known
        log.warning("key set not fetched", extra={"host": urlsplit(url).hostname, "reason": known.failure})
        return known

    async def _fetch(self, url: str) -> bytes:
        if urlsplit(url).scheme != "https":
            raise _Refused("its URL is not https")
        context = self._context or await asyncio.to_thread(ssl.create_default_context)
        backend = _GuardedBackend(self._allow)
        async with httpcore.AsyncConnectionPool(ssl_context=context, network_backend=backend) as pool:
            headers = [("accept", "application/json"), ("host", urlsplit(url).netloc)]
            async with pool.stream("GET", url, headers=headers) as response:
                if response.status != 200:
                    raise _Refused(f"its server answers {response.status} (redirects are not followed)")
                body = bytearray()
                async for chunk in response.aiter_stream():
                    body += chunk
                    if len(body) > MAX_SET_BYTES:
                        raise _Refused(f"it is larger than {MAX_SET_BYTES} bytes")
                return bytes(body)


class _Refused(Exception):
    """The set itself is at fault."""


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that are allowed, having resolved the name itself."""

    def __init__(self, allow: Callable[[str], bool]) -> None:
        self._allow = allow
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See the base class; `host` is replaced by the address that was checked."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
        if not addresses or not all(map(self._allow, addresses)):
            raise _Refused("its host is not on the public internet")
        return await self._inner.connect_tcp(addresses[0], port, timeout, local_address, socket_options)


def _parse(body: bytes) -> list[dict[str, Any]]:
    try:
        keys = msgspec.json.decode(body, type=_Document).keys
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Refused("it is no JSON object with a list of keys") from error
    return [key for key in keys if key.get("kty") != "oct" and key.get("use", "sig") == "sig"]


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


def _matching(keys: Sequence[dict[str, Any]], key_id: str | None, algorithm: str) -> Iterable[jwt.PyJWK]:
    for key in keys:
        if key_id is not None and key.get("kid") != key_id:
            continue
        if key.get("alg", algorithm) != algorithm:
            continue
        try:
            yield jwt.PyJWK(key, algorithm)
        except jwt.PyJWTError:
            continue
