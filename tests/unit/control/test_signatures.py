from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zocket.control.bundles.signatures import check_key, check_signature, signed_text
from zocket.errors import CallerError, InvalidFrame

SHA256 = hashlib.sha256(b"abc").hexdigest()
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
GOOD = base64.b64encode(PRIVATE.sign(signed_text(SHA256))).decode()


def test_what_the_projects_key_signed_is_taken() -> None:
    check_signature(PUBLIC, GOOD, SHA256)
    check_signature(None, None, SHA256)


@pytest.mark.parametrize(
    ("public", "signature", "message"),
    [
        (PUBLIC, None, "takes signed bundles only"),
        (PUBLIC, base64.b64encode(b"x" * 64).decode(), "not the signature"),
        (PUBLIC, "no base64!", "not the signature"),
        (PUBLIC, "", "not the signature"),
        (PUBLIC, base64.b64encode(PRIVATE.sign(SHA256.encode())).decode(), "not the signature"),
        (None, GOOD, "has no signing key"),
    ],
    ids=["none", "another", "no base64", "empty", "of something else", "no key"],
)
def test_anything_else_is_refused(public: str | None, signature: str | None, message: str) -> None:
    with pytest.raises(CallerError, match=message) as refused:
        check_signature(public, signature, SHA256)
    assert refused.value.code == "bad_signature"


def test_a_signature_of_another_bundle_is_refused() -> None:
    with pytest.raises(CallerError, match="not the signature"):
        check_signature(PUBLIC, GOOD, hashlib.sha256(b"abd").hexdigest())


@pytest.mark.parametrize("key", ["", "x", base64.b64encode(b"x" * 31).decode(), "ä"])
def test_what_is_no_public_key_is_refused(key: str) -> None:
    check_key(PUBLIC)
    with pytest.raises(InvalidFrame, match="signingKey"):
        check_key(key)
