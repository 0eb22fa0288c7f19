"""Every return code of llama_decode, from a library that fails on demand around the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from engine_tests.real import THREADS, Answer, Recording, ask, backend_of, compare, drop_unowned

import engine.llama.backend
import engine.llama.memory
from engine import Engine, EngineConfig, GenerationFailed
from engine.llama.lib import lib

pytestmark = pytest.mark.asyncio(loop_scope="module")


class FailingLibrary:
    """llama.cpp, whose next forward passes return these codes.

    2, -2 and -3 mean that the forward pass broke off: what came before stays. Half of the batch is computed
    then.
    """

    def __init__(self, real: Any) -> None:
        self._real = real
        self.codes: list[int] = []
        self.deaf: list[str] = []  # functions that return 0 once

    def __getattr__(self, name: str) -> Any:
        if name in self.deaf:
            self.deaf.remove(name)
            return lambda *args: 0
        return getattr(self._real, name)

    def llama_decode(self, context: Any, batch: Any) -> int:
        code = self.codes.pop(0) if self.codes else 0
        if code in (2, -2, -3):
            whole, batch.n_tokens = batch.n_tokens, batch.n_tokens // 2
            if batch.n_tokens:
                self._real.llama_decode(context, batch)
            batch.n_tokens = whole
        return code if code else int(self._real.llama_decode(context, batch))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(starter_model: Path) -> AsyncIterator[tuple[Engine, FailingLibrary]]:
    """An engine and the library it calls."""
    library = FailingLibrary(lib)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.llama.backend, "lib", library)
        patch.setattr(engine.llama.memory, "lib", library)
        config = EngineConfig(
            model_path=starter_model,
            max_sessions=4,
            cached_sessions=0,
            context_tokens=2048,
            speculation="off",
            threads=THREADS,
        )
        async with Engine(config, load=Recording) as running:
            yield running, library


@pytest_asyncio.fixture(loop_scope="module")
async def served(shared: tuple[Engine, FailingLibrary]) -> tuple[Engine, FailingLibrary]:
    """The same, with nothing in the KV cache."""
    await drop_unowned(shared[0])
    return shared


QUESTIONS = [f"Tell me about the number {n}." for n in range(3)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calm(shared: tuple[Engine, FailingLibrary]) -> list[Answer]:
    """The answers without a failure."""
    await drop_unowned(shared[0])
    return [await ask(shared[0], question, max_tokens=24) for question in QUESTIONS]


@pytest.mark.parametrize(
    "code", [1, -2, *(pytest.param(code, marks=pytest.mark.campaign) for code in (-1, 2, -3))]
)
async def test_one_failure_changes_no_answer(
    calm: list[Answer], served: tuple[Engine, FailingLibrary], code: int
) -> None:
    running, library = served
    tasks = [asyncio.create_task(ask(running, question, max_tokens=24)) for question in QUESTIONS]
    while running.stats().batch_sequences < 3:  # noqa: ASYNC110 - the engine has no such event
        await asyncio.sleep(0.01)
    library.codes = [code]
    for left, right in zip(calm, await asyncio.gather(*tasks), strict=True):
        assert right.timings.completion_tokens == left.timings.completion_tokens
        compare(left, right)
    await drop_unowned(running)
    assert running.stats().kv_cells_used == 0


@pytest.mark.parametrize("code", [-1, -3])
async def test_a_failure_that_stays_fails_its_request_in_words(
    served: tuple[Engine, FailingLibrary], code: int
) -> None:
    running, library = served
    library.codes = [code] * 3
    with pytest.raises(GenerationFailed, match=r"llama\.cpp"):
        await ask(running, "Say hello.")
    library.codes = []
    assert (await ask(running, "Say hello.", max_tokens=4)).text
    await drop_unowned(running)
    assert running.stats().kv_cells_used == 0


async def test_without_cells_for_the_only_one_its_answer_ends(served: tuple[Engine, FailingLibrary]) -> None:
    running, library = served
    library.codes = [0, 0, 1]
    answer = await ask(running, "Say hello.", max_tokens=20)
    assert answer.reason == "context"
    assert answer.timings.completion_tokens == 2


@pytest.mark.parametrize("call", ["llama_state_seq_get_data", "llama_state_seq_set_data"])
async def test_a_state_that_cannot_be_swapped_is_computed_again(
    served: tuple[Engine, FailingLibrary], call: str
) -> None:
    running, library = served
    story = "Once upon a time there was a keeper of a lighthouse who counted ships all day. " * 3
    cold = await ask(running, f"{story} Who was it?", max_tokens=8)
    library.deaf = [call]
    for number in range(5):  # the fifth needs the first one's slot
        text = f"Number {number}. " * 12 if number else story
        await ask(running, text, session_id=f"{call}{number}", max_tokens=4)
    warm = await ask(running, f"{story} Who was it?", session_id=f"{call}0", max_tokens=8)
    assert library.deaf == [], "it was called"
    compare(cold, warm)
    for number in range(5):
        running.forget(f"{call}{number}")
    await drop_unowned(running)
    assert [backend_of(running).resident(slot) for slot in range(4)] == [0] * 4
