"""A counter that everybody shares: the smallest complete Zocket app."""

from typing import Annotated

from pydantic import BaseModel, Field

from zocket import Actor, App, method


class CounterState(BaseModel):
    count: int = 0
    watching: int = 0


class Counter(Actor[CounterState]):
    async def on_connect(self) -> None:
        self.state.watching += 1

    async def on_disconnect(self) -> None:
        self.state.watching -= 1

    @method
    async def add(self, amount: Annotated[int, Field(ge=-100, le=100)] = 1) -> int:
        self.state.count += amount
        return self.state.count

    @method
    async def reset(self) -> None:
        self.state.count = 0


app = App(actors={"counter": Counter})
