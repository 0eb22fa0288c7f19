"""The terminal application. Owns the screen: `ChatScreen` composes the widgets and is the `View` of one
`Controller`, which turns keys and commands into calls of chats, models and memory. The table of commands is
`actions`. The screen is drawn before the engine, the memory and the settings are imported: nothing that the
first paint needs may import them. Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.doors import lazy

if TYPE_CHECKING:
    from stevemin_chat.tui.app import SteveminApp, run_app
    from stevemin_chat.tui.controller import opener_over

__all__ = ["SteveminApp", "opener_over", "run_app"]

if not TYPE_CHECKING:
    __getattr__ = lazy(
        __name__,
        {
            "app": "SteveminApp run_app",
            "controller": "opener_over",
        },
    )
