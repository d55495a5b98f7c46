"""The numbers as `/metrics` shows them."""

from __future__ import annotations

from zocket.exposition import render
from zocket.sockets.limits import Counts, SocketStatistics


def test_every_count_has_its_statistic_and_its_sample() -> None:
    numbers = {name: index for index, name in enumerate(Counts.__slots__, start=3)}
    statistics = SocketStatistics(sockets=1, connections=2, **numbers)
    samples = statistics.samples()
    assert sorted(sample.value for sample in samples if isinstance(sample.value, int)) == list(
        range(1, len(numbers) + 3)
    )
    text = render(samples).decode()
    assert "zocket_sockets 1.0" in text
    assert f'zocket_sockets_closed_total{{reason="slow"}} {numbers["slow"]}.0' in text
    assert f'zocket_socket_bytes_total{{direction="out"}} {numbers["bytes_out"]}.0' in text
