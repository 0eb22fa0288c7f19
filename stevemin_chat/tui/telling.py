"""Short notices, on whichever screen is on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from stevemin_chat.notices import Severity, describe

if TYPE_CHECKING:
    from textual.screen import Screen

__all__ = ["Telling"]

_ERROR_SECONDS = 10


class Telling:
    """Mixed into screens."""

    def tell(self, error: BaseException) -> None:
        """Show an error in words."""
        notice = describe(error)
        cast("Screen[Any]", self).notify(
            notice.text, title=notice.title, severity=notice.severity, markup=False, timeout=_ERROR_SECONDS
        )

    def say(self, text: str, title: str = "", *, warn: bool = False) -> None:
        """Show a short notice."""
        severity: Severity = "warning" if warn else "information"
        cast("Screen[Any]", self).notify(text, title=title, severity=severity, markup=False)
