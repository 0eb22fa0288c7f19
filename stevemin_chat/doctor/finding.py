"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["INSTALL", "Check", "Status"]

Status = Literal["ok", "warn", "fail"]

INSTALL = "Run: make install"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Args:
        found: what there is, or what is wrong with it.
        mend: what to do about it; empty when nothing is to be done.
    """

    id: str
    title: str
    status: Status
    found: str
    mend: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
