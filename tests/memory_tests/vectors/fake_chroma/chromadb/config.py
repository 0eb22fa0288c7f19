"""As the real package has it."""

from __future__ import annotations


class Settings:
    def __init__(self, **_: object) -> None: ...
