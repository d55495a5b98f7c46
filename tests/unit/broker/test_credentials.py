"""Who this process is to a server: files, URLs, and what is wrong with them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import nkeys  # type: ignore[import-untyped]
import pytest

from zocket.broker.credentials import Credentials, Servers
from zocket.errors import BootError

if TYPE_CHECKING:
    from pathlib import Path

SEED = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
PUBLIC = nkeys.from_seed(bytearray(SEED)).public_key.decode()


def verified(signature: str, nonce: str) -> bool:
    pair = nkeys.from_seed(bytearray(SEED))
    return bool(pair.verify(nonce.encode(), base64.b64decode(signature)))


def test_a_seed_signs_the_nonce_of_the_server(tmp_path: Path) -> None:
    file = tmp_path / "user.nk"
    file.write_bytes(SEED + b"\n")
    answer = Credentials(seed_file=str(file)).answer("n0nce")
    assert answer["nkey"] == PUBLIC
    assert verified(answer["sig"], "n0nce")


def test_a_credentials_file_gives_its_token_and_a_signature(tmp_path: Path) -> None:
    file = tmp_path / "user.creds"
    file.write_bytes(
        b"-----BEGIN NATS USER JWT-----\r\neyJ0.token.x\r\n------END NATS USER JWT------\r\n\r\n"
        b"-----BEGIN USER NKEY SEED-----\r\n" + SEED + b"\r\n------END USER NKEY SEED------\r\n"
    )
    answer = Credentials(credentials_file=str(file)).answer("n0nce")
    assert answer["jwt"] == "eyJ0.token.x"
    assert "nkey" not in answer
    assert verified(answer["sig"], "n0nce")


@pytest.mark.parametrize("content", [b"", b"SUAnonsense", b"\xff\xfe"])
@pytest.mark.parametrize("kind", ["seed_file", "credentials_file"])
def test_a_file_that_holds_no_credentials_is_named_and_not_shown(tmp_path: Path, kind: str, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(BootError, match=r"secret: holds no") as failure:
        Credentials(**{kind: str(file)}).answer("n0nce")
    assert "nonsense" not in failure.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BootError, match=r"missing: cannot be read \(No such file"):
        Credentials(seed_file=str(tmp_path / "missing")).answer("n0nce")


def test_a_url_gives_its_servers_and_credentials() -> None:
    servers = Servers.parse("nats://a, tls://us%40er:p%2Fw@b:5, c:6, nats://[::1]:7", Credentials(inbox_prefix="_I.x"))
    assert servers.urls == ("nats://a:4222", "tls://b:5", "nats://c:6", "nats://[::1]:7")
    assert servers.credentials == Credentials(user="us@er", password="p/w", inbox_prefix="_I.x")
    assert "p/w" not in repr(servers)
    assert servers.credentials.answer("") == {"user": "us@er", "pass": "p/w"}


def test_credentials_that_were_given_win_over_those_in_the_url() -> None:
    assert Servers.parse("nats://token@a", Credentials(user="u")).credentials.user == "u"
    assert Servers.parse("nats://token@a", Credentials()).credentials.answer("") == {"auth_token": "token"}
