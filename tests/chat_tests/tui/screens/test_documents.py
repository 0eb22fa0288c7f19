"""The screen of documents and /docs: adding in the background, stopping, removing, the sync at the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from chat_tests.tui_kit import make_runtime, running, say, toasts, until
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from memory import DocumentsReport
from stevemin_chat.runtime import Runtime
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.screens.dialogs import Confirm, EditLine
from stevemin_chat.tui.screens.documents import DocumentsScreen


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boats.md").write_text("# Boats\n\nThe canoe is turquoise.\n")
    (notes / "photo.png").write_bytes(b"\0")
    return notes


class Held:
    """Reading that goes on until it is let go or stopped."""

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.free, self.stopped = Event(), Event(), Event()
        monkeypatch.setattr(runtime.memory.documents, "add", self._add)

    def _add(
        self, paths: Any, *, project: Any, progress: Callable[[int, int], None], stopped: Callable[[], bool]
    ) -> DocumentsReport:
        progress(700, 2_000)
        self.begun.set()
        while not self.free.wait(0.01):
            if stopped():
                self.stopped.set()
                break
        return DocumentsReport(added=700, stopped=stopped())


def items(screen: ChatScreen) -> list[str]:
    options = screen.app.screen.query_one("#items", OptionList).options
    return [str(option.prompt) for option in options]


def state(screen: ChatScreen) -> str:
    return str(screen.app.screen.query_one("#state", Static).visual)


async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
    await until(pilot, lambda: not screen.controller.documents.work.running)
    await say(pilot, screen, "/docs")
    await until(pilot, lambda: isinstance(screen.app.screen, DocumentsScreen))


async def test_documents_are_added_listed_and_removed(tmp_path: Path, notes: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        await look(pilot, screen)
        await until(pilot, lambda: "No documents yet" in state(screen))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(screen.app.screen, EditLine))
        screen.app.screen.query_one(Input).value = str(notes)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(screen.app.screen, DocumentsScreen) and len(items(screen)) == 2)
        assert items(screen) == ["notes/boats.md\n  1 passage", "notes/photo.png\n  not text"]
        assert state(screen).startswith("2 files, 1 passage")
        assert toasts(screen) == ["Documents: 1 added.\nLeft out: 1 not text."]
        await pilot.press("d")
        await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(screen.app.screen, DocumentsScreen) and len(items(screen)) == 1)
        assert runtime.memory.search("canoe", sources="documents") == []


async def test_slash_commands(tmp_path: Path, notes: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        await until(pilot, lambda: not screen.controller.documents.work.running)
        await say(pilot, screen, f"/docs add {notes}")
        await until(pilot, lambda: any("1 added" in text for text in toasts(screen)))
        (notes / "boats.md").write_text("The canoe is vermilion.\n")
        await say(pilot, screen, "/docs sync")
        await until(pilot, lambda: any("1 changed" in text for text in toasts(screen)))
        await say(pilot, screen, "/docs stop")
        await until(pilot, lambda: "No documents are being read." in toasts(screen))
        await say(pilot, screen, f"/docs remove {notes}")
        await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: any("Removed 2 documents" in text for text in toasts(screen)))
        await say(pilot, screen, f"/docs add {notes}/nowhere")
        await until(pilot, lambda: any("No file or folder" in text for text in toasts(screen)))


async def test_progress_is_shown_and_reading_is_stopped(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime(tmp_path)
    held = Held(runtime, monkeypatch)
    async with running(runtime) as (pilot, screen):
        await until(pilot, lambda: not screen.controller.documents.work.running)
        await say(pilot, screen, f"/docs add {notes}")
        await until(pilot, held.begun.is_set)
        assert screen.controller.status().hint == "documents 700 of 2,000"
        await say(pilot, screen, "/docs sync")
        await until(pilot, lambda: any("Stop that first" in text for text in toasts(screen)))
        await say(pilot, screen, "/docs")
        await until(pilot, lambda: isinstance(screen.app.screen, DocumentsScreen))
        await until(pilot, lambda: "documents 700 of 2,000" in state(screen))
        await pilot.press("x")
        await until(pilot, held.stopped.is_set)
        await until(pilot, lambda: any("Stopped; what was read is kept" in text for text in toasts(screen)))


async def test_quitting_does_not_wait_for_reading(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime(tmp_path)
    held = Held(runtime, monkeypatch)
    async with running(runtime) as (pilot, screen):
        await until(pilot, lambda: not screen.controller.documents.work.running)
        await say(pilot, screen, f"/docs add {notes}")
        await until(pilot, held.begun.is_set)
    assert held.stopped.wait(30)  # told to stop when the screen closed, and reported nowhere


async def test_changes_are_read_at_the_start(tmp_path: Path, notes: Path) -> None:
    runtime = make_runtime(tmp_path)
    runtime.memory.documents.add([notes])
    (notes / "boats.md").write_text("The canoe is vermilion.\n")
    async with running(runtime) as (pilot, screen):
        await until(pilot, lambda: toasts(screen))
        assert "1 changed" in toasts(screen)[0]
        assert [item.place for item in runtime.memory.search("vermilion")] == ["notes/boats.md:1"]


async def test_a_chat_without_a_project_cannot_scope_documents(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        await until(pilot, lambda: not screen.controller.documents.work.running)
        monkeypatch.chdir("/")
        await say(pilot, screen, f"/docs project {notes}")
        await until(pilot, lambda: any("belongs to no project" in text for text in toasts(screen)))
        monkeypatch.chdir(notes)
        await say(pilot, screen, f"/docs project {notes}")
        await until(pilot, lambda: any("1 added" in text for text in toasts(screen)))
        assert {item.project for item in runtime.memory.documents.list()} == {str(notes)}
