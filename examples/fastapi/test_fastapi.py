"""The whole application under uvicorn: HTTP and WebSocket meet at the same parcel."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from examples.fastapi.app import Parcel, Scan, web
from zocket import ActorError, connect_sync

Serve = Callable[[Any], int]


def test_a_customer_watches_what_a_courier_reports(serve: Serve) -> None:
    port = serve(web)
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as courier,
        connect_sync(f"ws://127.0.0.1:{port}/realtime/") as customer,
    ):
        parcel = customer.actor(Parcel, "Z-1")
        states = customer.state(parcel)
        assert next(states).scans == []
        with customer.events(parcel, Parcel.scanned) as scans:
            assert courier.post("/parcels/Z-1/scans", json={"place": "Turin"}).json() == 1
            assert next(scans) == Scan(place="Turin")
        assert next(states).scans == [Scan(place="Turin")]
        with pytest.raises(ActorError) as forbidden:
            customer.call(parcel.scan, Scan(place="home", delivered=True))
        assert forbidden.value.code == "forbidden"

        assert courier.post("/parcels/Z-1/scans", json={"place": "Rome", "delivered": True}).json() == 2
        again = courier.post("/parcels/Z-1/scans", json={"place": "Rome"})
        assert (again.status_code, again.json()["code"]) == (409, "delivered_already")
        history = courier.get("/parcels/Z-1/scans").json()
        assert [scan["place"] for scan in history] == ["Turin", "Rome"]
        assert courier.post("/parcels/Z-1/scans", json={"place": ""}).status_code == 422
        assert courier.get(f"/parcels/{'9' * 300}/scans").status_code == 422
