"""Changing the model: what is loaded when a change goes well, badly, or is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from chat_tests.models.model_kit import FakeEngine, write_models

from engine import ChatMessage, Engine, GenerationRequest
from engine.errors import ModelCorrupt, ModelError, ModelNotFound
from stevemin_chat.base.config import Config
from stevemin_chat.base.errors import ModelSwitchFailed, NoModelLoaded
from stevemin_chat.base.paths import Paths
from stevemin_chat.models.catalogue import Catalogue
from stevemin_chat.models.current import CurrentModel
from stevemin_chat.notices import describe


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    return write_models(tmp_path)


@pytest.fixture
def journal() -> list[str]:
    return []


@pytest.fixture
async def model(journal: list[str]) -> AsyncIterator[CurrentModel]:
    model = CurrentModel(
        Config(),
        Paths.resolve(),
        Catalogue({}),
        on_engine=lambda engine: None,
        engine_factory=cast(Any, lambda config: FakeEngine(config, journal)),
    )
    yield model
    await model.close()


async def test_a_change_closes_the_old_engine_first(
    model: CurrentModel, models: dict[str, str], journal: list[str]
) -> None:
    await model.load(models["one"])
    await model.load(models["two"])
    assert journal == ["start one", "close one", "start two"]


async def test_the_loaded_model_is_not_loaded_again_unless_asked(
    model: CurrentModel, models: dict[str, str], journal: list[str]
) -> None:
    await model.load(models["one"])
    await model.load(models["one"])
    assert journal == ["start one"]
    await model.load(models["one"], reload=True)
    assert journal == ["start one", "close one", "start one"]


@pytest.mark.parametrize(
    ("name", "error"), [("missing.gguf", ModelNotFound), ("nobody", ModelNotFound), ("text", ModelCorrupt)]
)
async def test_what_cannot_be_a_model_costs_nothing(
    model: CurrentModel, models: dict[str, str], journal: list[str], name: str, error: type[Exception]
) -> None:
    await model.load(models["one"])
    with pytest.raises(error):
        await model.load(models.get(name, name))
    assert model.engine is not None
    assert model.name == models["one"]
    assert journal == ["start one"]


async def test_after_a_failed_change_the_old_model_is_loaded_again(
    model: CurrentModel, models: dict[str, str], journal: list[str]
) -> None:
    await model.load(models["one"])
    with pytest.raises(ModelSwitchFailed) as raised:
        await model.load(models["bad"])
    assert raised.value.kept == models["one"]
    assert isinstance(raised.value.__cause__, ModelCorrupt)
    assert model.name == models["one"]
    assert model.engine is not None
    assert journal == ["start one", "close one", "start bad", "close bad", "start one"]


async def test_a_model_that_embeds_cannot_chat(
    model: CurrentModel, models: dict[str, str], journal: list[str]
) -> None:
    with pytest.raises(ModelError, match=r"^embeds is an embedding model: it cannot chat\.") as first:
        await model.load(models["embeds"])
    assert model.engine is None
    notice = describe(first.value)
    assert (notice.title, notice.text) == ("Unusable model", str(first.value))
    await model.load(models["one"])
    with pytest.raises(ModelSwitchFailed, match="it cannot chat"):
        await model.load(models["embeds"])
    assert model.name == models["one"]
    assert journal == [
        "start embeds",
        "close embeds",
        "start one",
        "close one",
        "start embeds",
        "close embeds",
        "start one",
    ]


async def test_when_the_old_model_is_gone_too_there_is_none(
    model: CurrentModel, models: dict[str, str]
) -> None:
    await model.load(models["one"])
    await asyncio.to_thread(Path(models["one"]).unlink)
    with pytest.raises(ModelSwitchFailed, match="does not load again either") as raised:
        await model.load(models["bad"])
    assert raised.value.kept is None
    assert model.engine is None
    assert model.name is None
    assert model.engine is None


async def test_the_first_load_that_fails_says_why(model: CurrentModel, models: dict[str, str]) -> None:
    with pytest.raises(ModelCorrupt, match="bad is broken"):
        await model.load(models["bad"])
    assert model.engine is None


async def test_a_stopped_load_leaves_no_model_but_its_predecessors_name(
    model: CurrentModel, models: dict[str, str], journal: list[str]
) -> None:
    await model.load(models["one"])
    under_way = asyncio.Event()
    load = asyncio.create_task(model.load(models["slow"], lambda fraction: under_way.set()))
    await under_way.wait()
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert (model.engine, model.name, model.last_name) == (None, None, models["one"])
    assert journal[-1] == "close slow"


async def test_a_chat_goes_to_whichever_engine_is_loaded(model: CurrentModel, models: dict[str, str]) -> None:
    request = GenerationRequest(messages=[ChatMessage("user", "hi")])
    with pytest.raises(NoModelLoaded):
        model.source()
    for name in ("one", "two"):
        await model.load(models[name])
        assert cast(Any, model.source().submit(request)) == f"stream of {name}"


async def test_the_focus_outlives_the_engine(model: CurrentModel, models: dict[str, str]) -> None:
    model.focus("early")
    await model.load(models["one"])
    first = cast(FakeEngine, model.engine)
    assert first.focused == ["early"]
    model.focus("later")
    await model.load(models["two"])
    assert first.focused == ["early", "later"]
    assert cast(FakeEngine, model.engine).focused == ["later"]
    model.focus(None)
    assert cast(FakeEngine, model.engine).focused == ["later", None]


async def test_the_engine_may_park_in_the_cache_folder(model: CurrentModel, models: dict[str, str]) -> None:
    await model.load(models["one"])
    folder = cast(FakeEngine, model.engine).config.parked_folder
    assert folder is not None
    assert folder.is_relative_to(Paths.resolve().cache)


def test_the_real_engine_has_what_the_fake_has() -> None:
    for name in (
        "start", "close", "submit", "forget", "focus", "stats", "count_tokens", "count_prompt", "info"
    ):  # fmt: skip
        assert hasattr(Engine, name)


async def test_the_next_engine_is_not_started_while_a_cancelled_one_is_being_closed(
    model: CurrentModel, models: dict[str, str], journal: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, closing, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    close = FakeEngine.close

    async def slow(engine: FakeEngine) -> None:
        closing.set()
        await go_on.wait()
        await close(engine)

    monkeypatch.setattr(FakeEngine, "close", slow)
    load = asyncio.create_task(model.load(models["slow"], lambda fraction: under_way.set()))
    await under_way.wait()
    load.cancel()
    await closing.wait()
    load.cancel()  # the person is impatient
    next_load = asyncio.create_task(model.load(models["one"]))
    for _ in range(10):
        await asyncio.sleep(0)
    assert journal == ["start slow"]
    go_on.set()
    await next_load
    assert journal == ["start slow", "close slow", "start one"]
    with pytest.raises(asyncio.CancelledError):
        await load


async def test_who_uses_the_engine_hears_of_each_and_of_its_end(
    models: dict[str, str], journal: list[str]
) -> None:
    heard: list[object] = []
    model = CurrentModel(
        Config(),
        Paths.resolve(),
        Catalogue({}),
        on_engine=heard.append,
        engine_factory=cast(Any, lambda config: FakeEngine(config, journal)),
    )
    await model.load(models["one"])
    first = model.engine
    await model.load(models["two"])
    assert heard == [None, first, None, model.engine]
    await model.close()
    assert heard[-1] is None
