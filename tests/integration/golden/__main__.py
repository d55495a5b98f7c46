"""Records the conversations anew: `python -m tests.integration.golden [DIRECTORY]`; what has changed is a diff.

Rules: who calls and what clients say stands in `scripts.py`, everything else is what our components say to it, without
what we add. `inline-code.jsonl` is written by hand: no control plane of ours answers so.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.integration.golden.brokers import our_halves
from tests.integration.golden.conversation import SCENARIOS, Conversation
from tests.integration.golden.planes import our_control_plane
from tests.integration.golden.player import record
from tests.integration.golden.scripts import CALL_SCRIPTS, SCRIPTS
from zocket.ids import Scope
from zocket.testing import VirtualLoop

SCOPE = Scope("golden-workspace", "golden-project")


async def recorded(name: str) -> Conversation:
    """The conversation as our gateway and our runtime hold it."""
    title, lines = SCRIPTS[name]
    async with our_halves(SCOPE) as stage:
        return await record(Conversation(title, lines), stage)


async def answered(directory: Path) -> dict[str, Conversation]:
    """All calls as our control plane answers them; it keeps its files in the directory."""
    async with our_control_plane(directory, SCOPE) as stage:
        return {name: await record(Conversation(*script), stage) for name, script in CALL_SCRIPTS.items()}


def main(directory: Path) -> None:
    """Writes every conversation."""
    for name in SCRIPTS:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            (directory / f"{name}.jsonl").write_text(runner.run(recorded(name)).text())
    with tempfile.TemporaryDirectory() as files:
        for name, conversation in asyncio.run(answered(Path(files))).items():
            (directory / f"{name}.jsonl").write_text(conversation.text())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SCENARIOS)
