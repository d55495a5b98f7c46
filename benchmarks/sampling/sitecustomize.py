"""A sampling profiler that `run.py --profile` puts into the processes that it starts; Python imports it by its name.

Rules: without `BENCHMARK_SAMPLES` it does nothing; it samples CPU time between a first and a second SIGUSR2, so that
starting and stopping do not count; the second one writes the result. Time in C is its caller's in Python. What the
event loop does in C between two callbacks (system calls, sockets) shows at the beginning of the next callback; such
samples are counted apart.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType, FrameType

INTERVAL_S = 0.002
ENTRY_BYTES = 6
"""A frame that has not run further has just been entered: a RESUME, perhaps after a COPY_FREE_VARS or so."""
LOOP = "the event loop and its system calls, in C"

_self: Counter[str] = Counter()
_below: Counter[str] = Counter()


def _name(code: CodeType) -> str:
    file = code.co_filename
    for root in ("/site-packages/", "/src/", "/python3.11/"):
        file = file.rpartition(root)[2]
    return f"{code.co_qualname} ({file.rpartition('/benchmarks/')[2]})"


def _sample(number: int, frame: FrameType | None) -> None:
    if frame is None:
        return
    above = frame.f_back
    entered = frame.f_lasti <= ENTRY_BYTES and above is not None and above.f_code.co_filename.endswith("runners.py")
    _self[LOOP if entered else _name(frame.f_code)] += 1
    names = set()
    below: FrameType | None = frame
    while below is not None:
        names.add(_name(below.f_code))
        below = below.f_back
    _below.update(names)


def _start(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR2, _write)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)


def _write(number: int, frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    found = {"self": dict(_self.most_common(400)), "with_calls": dict(_below.most_common(80)), "samples": _self.total()}
    file = Path(os.environ["BENCHMARK_SAMPLES"], f"{os.getpid()}.json")
    file.with_suffix(".part").write_text(json.dumps(found, indent=1))
    file.with_suffix(".part").rename(file)  # whoever waits for it sees all of it


if os.environ.get("BENCHMARK_SAMPLES"):
    signal.signal(signal.SIGUSR2, _start)
