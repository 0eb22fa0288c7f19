"""How much of a random test `make test` runs, and how much `make campaign` does."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

__all__ = ["examples"]

_USUAL = 100  # examples of hypothesis' default profile


def examples(count: int) -> settings:
    """So many examples by default, and as many times more as the profile asks for.

    The store is shared by all examples of a test; each grows a chat of its own in it.
    """
    scale = settings.default.max_examples / _USUAL if settings.default is not None else 1.0
    return settings(
        max_examples=max(1, int(count * scale)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
