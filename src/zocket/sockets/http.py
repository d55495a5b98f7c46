"""One HTTP request head as a value, and answers as bytes; no I/O.

Rules: what cannot be served is a `Refused` with its status; the query never leaves this file except for the tokens and
what `metadata_of` takes of it; every answer closes the connection. A body is taken by calls alone, and only if its
length is told before.
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

from zocket.protocol.http_calls import PREFIX
from zocket.sockets.calls import CALL_METHODS
from zocket.sockets.metadata import metadata_of
from zocket.sockets.port import Head, Refused
from zocket.sockets.resumption import resume_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

JSON: Final = "application/json"
"""Media type of every error."""

MAX_LENGTH_DIGITS: Final = 15
"""Of a Content-Length that is looked at as a number."""

MAX_QUERY_FIELDS: Final = 100
"""Fields of a query; three are used (`token`, `metadata`, `resume`)."""

_NO_FIELDS: Final[Mapping[str, Sequence[str]]] = {}
_EXTRA_HEADERS: Final = {
    405: "Allow: GET, HEAD\r\n",
    426: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A GET or HEAD without a body, or a call.

    Attributes:
        head: who asks, and for what path.
        method: in upper case.
        key: the WebSocket key of an upgrade request, else None.
        path: of a call as it stands in the request line, "" for everything else.
        body_bytes: length of a call's body.
        waits: the client sends the body once it is told to (`Expect: 100-continue`).
    """

    head: Head
    method: str
    key: str | None = field(repr=False)
    path: str = ""
    body_bytes: int = 0
    waits: bool = False

    @property
    def head_only(self) -> bool:
        """Whether the answer has no body."""
        return self.method == "HEAD"


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


def read_request(raw: bytes, remote: str, *, max_body_bytes: int = -1) -> Request:
    """The request whose head is `raw`, up to and with its empty line.

    Args:
        raw: the head.
        remote: who asks, for the log.
        max_body_bytes: of calls; they are not served if it is negative.

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
    method = parser.get_method().decode("latin-1")
    headers = _headers(collected.headers)
    calls = max_body_bytes >= 0 and collected.url.startswith(PREFIX.encode())
    if calls and method not in CALL_METHODS:
        raise Refused(405, "method_not_allowed", "a call is made with POST", (("Allow", ", ".join(CALL_METHODS)),))
    if not calls and method not in ("GET", "HEAD"):
        raise Refused(405, "method_not_allowed", "only GET and HEAD are served here")
    raw_path, path, query = _target(collected.url)
    fields = _fields(query)
    head = Head(
        path=path,
        host=_host(headers.get("host", "")),
        token=_token(fields, headers),
        metadata=metadata_of(fields),
        resume="" if calls else resume_of(fields, headers),
        remote=remote,
        headers=headers,
    )
    if calls:
        waits = headers.get("expect", "").lower() == "100-continue"
        return Request(head, method, None, raw_path, _body_bytes(headers, max_body_bytes), waits)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _malformed("a request body is not accepted")
    key = None
    if "websocket" in _tokens(headers.get("upgrade", "")):
        key = _upgrade_key(method, parser.get_http_version(), headers)
    return Request(head, method, key)


CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Tells a client that waits to send its body."""


def _body_bytes(headers: Mapping[str, str], limit: int) -> int:
    if "transfer-encoding" in headers:
        raise Refused(411, "length_required", "a body needs a Content-Length")
    text = headers.get("content-length", "0")
    if not text.isdecimal() or not text.isascii():
        raise _malformed("Content-Length is no number")
    if len(text) > MAX_LENGTH_DIGITS or int(text) > limit:
        raise Refused(413, "too_large", f"a body may have {limit} bytes")
    return int(text)


def answer(
    status: int,
    content_type: str,
    body: bytes,
    *,
    head_only: bool = False,
    headers: Iterable[tuple[str, str]] = (),
) -> bytes:
    """A whole HTTP answer; `headers` in addition to those of every answer, instead of those of its status."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers) or _EXTRA_HEADERS.get(status, "")
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
        f"{more}"
        "Connection: close\r\n\r\n"
    ).encode("latin-1")
    return head if head_only else head + body


def refusal(refused: Refused, *, head_only: bool = False) -> bytes:
    """The answer to a request that is refused."""
    body = msgspec.json.encode({"error": refused.message, "code": refused.code})
    return answer(refused.status, JSON, body, head_only=head_only, headers=refused.headers)


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


def _target(url: bytes) -> tuple[str, str, str]:
    """The path as it stands there, the path, and the query."""
    try:
        parsed = httptools.parse_url(url)
        path, query = (parsed.path or b"/").decode(), (parsed.query or b"").decode()
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise _malformed("the request target is no URL") from None
    return path, unquote(path), query


def _fields(query: str) -> Mapping[str, Sequence[str]]:
    if not query:
        return _NO_FIELDS
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


def _upgrade_key(method: str, version: str, headers: Mapping[str, str]) -> str:
    """The key of a valid upgrade request (RFC 6455, section 4.2.1)."""
    if method != "GET":
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
