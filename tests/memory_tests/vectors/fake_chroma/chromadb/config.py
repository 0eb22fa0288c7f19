"""As in the real package."""

from __future__ import annotations


class Settings:
    def __init__(self, **_: object) -> None: ...
