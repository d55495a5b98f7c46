"""One HTTP request head as a value, and answers as bytes; no I/O.

Rules: what cannot be served is a `Refused` with its status; the query never leaves this file except for the token and
what `metadata_of` takes of it; every answer closes the connection.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote

import httptools
import msgspec

from zocket.sockets.metadata import metadata_of
from zocket.sockets.port import Head, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JSON: Final = "application/json"
"""Media type of every error."""

MAX_QUERY_FIELDS: Final = 100
"""Fields of a query; two are used (`token`, `metadata`)."""

_EXTRA_HEADERS: Final = {
    405: "Allow: GET, HEAD\r\n",
    426: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A GET or HEAD without a body.

    Attributes:
        head: who asks, and for what path.
        head_only: the method is HEAD.
        key: the WebSocket key of an upgrade request, else None.
    """

    head: Head
    head_only: bool
    key: str | None = field(repr=False)


class _Collected:
    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def read_request(raw: bytes, remote: str) -> Request:
    """The request whose head is `raw`, up to and with its empty line.

    Raises:
        Refused: it is malformed, has a method or a body that nobody takes, or is no valid WebSocket upgrade.
    """
    collected = _Collected()
    parser = httptools.HttpRequestParser(collected)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        raise _malformed("this is no HTTP request") from None
    if not collected.complete:
        raise _malformed("this is no HTTP request")
    method = parser.get_method()
    if method not in (b"GET", b"HEAD"):
        raise Refused(405, "method_not_allowed", "only GET and HEAD are served here")
    headers = _headers(collected.headers)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _malformed("a request body is not accepted")
    path, query = _target(collected.url)
    fields = _fields(query)
    head = Head(
        path=path,
        host=_host(headers.get("host", "")),
        token=_token(fields, headers),
        metadata=metadata_of(fields),
        remote=remote,
        headers=headers,
    )
    key = None
    if "websocket" in _tokens(headers.get("upgrade", "")):
        key = _upgrade_key(method, parser.get_http_version(), headers)
    return Request(head, method == b"HEAD", key)


def answer(status: int, content_type: str, body: bytes, *, head_only: bool = False) -> bytes:
    """A whole HTTP answer."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    head = (
        f"HTTP/1.1 {status} {phrase}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-cache\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"{_EXTRA_HEADERS.get(status, '')}"
        "Connection: close\r\n\r\n"
    ).encode("latin-1")
    return head if head_only else head + body


def refusal(refused: Refused, *, head_only: bool = False) -> bytes:
    """The answer to a request that is refused."""
    body = msgspec.json.encode({"error": refused.message, "code": refused.code})
    return answer(refused.status, JSON, body, head_only=head_only)


def _malformed(message: str) -> Refused:
    return Refused(400, "bad_request", message)


def _headers(pairs: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        if name in headers:
            if name == "host":
                raise _malformed("there is more than one Host header")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _target(url: bytes) -> tuple[str, str]:
    try:
        parsed = httptools.parse_url(url)
        path, query = (parsed.path or b"/").decode(), (parsed.query or b"").decode()
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise _malformed("the request target is no URL") from None
    return unquote(path), query


def _fields(query: str) -> Mapping[str, Sequence[str]]:
    try:
        return parse_qs(query, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise _malformed("the query has too many fields") from None


def _token(fields: Mapping[str, Sequence[str]], headers: Mapping[str, str]) -> str | None:
    if "token" in fields:
        return fields["token"][0]
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() or None if scheme.lower() == "bearer" else None


def _host(header: str) -> str:
    """The host in lower case without its port; the brackets of an IPv6 address stay."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[: host.find("]") + 1] or host
    return host.partition(":")[0]


def _tokens(header: str) -> list[str]:
    return [part.strip().lower() for part in header.split(",")]


def _upgrade_key(method: bytes, version: str, headers: Mapping[str, str]) -> str:
    """The key of a valid upgrade request (RFC 6455, section 4.2.1)."""
    if method != b"GET":
        raise Refused(405, "method_not_allowed", "a WebSocket is opened with GET")
    if version != "1.1" or "upgrade" not in _tokens(headers.get("connection", "")):
        raise _malformed("a WebSocket upgrade needs HTTP/1.1 and `Connection: Upgrade`")
    if headers.get("sec-websocket-version") != "13":
        raise Refused(426, "upgrade_required", "only WebSocket version 13 is spoken here")
    key = headers.get("sec-websocket-key", "")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        raise _malformed("Sec-WebSocket-Key is missing or no base64 of 16 bytes")
    return key
