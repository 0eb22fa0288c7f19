"""What is seen: each widget shows what it is given and posts what the person did."""

from __future__ import annotations
