"""A drawing board for everybody who has the address: strokes appear while they are drawn."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from zocket import Actor, ActorError, App, Event, method

MAX_STROKES = 1_000
"""Then the board is full and somebody has to clear it."""

MAX_CHUNKS = 400
"""Of one stroke; at the page's pace about half a minute of drawing without lifting the pen."""

ANIMALS = ("Otter", "Heron", "Lynx", "Robin", "Beaver", "Marten", "Finch", "Hare", "Badger", "Swift", "Newt", "Owl")

Color = Literal["ink", "red", "amber", "green", "blue", "violet", "paper"]
Size = Literal[6, 14, 32]
Along = Annotated[int, Field(ge=0, le=1440)]
"""A coordinate in board units: the board is 1440 wide and 1200 high on every screen."""


def _pairs(points: list[int]) -> list[int]:
    if len(points) % 2:
        raise ValueError("points come in pairs: x, y, x, y, …")
    return points


Points = Annotated[list[Along], Field(min_length=2, max_length=256), AfterValidator(_pairs)]
StrokeId = Annotated[str, StringConstraints(pattern=r"^s[a-z0-9]{6,12}$")]
"""Chosen by the page, so that it can go on drawing without waiting for an answer."""


class Stroke(BaseModel):
    session: str
    color: Color
    size: Size
    chunks: list[list[int]]
    """Points as they came, a few at a time: one more chunk is one small patch, however long the stroke is."""


class Person(BaseModel):
    name: str


class Cursor(BaseModel):
    session: str
    x: int
    y: int


class BoardState(BaseModel):
    strokes: dict[str, Stroke] = {}
    people: dict[str, Person] = Field(default={}, description="by session")


class Board(Actor[BoardState]):
    """One board; its id is its name in the address bar."""

    cursor = Event(Cursor)

    async def on_connect(self) -> None:
        taken = {person.name for person in self.state.people.values()}
        free = [animal for animal in ANIMALS if animal not in taken]
        name = free[0] if free else f"{ANIMALS[len(taken) % len(ANIMALS)]} {len(taken) + 1}"
        self.state.people[self.session.id] = Person(name=name)

    async def on_disconnect(self) -> None:
        self.state.people.pop(self.session.id, None)

    @method
    async def begin(self, stroke: StrokeId, color: Color, size: Size, points: Points) -> None:
        if stroke in self.state.strokes:
            raise ActorError("there is a stroke of this id already", code="stroke_exists")
        if len(self.state.strokes) >= MAX_STROKES:
            raise ActorError("the board is full: clear it first", code="board_full")
        self.state.strokes[stroke] = Stroke(session=self.session.id, color=color, size=size, chunks=[points])

    @method
    async def extend(self, stroke: StrokeId, points: Points) -> None:
        """Appends to a stroke; does nothing if it is gone, as after somebody cleared the board under the pen."""
        found = self.state.strokes.get(stroke)
        if found is None:
            return
        if found.session != self.session.id:
            raise ActorError("this is somebody else's stroke", code="not_yours")
        if len(found.chunks) >= MAX_CHUNKS:
            raise ActorError("this stroke is long enough: lift the pen", code="stroke_too_long")
        found.chunks.append(points)

    @method
    async def undo(self) -> bool:
        """Takes the caller's newest stroke away; False if there is none."""
        mine = [key for key, stroke in self.state.strokes.items() if stroke.session == self.session.id]
        if not mine:
            return False
        del self.state.strokes[mine[-1]]
        return True

    @method
    async def clear(self) -> None:
        self.state.strokes.clear()

    @method
    async def point(self, x: Along, y: Along) -> None:
        """Shows the others where this pen is; nothing of it is kept."""
        self.cursor.emit(Cursor(session=self.session.id, x=x, y=y), exclude=self.session.id)


app = App(actors={"board": Board})
