"""The runtime: what it hands to memory, chats and engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from chat_tests.models.model_kit import FakeEngine, write_models

from engine import ChatMessage, GenerationRequest, InvalidRequest
from engine.errors import EngineCrashed
from memory import Memory, Turn
from stevemin_chat.base.config import Config, MemorySection
from stevemin_chat.base.errors import ConfigFileError, FolderNotWritable, ModelSwitchFailed, NoModelLoaded
from stevemin_chat.base.paths import Paths
from stevemin_chat.models.catalogue import Catalogue
from stevemin_chat.recall import EngineCounter
from stevemin_chat.runtime import Overrides, Runtime


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    return write_models(tmp_path)


@pytest.fixture
def journal() -> list[str]:
    return []


@pytest.fixture
async def runtime(tmp_path: Path, journal: list[str]) -> AsyncIterator[Runtime]:
    runtime = Runtime(
        paths=Paths.resolve(),
        config=Config(system_prompt="Be brief."),
        catalogue=Catalogue({}),
        memory=Memory(tmp_path / "test.db"),
        engine_factory=cast(Any, lambda config: FakeEngine(config, journal)),
    )
    yield runtime
    await runtime.close()


async def test_loads_and_counts_with_the_model(runtime: Runtime, models: dict[str, str]) -> None:
    seen: list[float] = []
    info = await runtime.load_model(models["one"], seen.append)
    assert info.path == Path(models["one"])
    assert runtime.model_name == runtime.model.last_name == models["one"]
    assert seen == [0.5]
    counter = cast(EngineCounter, runtime.memory.counter)
    assert counter.count_text("abc") == 3
    assert counter.count_prompt([Turn("user", "ab"), Turn("assistant", "c")]) == 3


async def test_after_a_failed_change_the_old_model_counts_again(
    runtime: Runtime, models: dict[str, str]
) -> None:
    await runtime.load_model(models["one"])
    first = runtime.memory.counter
    with pytest.raises(ModelSwitchFailed) as raised:
        await runtime.load_model(models["bad"])
    assert raised.value.kept == runtime.model_name == models["one"]
    assert runtime.memory.counter not in (None, first), "the first one's engine is closed"
    assert cast(EngineCounter, runtime.memory.counter).count_text("abc") == 3


async def test_without_a_model_nothing_counts(runtime: Runtime, models: dict[str, str]) -> None:
    await runtime.load_model(models["one"])
    assert runtime.memory.counter is not None
    await asyncio.to_thread(Path(models["one"]).unlink)
    with pytest.raises(ModelSwitchFailed) as raised:
        await runtime.load_model(models["bad"])
    assert (raised.value.kept, runtime.engine, runtime.model_name) == (None, None, None)
    assert runtime.memory.counter is None
    await runtime.load_model(models["two"])
    assert runtime.memory.counter is not None


async def test_a_crashed_engine_is_replaced_by_asking_for_the_same_model(
    runtime: Runtime, models: dict[str, str], journal: list[str]
) -> None:
    await runtime.load_model(models["one"])
    record = runtime.memory.create_session("x")
    cast(FakeEngine, runtime.engine).crash = EngineCrashed("It died.")
    with pytest.raises(EngineCrashed):
        runtime.chat_session(record)
    await runtime.load_model(models["one"])
    assert journal == ["start one", "close one", "start one"]
    assert runtime.chat_session(record).settings.model == models["one"]


async def test_the_nearest_choice_counts(runtime: Runtime, models: dict[str, str]) -> None:
    record = runtime.memory.create_session("x", strategy="full")
    with pytest.raises(NoModelLoaded):
        runtime.chat_session(record)
    await runtime.load_model(models["one"])
    settings = runtime.chat_session(record).settings
    assert (settings.strategy, settings.model, settings.context_tokens) == ("full", models["one"], 1024)
    assert settings.system_prompt == "Be brief."
    overrides = Overrides(strategy="sliding", sampling={"temperature": 0.0})
    settings = runtime.chat_session(record, overrides).settings
    assert (settings.strategy, settings.sampling.temperature) == ("sliding", 0.0)
    with pytest.raises(InvalidRequest):
        runtime.chat_session(record, Overrides(sampling={"top_p": 7}))


async def test_requests_of_chats_are_told_and_summaries_are_not(
    runtime: Runtime, models: dict[str, str]
) -> None:
    told: list[str] = []
    runtime.model.subscribe(lambda: told.append("request"))
    await runtime.load_model(models["one"])
    summarizer = runtime.memory.summarizer
    assert summarizer is not None
    with pytest.raises(TypeError):  # a stream of this engine cannot be read
        await asyncio.to_thread(summarizer.summarise, ["x"], max_tokens=1, cancelled=lambda: False)
    assert told == []
    runtime.source().submit(GenerationRequest(messages=[ChatMessage("user", "hi")]))
    assert told == ["request"]


async def test_a_new_session_knows_its_project_and_how_far_its_memory_reaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for section in (MemorySection(), MemorySection(scope="project")):
        runtime = await Runtime.open(Paths.resolve(), Config(memory=section))
        record = await runtime.create_session("x", strategy="full")
        assert (record.project, record.scope, record.strategy) == (str(tmp_path), section.scope, "full")
        await runtime.close()


async def test_long_term_memory_can_be_off_for_one_run(
    stevemin_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_embedder(*_: object) -> None:
        raise AssertionError("it would load a model")

    monkeypatch.setattr("stevemin_chat.recall.access.configured_embedder", no_embedder)
    paths = Paths.resolve()
    runtime = await Runtime.open(paths, Config(memory=MemorySection(enabled=False)), meaning=True)
    assert not runtime.memory.long_term.remembering
    await runtime.close()
    runtime = await Runtime.open(paths, Config())
    assert runtime.memory.long_term.remembering
    await runtime.close()


async def test_a_deleted_session_is_forgotten_by_the_engine(runtime: Runtime, models: dict[str, str]) -> None:
    record = runtime.memory.create_session("x")
    await runtime.load_model(models["one"])
    await runtime.delete_session(record.id)
    assert runtime.memory.sessions() == []
    assert cast(FakeEngine, runtime.engine).forgotten == [record.id]


async def test_opens_and_closes_twice(stevemin_home: Path) -> None:
    paths = Paths.resolve()
    for _ in range(2):
        runtime = await Runtime.open(paths, Config())
        await runtime.close()
        await runtime.close()
    assert paths.database.is_file()


async def test_a_catalogue_with_an_error_is_named(stevemin_home: Path) -> None:
    paths = Paths.resolve()
    paths.config.mkdir(parents=True)
    paths.user_catalogue.write_text("[models.x]\nfoo = 1")
    with pytest.raises(ConfigFileError, match=str(paths.user_catalogue)):
        await Runtime.open(paths, Config())


async def test_a_data_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVEMIN_HOME", "/proc/stevemin")
    with pytest.raises(FolderNotWritable):
        await Runtime.open(Paths.resolve(), Config())
