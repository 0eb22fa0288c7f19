"""The controller over a view that only remembers what it was told: no screen, no Textual application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_tests.chats.chats_kit import blocked
from chat_tests.tui_kit import FakeDevices, FakeEngine, make_runtime
from waiting import until

from memory import StoreUnavailable
from stevemin_chat.chats import Chat
from stevemin_chat.runtime import Runtime
from stevemin_chat.tui.actions import COMMANDS
from stevemin_chat.tui.commands import Run, parse
from stevemin_chat.tui.controller import Controller
from stevemin_chat.tui.view import View


class FakeView:
    """A `View`; `answers` are what the person gives to the next questions."""

    def __init__(self) -> None:
        self.draft = ""
        self.entered = False
        self.marked: str | None = None
        self.selection: str | None = None
        self.theme = "stevemin"
        self.themes = ("nord", "stevemin")
        self.answers: list[Any] = []
        self.said: list[str] = []
        self.copied: list[str] = []
        self.folded: list[str] = []
        self.queue_hint = ""
        self.tasks: set[asyncio.Task[None]] = set()

    def say(self, text: str, title: str = "", *, warn: bool = False) -> None:
        self.said.append(text)

    def tell(self, error: BaseException) -> None:
        self.said.append(str(error))

    async def ask(self, question: Any) -> Any:
        return self.answers.pop(0)

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(work())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def put(self, text: str, *, recalled: bool = False) -> None:
        self.draft = text

    def give_back(self, text: str) -> None:
        self.draft = f"{text}\n{self.draft}".strip()

    def focus_prompt(self) -> bool:
        return False

    def show_state(self, chat: Chat, *, visible: bool, queue_hint: str) -> None:
        if visible:
            self.queue_hint = queue_hint

    async def open(self, chat: Chat, message_id: str | None, *, first_model: str | None) -> bool:
        return message_id is None or any(entry.message_id == message_id for entry in chat.entries or [])

    def copy(self, text: str) -> None:
        self.copied.append(text)

    def fold(self, name: str) -> None:
        self.folded.append(name)

    def show_chats(self, chats: Sequence[Chat], visible: Chat | None) -> None: ...
    def focus_list(self) -> None: ...
    def sync(self) -> None: ...
    def follow(self) -> None: ...
    def show_load(self, name: str | None, progress: float) -> None: ...
    def refresh_status(self) -> None: ...
    def help(self) -> None: ...
    def quit(self) -> None: ...


@asynccontextmanager
async def controlled(runtime: Runtime) -> AsyncIterator[tuple[Controller, FakeView]]:
    """A controller with its model loaded."""
    view = FakeView()
    checked: View = view
    controller = Controller(runtime, checked, model="tiny", devices=FakeDevices())  # type: ignore[arg-type]
    try:
        await controller.read()
        controller.begin()
        await until(lambda: runtime.engine is not None)
        yield controller, view
        await controller.store()
    finally:
        await runtime.close()


async def do(controller: Controller, text: str) -> None:
    """Run a slash command to its end."""
    meant = parse(text, COMMANDS)
    assert isinstance(meant, Run)
    controller.run(meant.command, meant.args)
    view: Any = controller.view
    await until(lambda: not view.tasks)


def streams(controller: Controller) -> list[Any]:
    engine: Any = controller.runtime.engine
    assert isinstance(engine, FakeEngine)
    return engine.streams


def chat_of(controller: Controller) -> Chat:
    assert controller.chat is not None
    return controller.chat


async def answered(controller: Controller, text: str, reply: str) -> None:
    before = len(streams(controller))
    controller.send(text)
    await until(lambda: len(streams(controller)) > before)
    streams(controller)[-1].push(reply)
    streams(controller)[-1].end()
    await until(lambda: not controller.chats.busy)


async def test_what_waits_can_be_taken_back_and_what_was_said_recalled(tmp_path: Path) -> None:
    async with controlled(make_runtime(tmp_path)) as (controller, view):
        await answered(controller, "first", "Yes.")
        controller.send("second")
        controller.send("third")
        controller.send("fourth")
        await until(lambda: len(streams(controller)) == 2)
        assert chat_of(controller).queue == ["third", "fourth"]
        assert view.queue_hint == "sent next"
        controller.recall("")
        assert view.draft == "fourth"
        await do(controller, "/unqueue")
        assert view.draft == "third\nfourth"
        await do(controller, "/unqueue")
        assert view.said == ["Nothing is queued."]
        controller.recall("third\nfourth")
        assert view.draft == "second"
        controller.recall("second")
        assert view.draft == "first"


async def test_each_chat_keeps_its_draft_and_a_deleted_one_gives_way_to_its_neighbour(tmp_path: Path) -> None:
    async with controlled(make_runtime(tmp_path)) as (controller, view):
        await answered(controller, "One", "1")
        view.draft = "half a"
        await do(controller, "/new Two")
        assert view.draft == ""
        await answered(controller, "Second", "2")
        await do(controller, "/next")
        assert (chat_of(controller).title, view.draft) == ("One", "half a")
        view.marked = controller.chats.all[0].key
        view.answers = [False]
        await do(controller, "/delete")
        assert len(controller.chats.all) == 2
        view.answers = [True]
        await do(controller, "/delete")
        assert [chat.title for chat in controller.chats.all] == ["One"]
        assert view.draft == "half a", "the marked chat was deleted, not the visible one"
        view.marked = None
        view.answers = [True]
        await do(controller, "/delete")
        assert chat_of(controller).blank
        assert controller.runtime.memory.sessions() == []


async def test_answers_are_copied_whole_or_their_last_code(tmp_path: Path) -> None:
    async with controlled(make_runtime(tmp_path)) as (controller, view):
        await do(controller, "/copy")
        await answered(controller, "Code?", "Here:\n\n```python\nprint(1)\n```\n\n~~~\nx\n~~~\n")
        await do(controller, "/copy code")
        await do(controller, "/copy all")
        assert view.copied == ["x\n"]
        await answered(controller, "Words?", "None.")
        await do(controller, "/copy")
        await do(controller, "/copy code")
        assert view.copied[1:] == ["None."]
        assert view.said == [
            "There is no answer to copy.",
            "/copy takes no argument, or the word code.",
            "There is no code block in the last answer.",
        ]
        view.selection = "selected"
        controller.interrupt()
        assert view.copied[-1] == "selected"


async def test_a_chat_is_opened_by_a_part_of_its_title(tmp_path: Path) -> None:
    async with controlled(make_runtime(tmp_path)) as (controller, view):
        for title in ("Sailing to Gotland", "Dinner", "Dinner for two"):
            await do(controller, f"/new {title}")
            await answered(controller, title, "Yes.")
        for typed, found in (("gotland", 0), ("dinner", 1), ("for", 2), ("dinmer", 1)):
            await do(controller, f"/chats {typed}")
            assert chat_of(controller).title == ("Sailing to Gotland", "Dinner", "Dinner for two")[found]
        await do(controller, "/sessions zzz")
        assert view.said == ["There is no chat called “zzz”."]


async def test_every_command_runs_in_a_new_chat(tmp_path: Path) -> None:
    """A handler that does not fit its command would raise here; the task of an asynchronous one, too."""
    raised: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context))
    async with controlled(make_runtime(tmp_path)) as (controller, view):
        for entry in entries():
            view.answers = [None, None]
            controller.run(entry)
            await until(lambda: not view.tasks)
        assert view.folded == ["sessions", "metrics"]
    assert raised == []


def entries() -> Iterator[Any]:
    for command in COMMANDS:
        yield command
        yield from command.below


async def test_without_a_model_messages_wait_and_leaving_keeps_them(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    view = FakeView()
    checked: View = view
    controller = Controller(runtime, checked, model="/no/such.gguf", devices=FakeDevices())  # type: ignore[arg-type]
    await controller.read()
    controller.begin()
    await until(lambda: not view.tasks)
    controller.send("Anyone?")
    assert view.said[-1] == "No model is loaded; the message waits. Choose one with /model."
    assert controller.status().model == "no model: /model"
    await controller.store()
    await runtime.close()
    async with controlled(make_runtime(tmp_path)) as (controller, view):
        waiting = next(chat for chat in controller.chats.all if chat.queue)
        controller.switch(waiting)
        assert (waiting.queue, view.queue_hint) == (["Anyone?"], "kept from last time; enter sends it")
        controller.send_queue()
        await until(lambda: streams(controller))
        assert streams(controller)[0].request.messages[-1].content == "Anyone?"


async def test_a_message_that_the_store_refuses_while_one_leaves_is_kept_as_a_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime(tmp_path)
    async with controlled(runtime) as (controller, view):
        with blocked(monkeypatch, runtime.memory, "add_message") as gate:
            controller.send("precious")
            await until(gate.entered.is_set)
            leaving = asyncio.create_task(controller.store())
            await until(lambda: not controller.chats.answers.ready)
            gate.open(StoreUnavailable("The database is locked."))
            await leaving
        assert view.draft == "precious"
        kept = json.loads((runtime.paths.data / "drafts.json").read_text())
        assert [item["draft"] for item in kept["chats"]] == ["precious"]
