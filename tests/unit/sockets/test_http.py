"""The request head as a value; properties for what no client should be able to do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.sockets.http import answer, read_request, refusal
from zocket.sockets.port import Refused

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"


def request(line: str = "GET / HTTP/1.1", headers: str = "Host: a\r\n") -> Any:
    return read_request(f"{line}\r\n{headers}\r\n".encode("latin-1"), "1.2.3.4:5")


def status_of(line: str = "GET / HTTP/1.1", headers: str = "Host: a\r\n") -> int:
    with pytest.raises(Refused) as caught:
        request(line, headers)
    return caught.value.status


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("Example.ORG", "example.org"),
        ("example.org:8443", "example.org"),
        ("[::1]:3000", "[::1]"),
        ("[FE80::1]", "[fe80::1]"),
        ("  spaced  ", "spaced"),
        ("", ""),
    ],
)
def test_the_host_is_lower_case_and_without_its_port(header: str, host: str) -> None:
    assert request(headers=f"Host: {header}\r\n").head.host == host


def test_a_request_without_a_host_has_an_empty_one() -> None:
    assert request(headers="X: y\r\n").head.host == ""


@pytest.mark.parametrize(
    ("target", "headers", "token"),
    [
        ("/?token=abc", "", "abc"),
        ("/?a=1&token=a%2Bb%3D&b=2", "", "a+b="),
        ("/?token=", "", None),
        ("/?token=first&token=second", "", "first"),
        ("/", "Authorization: Bearer abc.def\r\n", "abc.def"),
        ("/", "authorization: bearer   abc  \r\n", "abc"),
        ("/", "Authorization: Basic abc\r\n", None),
        ("/", "Authorization: Bearer\r\n", None),
        ("/?token=query", "Authorization: Bearer header\r\n", "query"),
        ("/", "", None),
    ],
)
def test_the_token_comes_from_the_query_or_the_header(target: str, headers: str, token: str | None) -> None:
    assert request(f"GET {target} HTTP/1.1", f"Host: a\r\n{headers}").head.token == token


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b?c=d", "/a/b"),
        ("/a%20b", "/a b"),
        ("http://host/absolute?x", "/absolute"),
        ("/%FF", "/\ufffd"),
        ("//x", "//x"),
    ],
)
def test_the_path_is_decoded_and_has_no_query(target: str, path: str) -> None:
    assert request(f"GET {target} HTTP/1.1").head.path == path


def test_repeated_headers_are_joined_and_names_are_lower_case() -> None:
    headers = request(headers="Host: a\r\nX-One: 1\r\nx-one: 2\r\n").head.headers
    assert headers["x-one"] == "1, 2"


@pytest.mark.parametrize(
    ("query", "metadata"),
    [
        ("", b""),
        ("?metadata=", b""),
        ("?metadata=%7B%22name%22%3A%20%22Ada%22%7D&token=t", b'{"name":"Ada"}'),
        ("?metadata={}&metadata=[]", b"{}"),
    ],
)
def test_the_metadata_are_the_json_object_of_the_query(query: str, metadata: bytes) -> None:
    assert request(f"GET /{query} HTTP/1.1", "Host: a\r\n").head.metadata == metadata


@pytest.mark.parametrize(
    "metadata",
    ["[1]", "7", "{", "%ff", '{"a":"%5Cud800"}', '{"a":"' + 2_048 * "x" + '"}', '{"a":' + 8 * "[" + 8 * "]" + "}"],
)
def test_metadata_that_cannot_be_used_are_refused_with_400(metadata: str) -> None:
    with pytest.raises(Refused) as refused:
        request(f"GET /?metadata={metadata} HTTP/1.1", "Host: a\r\n")
    assert (refused.value.status, refused.value.code) == (400, "invalid_metadata")


def test_neither_token_nor_headers_nor_key_show_in_the_repr() -> None:
    shown = repr(request("GET /?token=s3cret HTTP/1.1", f"Host: a\r\nCookie: c00kie\r\n{UPGRADE}"))
    assert "s3cret" not in shown
    assert "c00kie" not in shown
    assert KEY not in shown


@pytest.mark.parametrize("connection", ["Upgrade", "upgrade", "keep-alive, Upgrade", "UPGRADE , x"])
def test_a_valid_upgrade_has_its_key(connection: str) -> None:
    headers = UPGRADE.replace("Connection: Upgrade", f"Connection: {connection}")
    assert request(headers=f"Host: a\r\n{headers}").key == KEY
    assert request().key is None


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("Version: 13", "Version: 12", 426),
        ("Version: 13", "Version: 13, 8", 426),
        (KEY, "AAAA", 400),
        (KEY, "not base64!", 400),
        (f"Sec-WebSocket-Key: {KEY}\r\n", "", 400),
        (f"Key: {KEY}\r\n", f"Key: {KEY}\r\nSec-WebSocket-Key: {KEY}\r\n", 400),
        ("Connection: Upgrade", "Connection: keep-alive", 400),
    ],
)
def test_an_invalid_upgrade_is_refused(old: str, new: str, status: int) -> None:
    assert old in UPGRADE
    assert status_of(headers="Host: a\r\n" + UPGRADE.replace(old, new)) == status


def test_an_upgrade_needs_get_and_http_1_1() -> None:
    assert status_of("HEAD / HTTP/1.1", UPGRADE) == 405
    assert status_of("GET / HTTP/1.0", UPGRADE) == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
def test_only_get_and_head_are_served(method: str) -> None:
    assert status_of(f"{method} {'a:1' if method == 'CONNECT' else '/'} HTTP/1.1") == 405
    assert request("HEAD / HTTP/1.1").head_only


@pytest.mark.parametrize("header", ["Content-Length: 1", "Transfer-Encoding: chunked", "Content-Length: abc"])
def test_a_body_is_refused(header: str) -> None:
    assert status_of(headers=f"Host: a\r\n{header}\r\n") == 400
    assert request(headers="Content-Length: 0\r\n").key is None


def test_an_answer_has_its_length_and_closes() -> None:
    assert answer(200, "text/plain", b"body").split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: text/plain",
        b"Content-Length: 4",
        b"Cache-Control: no-cache",
        b"X-Content-Type-Options: nosniff",
        b"Connection: close",
        b"",
        b"body",
    ]
    assert answer(200, "text/plain", b"body", head_only=True).endswith(b"Connection: close\r\n\r\n")
    assert answer(799, "text/plain", b"").startswith(b"HTTP/1.1 799 ")


def test_a_refusal_is_json_with_message_and_code() -> None:
    octets = refusal(Refused(426, "upgrade_required", 'needs "13"'))
    assert octets.endswith(b'\r\n\r\n{"error":"needs \\"13\\"","code":"upgrade_required"}')
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in octets
    assert b"\r\nAllow: GET, HEAD\r\n" in refusal(Refused(405, "x", "y"))


def test_a_refusal_can_pass_through_a_context_manager() -> None:
    import contextlib

    @contextlib.contextmanager
    def around() -> Any:
        yield

    with pytest.raises(Refused), around():
        raise Refused(401, "unauthorized", "no")


def outcome(octets: bytes) -> int:
    try:
        read_request(octets, "")
    except Refused as refused:
        return refused.status
    return 200


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_refusal(octets: bytes) -> None:
    assert outcome(octets + b"\r\n\r\n") in (200, 400, 405, 426)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_target_and_header_are_a_request_or_a_refusal(target: bytes, value: bytes) -> None:
    assert outcome(b"GET /" + target + b" HTTP/1.1\r\nAuthorization: " + value + b"\r\n\r\n") in (200, 400, 405, 426)


@pytest.mark.parametrize(
    ("target", "headers", "resume"),
    [
        ("/?resume=abc.d_-%3D", "", "abc.d_-="),
        ("/", "X-Zocket-Resume: abc\r\n", "abc"),
        ("/?resume=query", "x-zocket-resume: header\r\n", "query"),
        ("/?resume=", "", ""),
        ("/", "", ""),
    ],
)
def test_what_resumes_a_session_is_in_the_query_or_a_header_and_in_no_repr(
    target: str, headers: str, resume: str
) -> None:
    head = request(f"GET {target} HTTP/1.1", "Host: a\r\n" + headers).head
    assert head.resume == resume
    assert not resume or resume not in repr(head)


def test_a_call_over_http_resumes_nothing() -> None:
    raw = b"POST /call/a/b/c?resume=abc HTTP/1.1\r\nHost: a\r\nX-Zocket-Resume: abc\r\n\r\n"
    assert read_request(raw, "1.2.3.4:5", max_body_bytes=10).head.resume == ""
