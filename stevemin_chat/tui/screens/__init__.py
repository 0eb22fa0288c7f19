"""The screens of the terminal application."""

from __future__ import annotations
