"""Checks that this machine has what stevemin needs, and says how to fix what is missing or broken."""

from __future__ import annotations

from stevemin_chat.doctor.checks import Check, Status, examine

__all__ = ["Check", "Status", "examine"]
