"""Constrained output: a JSON schema or a GBNF grammar decides which tokens may come next."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Constraint"]


class Constraint(Protocol):
    """Where one answer stands in its grammar; not thread-safe."""

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which tokens may come next, shape (vocabulary,); end-of-turn tokens when the answer may end."""

    def accept(self, token: int) -> None:
        """Go on by a token that is allowed."""
