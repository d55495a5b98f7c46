"""How a connection ends whose client may still be sending.

Rules: closing with unread bytes makes the kernel reset the connection, and the client loses what was said last; so the
last word is followed by an end of this side only, and the client's bytes are discarded until it ends too. Whoever says
goodbye limits the time of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def say_goodbye(transport: asyncio.Transport, *, ended: bool = False) -> None:
    """Ends this side of a connection whose protocol discards what it receives.

    Args:
        transport: TLS has no half-closed connections, but its own closing discards input until the client answers.
        ended: the client has ended its side already, so nobody will.
    """
    try:
        if transport.can_write_eof() and not ended:
            transport.write_eof()
        else:
            transport.close()
    except OSError:
        transport.abort()
