"""Signing in a command line from a browser (RFC 8628).

Rules: a flow lives ten minutes; its device code is 256 random bits and stored hashed, its user code short and only good
for a signed-in person who asks at a limited rate; the token is made at the moment it is handed out, in the same
transaction that marks the flow as taken, so it leaves exactly once and is stored nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import delete, func, or_, select, update

from zocket.control.credentials import CLI, DEVICE, digest, mint, new_user_code, normal_user_code
from zocket.control.failures import NotFound
from zocket.control.records import CliToken, DeviceFlow, new_id
from zocket.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.control.database import Database

FLOW_MS: Final = 600_000
INTERVAL_S: Final = 2
"""How often a command line asks."""
CLI_TOKEN_MS: Final = 30 * 24 * 3_600_000
"""Life of a CLI token (spec: 30 days)."""
MAX_FLOWS: Final = 10_000
"""Open flows; beyond it nobody can begin one until some have expired."""


@dataclass(frozen=True, slots=True)
class Started:
    """What the command line gets: `device_code` for itself, `user_code` for the person."""

    device_code: str
    user_code: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a flow is; the token once, with the first `approved`."""

    status: Literal["pending", "approved", "not_found"]
    user_code: str | None = None
    cli_token: str | None = None


class Devices:
    """The flows."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def start(self, name: str, address: str) -> Started:
        """A new flow.

        Args:
            name: how the machine calls itself, shown to the person.
            address: where the request came from, shown to the person.

        Raises:
            Overloaded: too many flows are open.
        """
        minted, user_code, now = mint(DEVICE), new_user_code(), self._now_ms()
        async with self._database.session() as session:
            await session.execute(delete(DeviceFlow).where(DeviceFlow.expires_at <= now))
            if (await session.scalar(select(func.count()).select_from(DeviceFlow)) or 0) >= MAX_FLOWS:
                raise Overloaded("too many sign-ins are open; try again in ten minutes")
            session.add(
                DeviceFlow(
                    id=new_id("dvf"),
                    device_code_hash=minted.token_hash,
                    user_code=user_code,
                    name=name,
                    address=address,
                    created_at=now,
                    expires_at=now + FLOW_MS,
                )
            )
        return Started(minted.token, user_code)

    async def poll(self, device_code: str) -> Progress:
        """How far a flow is; hands the token out if it was approved and nobody has it yet."""
        code_hash, now = digest(device_code), self._now_ms()
        is_open = (DeviceFlow.device_code_hash == code_hash, DeviceFlow.expires_at > now, DeviceFlow.taken_at.is_(None))
        async with self._database.reading() as session:
            flow = await session.scalar(select(DeviceFlow).where(*is_open))
        if flow is None:
            return Progress("not_found")
        if flow.approved_by is None:
            return Progress("pending", flow.user_code)
        minted = mint(CLI)
        async with self._database.session() as session:
            taken = await session.scalar(
                update(DeviceFlow).where(*is_open).values(taken_at=now).returning(DeviceFlow.approved_by)
            )
            if taken is None:
                return Progress("not_found")
            session.add(
                CliToken(
                    id=new_id("clt"),
                    user_id=taken,
                    name=flow.name,
                    token_hash=minted.token_hash,
                    prefix=minted.prefix,
                    created_at=now,
                    expires_at=now + CLI_TOKEN_MS,
                )
            )
        return Progress("approved", flow.user_code, minted.token)

    async def lookup(self, user_code: str) -> DeviceFlow:
        """The flow whose code a person typed.

        Raises:
            NotFound: none waits under this code.
        """
        async with self._database.reading() as session:
            flow = await session.scalar(
                select(DeviceFlow).where(
                    DeviceFlow.user_code == normal_user_code(user_code),
                    DeviceFlow.expires_at > self._now_ms(),
                    DeviceFlow.approved_by.is_(None),
                )
            )
        if flow is None:
            raise NotFound("no sign-in waits under this code; it may have expired")
        return flow

    async def approve(self, named: str, user_id: str) -> None:
        """A person signs the command line in.

        Args:
            named: the device code, or the id that `lookup` gave.
            user_id: the person.

        Raises:
            NotFound: no such flow waits.
        """
        async with self._database.session() as session:
            approved = await session.scalar(
                update(DeviceFlow)
                .where(
                    or_(DeviceFlow.id == named, DeviceFlow.device_code_hash == digest(named)),
                    DeviceFlow.expires_at > self._now_ms(),
                    DeviceFlow.approved_by.is_(None),
                )
                .values(approved_by=user_id)
                .returning(DeviceFlow.id)
            )
        if approved is None:
            raise NotFound("no such sign-in waits; it may have expired")
