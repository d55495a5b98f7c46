"""The bundle of the chaos run: a durable actor that writes down every call, in the order in which they take effect."""

from __future__ import annotations

from zocket import Actor, App, method


class Ledger(Actor[dict[str, list[str]]]):
    durability = "file"

    @method
    async def add(self, call: str) -> int:
        """Its place in the order, counted from 1."""
        log = self.state.setdefault("log", [])
        log.append(call)
        return len(log)

    @method
    async def read(self) -> list[str]:
        return list(self.state.get("log", ()))


app = App(actors={"ledger": Ledger})
