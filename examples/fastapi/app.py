"""Parcels: couriers report over HTTP, customers watch over WebSocket, one FastAPI application serves both."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from zocket import Actor, ActorError, App, Event, ZocketError, method, query


class Scan(BaseModel):
    place: str = Field(min_length=1, max_length=80)
    delivered: bool = False


class ParcelState(BaseModel):
    scans: list[Scan] = []
    delivered: bool = False


class Parcel(Actor[ParcelState]):
    """One parcel; its id is its tracking number."""

    scanned = Event(Scan)

    @method
    async def scan(self, scan: Scan) -> int:
        """Notes where the parcel is, for the HTTP route only; returns how often it was scanned."""
        if self.caller.kind != "server":
            raise ActorError("only couriers scan", code="forbidden")
        if self.state.delivered:
            raise ActorError("the parcel was delivered already", code="delivered_already")
        self.state.scans.append(scan)
        self.state.delivered = scan.delivered
        self.scanned.emit(scan)
        return len(self.state.scans)

    @query
    async def scans(self) -> list[Scan]:
        return [Scan(place=scan.place, delivered=scan.delivered) for scan in self.state.scans]


app = App(actors={"parcel": Parcel})

web = FastAPI(lifespan=app.lifespan)
web.mount("/realtime", app)

HTTP_STATUS = {"delivered_already": 409, "invalid_id": 422, "overloaded": 503, "timeout": 504}
"""By the code of an error; every other one is a 500."""


@web.post("/parcels/{number}/scans")
async def report(number: str, scan: Scan) -> int:
    return await app.actor(Parcel, number).scan(scan)


@web.get("/parcels/{number}/scans")
async def history(number: str) -> list[Scan]:
    return await app.actor(Parcel, number).scans()


@web.exception_handler(ZocketError)
async def refused(_: Request, error: ZocketError) -> JSONResponse:
    status = HTTP_STATUS.get(error.code, 500)
    return JSONResponse({"code": error.code, "message": error.message}, status)
