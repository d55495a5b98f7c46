"""Signatures of bundles: Ed25519 over the line `zocket bundle SHA256`.

Rules: a project with a key takes only what that key signed; a project without one refuses a signature that it could not
check, so that nobody believes it was.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from zocket.errors import CallerError, InvalidFrame


def signed_text(sha256: str) -> bytes:
    """What is signed for a bundle."""
    return f"zocket bundle {sha256}".encode()


def check_key(text: str) -> None:
    """Refuses what is no public key.

    Raises:
        InvalidFrame: it is none.
    """
    _key(text)


def check_signature(public_key: str | None, signature: str | None, sha256: str) -> None:
    """Refuses a bundle that the project's key did not sign.

    Args:
        public_key: of the project, 32 bytes in base64, or None if it has none.
        signature: as sent, 64 bytes in base64, or None.
        sha256: of the bundle.

    Raises:
        CallerError: (`bad_signature`) it is missing or wrong, or there is no key to check it with.
    """
    if public_key is None:
        if signature is not None:
            raise CallerError(
                "X-Zocket-Signature: the project has no signing key to check it with; set one with "
                "PUT /api/projects/{id}/runtime",
                code="bad_signature",
            )
        return
    if signature is None:
        raise CallerError("X-Zocket-Signature: this project takes signed bundles only", code="bad_signature")
    try:
        _key(public_key).verify(base64.b64decode(signature, validate=True), signed_text(sha256))
    except (InvalidSignature, binascii.Error, ValueError):
        raise CallerError(
            "X-Zocket-Signature: it is not the signature of this bundle by the project's key", code="bad_signature"
        ) from None


def _key(text: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise InvalidFrame("signingKey: expected an Ed25519 public key, 32 bytes in base64") from None
