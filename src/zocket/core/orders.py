"""What a turn asks of its surroundings besides frames: a timer, a reminder, a one-way call.

Rules: an order is noted while the turn runs and carried out after it has committed, a durable instance's after it is
stored; a turn that fails has ordered nothing.
"""

from __future__ import annotations

from typing import ClassVar


class Order:
    """Base of all orders; whoever carries out a kind of them registers at the host (`Host.carry_out`).

    Attributes:
        stored: whether a durable instance must store its record for it, whatever else the turn changed.
    """

    __slots__ = ()

    stored: ClassVar[bool] = False
