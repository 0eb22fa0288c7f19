"""Draw docs/images/chat.svg from the real application: the starter model answers in four chats in parallel.

Run by `make screenshot`, on a machine that is otherwise idle: the picture shows its speed.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from textual.events import Paste
from textual.pilot import Pilot

from stevemin_chat.base.config import Config
from stevemin_chat.base.paths import Paths
from stevemin_chat.runtime import Runtime
from stevemin_chat.tui import SteveminApp, opener_over
from stevemin_chat.tui.chat_screen import ChatScreen

TARGET = Path(__file__).parents[1] / "docs/images/chat.svg"
SIZE = (140, 46)
QUESTIONS = (
    "Write a long story about a lighthouse.",
    "Tell me everything about the history of Rome.",
    "Why is the sea salty?",
    "Write a Python function that reverses a string, and explain it.",
)
SHOWN = 450  # characters of the visible answer


async def main() -> None:
    """Ask in four chats and save the screen while they are being answered."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["STEVEMIN_HOME"] = home
        paths = Paths.resolve()
        paths.prepare()
        runtime = await Runtime.open(paths, Config())
        try:
            await runtime.load_model(runtime.config.model)
            app = SteveminApp(opener_over(runtime))
            async with app.run_test(size=SIZE) as pilot:
                await ask(pilot)
                TARGET.parent.mkdir(parents=True, exist_ok=True)
                app.save_screenshot(TARGET.name, path=str(TARGET.parent))
        finally:
            await runtime.close()


async def ask(pilot: Pilot[None]) -> None:
    """Paste the questions, one chat each, and wait for a part of the last answer.

    Typing would take a second per key: the pilot waits for an idle processor, and the answers keep it busy.
    """
    await pilot.pause(1.0)
    for number, question in enumerate(QUESTIONS):
        if number:
            await pilot.press("ctrl+n")
        pilot.app.post_message(Paste(question))
        await pilot.pause(0.1)
        await pilot.press("enter")
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    chat = screen.controller.chat
    while chat is None or (chat.busy and not (chat.entries and len(chat.entries[-1].text) > SHOWN)):
        await pilot.pause(0.1)


if __name__ == "__main__":
    asyncio.run(main())
