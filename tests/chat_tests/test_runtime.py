"""The runtime: which model is loaded when a change goes well, badly, or is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine import ChatMessage, Engine, EngineConfig, EngineStats, GenerationRequest, InvalidRequest
from engine.errors import ConfigError, EngineCrashed, ModelCorrupt, ModelNotFound
from memory import Memory, Turn
from stevemin_chat.base.config import Config, MemorySection
from stevemin_chat.base.errors import FolderNotWritable, ModelSwitchFailed, NoModelLoaded
from stevemin_chat.base.paths import Paths
from stevemin_chat.models.catalogue import Catalogue
from stevemin_chat.recall import EngineCounter
from stevemin_chat.runtime import Overrides, Runtime


class FakeEngine:
    """Loads at once, unless the file's text says otherwise; logs what happens to it."""

    def __init__(self, config: EngineConfig, journal: list[str]) -> None:
        self.config = config
        self.journal = journal
        self.name = config.model_path.stem
        self.forgotten: list[str] = []
        self.focused: list[str | None] = []
        self.crash: Exception | None = None
        self.now = EngineStats()

    @property
    def info(self) -> SimpleNamespace:
        if self.crash is not None:
            raise self.crash
        return SimpleNamespace(path=self.config.model_path, context_tokens=1024, warnings=())

    async def start(self, on_progress: Callable[[float], None] | None = None) -> None:
        self.journal.append(f"start {self.name}")
        if on_progress is not None:
            on_progress(0.5)
        text = self.config.model_path.read_text()
        if "slow" in text:
            await asyncio.sleep(60)
        if "bad" in text:
            raise ModelCorrupt(f"{self.name} is broken.")

    async def close(self) -> None:
        self.journal.append(f"close {self.name}")

    def stats(self) -> EngineStats:
        return self.now

    def submit(self, request: GenerationRequest) -> str:
        return f"stream of {self.name}"

    def forget(self, session_id: str) -> None:
        self.forgotten.append(session_id)

    def focus(self, session_id: str | None) -> None:
        self.focused.append(session_id)

    def count_tokens(self, text: str) -> int:
        return len(text)

    def count_prompt(self, messages: list[ChatMessage]) -> int:
        return sum(len(message.content) for message in messages)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    files = {"one": "GGUF", "two": "GGUF", "bad": "GGUF bad", "slow": "GGUF slow", "text": "hello"}
    for name, content in files.items():
        (tmp_path / f"{name}.gguf").write_text(content)
    return {name: str(tmp_path / f"{name}.gguf") for name in files}


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


async def test_a_change_closes_the_old_engine_first(
    runtime: Runtime, models: dict[str, str], journal: list[str]
) -> None:
    await runtime.load_model(models["one"])
    await runtime.load_model(models["two"])
    assert journal == ["start one", "close one", "start two"]


async def test_the_loaded_model_is_not_loaded_again_unless_asked(
    runtime: Runtime, models: dict[str, str], journal: list[str]
) -> None:
    await runtime.load_model(models["one"])
    await runtime.load_model(models["one"])
    assert journal == ["start one"]
    await runtime.load_model(models["one"], reload=True)
    assert journal == ["start one", "close one", "start one"]


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


@pytest.mark.parametrize(
    ("name", "error"), [("missing.gguf", ModelNotFound), ("nobody", ModelNotFound), ("text", ModelCorrupt)]
)
async def test_what_cannot_be_a_model_costs_nothing(
    runtime: Runtime, models: dict[str, str], journal: list[str], name: str, error: type[Exception]
) -> None:
    await runtime.load_model(models["one"])
    with pytest.raises(error):
        await runtime.load_model(models.get(name, name))
    assert runtime.engine is not None
    assert runtime.model_name == models["one"]
    assert journal == ["start one"]


async def test_after_a_failed_change_the_old_model_is_loaded_again(
    runtime: Runtime, models: dict[str, str], journal: list[str]
) -> None:
    await runtime.load_model(models["one"])
    with pytest.raises(ModelSwitchFailed) as raised:
        await runtime.load_model(models["bad"])
    assert raised.value.kept == models["one"]
    assert isinstance(raised.value.__cause__, ModelCorrupt)
    assert runtime.model_name == models["one"]
    assert runtime.memory.counter is not None
    assert journal == ["start one", "close one", "start bad", "close bad", "start one"]


async def test_when_the_old_model_is_gone_too_there_is_none(runtime: Runtime, models: dict[str, str]) -> None:
    await runtime.load_model(models["one"])
    await asyncio.to_thread(Path(models["one"]).unlink)
    with pytest.raises(ModelSwitchFailed, match="does not load again either") as raised:
        await runtime.load_model(models["bad"])
    assert raised.value.kept is None
    assert runtime.engine is None
    assert runtime.model_name is None
    assert runtime.memory.counter is None


async def test_the_first_load_that_fails_says_why(runtime: Runtime, models: dict[str, str]) -> None:
    with pytest.raises(ModelCorrupt, match="bad is broken"):
        await runtime.load_model(models["bad"])
    assert runtime.engine is None


async def test_a_stopped_load_leaves_no_model_but_its_predecessors_name(
    runtime: Runtime, models: dict[str, str], journal: list[str]
) -> None:
    await runtime.load_model(models["one"])
    under_way = asyncio.Event()
    load = asyncio.create_task(runtime.load_model(models["slow"], lambda fraction: under_way.set()))
    await under_way.wait()
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert (runtime.engine, runtime.model_name, runtime.model.last_name) == (None, None, models["one"])
    assert journal[-1] == "close slow"


async def test_a_chat_goes_to_whichever_engine_is_loaded(runtime: Runtime, models: dict[str, str]) -> None:
    request = GenerationRequest(messages=[ChatMessage("user", "hi")])
    with pytest.raises(NoModelLoaded):
        runtime.source()
    for name in ("one", "two"):
        await runtime.load_model(models[name])
        assert cast(Any, runtime.source().submit(request)) == f"stream of {name}"


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
    def no_embedder() -> None:
        raise AssertionError("it would load a model")

    monkeypatch.setattr("stevemin_chat.runtime.installed_embedder_or_none", no_embedder)
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


async def test_the_focus_outlives_the_engine(runtime: Runtime, models: dict[str, str]) -> None:
    runtime.focus("early")
    await runtime.load_model(models["one"])
    first = cast(FakeEngine, runtime.engine)
    assert first.focused == ["early"]
    runtime.focus("later")
    await runtime.load_model(models["two"])
    assert first.focused == ["early", "later"]
    assert cast(FakeEngine, runtime.engine).focused == ["later"]
    runtime.focus(None)
    assert cast(FakeEngine, runtime.engine).focused == ["later", None]


async def test_the_engine_may_park_in_the_cache_folder(runtime: Runtime, models: dict[str, str]) -> None:
    await runtime.load_model(models["one"])
    folder = cast(FakeEngine, runtime.engine).config.parked_folder
    assert folder is not None
    assert folder.is_relative_to(runtime.paths.cache)


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
    with pytest.raises(ConfigError, match=str(paths.user_catalogue)):
        await Runtime.open(paths, Config())


async def test_a_data_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVEMIN_HOME", "/proc/stevemin")
    with pytest.raises(FolderNotWritable):
        await Runtime.open(Paths.resolve(), Config())


def test_the_real_engine_has_what_the_fake_has() -> None:
    for name in (
        "start", "close", "submit", "forget", "focus", "stats", "count_tokens", "count_prompt", "info"
    ):  # fmt: skip
        assert hasattr(Engine, name)
