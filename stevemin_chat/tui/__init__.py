"""The terminal application. Owns the screen: `ChatScreen` composes the widgets and is the `View` of one
`Controller`, which turns keys and commands into calls of chats, models and memory. The table of commands is
`actions`. The screen is drawn before the engine, the memory and the settings are imported: nothing that the
first paint needs may import them. Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stevemin_chat.tui.app import SteveminApp, run_app
    from stevemin_chat.tui.controller import opener_over

__all__ = ["SteveminApp", "opener_over", "run_app"]

_LATER = {"SteveminApp": "app", "opener_over": "controller", "run_app": "app"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value
