"""Records the conversations anew: `python -m tests.integration.golden [DIRECTORY]`; what has changed is a diff."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.integration.golden.brokers import our_halves
from tests.integration.golden.conversation import SCENARIOS, Conversation
from tests.integration.golden.player import record
from tests.integration.golden.scripts import SCRIPTS
from zocket.ids import Scope
from zocket.testing import VirtualLoop

SCOPE = Scope("golden-workspace", "golden-project")


async def recorded(name: str) -> Conversation:
    """The conversation as our gateway and our runtime hold it today."""
    title, lines = SCRIPTS[name]
    async with our_halves(SCOPE) as stage:
        return await record(Conversation(title, lines), stage)


def main(directory: Path) -> None:
    """Writes every conversation."""
    for name in SCRIPTS:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            (directory / f"{name}.jsonl").write_text(runner.run(recorded(name)).text())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SCENARIOS)
