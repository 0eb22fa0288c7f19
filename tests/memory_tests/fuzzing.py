"""How many examples a random test runs in `make test` and in `make campaign`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

__all__ = ["examples"]

_USUAL = 100  # examples in hypothesis' default profile


def examples(count: int) -> settings:
    """Run `count` examples by default, and proportionally more under a larger profile.

    All examples of a test share one store; each makes its own chat in it.
    """
    scale = settings.default.max_examples / _USUAL if settings.default is not None else 1.0
    return settings(
        max_examples=max(1, int(count * scale)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
