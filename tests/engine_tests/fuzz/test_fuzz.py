"""Random programs against the engine, with a ledger of what each request must get.

A short run in the suite, ten runs of ten minutes in a campaign. A program that fails is shrunk and printed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from time import monotonic
from typing import Any, TypeAlias

import pytest
from engine_tests.fuzz.core_player import play_core
from engine_tests.fuzz.door_player import play_door
from engine_tests.fuzz.program import Action, Setup, actions, setups
from hypothesis import HealthCheck, Phase, given, seed, settings

Play: TypeAlias = Callable[[Setup, list[Action]], Coroutine[Any, Any, None]]

_CAMPAIGN_S = 600.0
_SETTINGS = settings(
    suppress_health_check=[*HealthCheck],
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Broken disks and dead threads are what the programs want."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def play_gated(setup: Setup, program: list[Action]) -> None:
    """Through the door, step by step."""
    await play_door(setup, program, gated=True)


async def play_racing(setup: Setup, program: list[Action]) -> None:
    """Through the door, as fast as the threads go."""
    await play_door(setup, program, gated=False)


def fuzz(play: Play, examples: int, *, most: int = 40, start: int | None = None) -> None:
    """Play so many programs of at most so many actions, from a seed or from any."""

    @settings(_SETTINGS, max_examples=examples)
    @given(setups(), actions(most=most))
    def run(setup: Setup, program: list[Action]) -> None:
        asyncio.run(play(setup, program))

    (run if start is None else seed(start)(run))()


def test_programs_on_the_core() -> None:
    fuzz(play_core, 80)


def test_programs_through_the_door() -> None:
    fuzz(play_gated, 40)


def test_programs_that_race() -> None:
    fuzz(play_racing, 40)


@pytest.mark.campaign
@pytest.mark.parametrize("number", range(10))
def test_campaign(number: int) -> None:
    """Ten minutes of programs of every kind; each run has seeds of its own."""
    end = monotonic() + _CAMPAIGN_S
    for start in count(number * 1_000_000):
        for play, examples in ((play_core, 200), (play_gated, 50), (play_racing, 50)):
            if monotonic() >= end:
                return
            fuzz(play, examples, most=80, start=start)
