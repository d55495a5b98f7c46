"""How addresses are shown: what a server listens on is not always what a browser can open."""

from __future__ import annotations

from typing import Final

LOOPBACK: Final = "127.0.0.1"
EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 — compared with, not bound to
"""Hosts that mean every address of the machine."""


def local_address(host: str, port: int) -> str:
    """Host and port as a browser of this machine would write them."""
    host = LOOPBACK if host in EVERYWHERE else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
