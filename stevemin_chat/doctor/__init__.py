"""Checks that this machine has what stevemin needs, and says how to fix what is missing or broken."""

from __future__ import annotations

from stevemin_chat.doctor.check import Check, Status
from stevemin_chat.doctor.checks import examine

__all__ = ["Check", "Status", "examine"]
