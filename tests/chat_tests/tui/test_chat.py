"""Sending, streaming, stopping, and what the transcript does with the text."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_tests.tui_kit import ask, engine_of, make_runtime, rows, running, say, shown, toasts, until
from textual.command import CommandList

from engine import FinishReason, GenerationFailed
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.widgets.bands import QueueBar
from stevemin_chat.tui.widgets.reply_text import ReplyText

LONG = "A line of the answer.\n\n" * 60


async def test_a_reply_streams_and_is_kept(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        assert "Type a message below" in shown(screen)
        stream = await ask(pilot, screen, "Hello there")
        stream.push("One **two** ")
        await until(pilot, lambda: "One two" in shown(screen))
        stream.push("three")
        stream.end()
        await until(pilot, lambda: "One two three" in shown(screen) and "3 tokens" in shown(screen))
        assert "Type a message below" not in shown(screen)
        assert screen.controller.chat is not None
        assert screen.controller.chat.title == "Hello there"
        record = runtime.memory.sessions()[0]
        assert [m.content for m in runtime.memory.messages(record.id)] == ["Hello there", "One **two** three"]


async def test_escape_stops_and_keeps_the_text(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "Go on")
        stream.push("The first half")
        await until(pilot, lambda: "The first half" in shown(screen))
        await pilot.press("escape")
        await until(pilot, lambda: "stopped" in shown(screen))
        assert "The first half" in shown(screen)
        assert stream.finish_reason is FinishReason.CANCELLED


async def test_ctrl_c_stops_first_and_then_says_how_to_quit(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "Go on")
        stream.push("Some text")
        await until(pilot, lambda: "Some text" in shown(screen))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: stream.done and screen.controller.chat and not screen.controller.chat.busy)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "ctrl+q quits." in toasts(screen))
        assert screen.app.is_running


async def test_scrolling_up_is_never_undone_by_new_text(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "A long one")
        stream.push(LONG)
        view = screen.transcript
        await until(pilot, lambda: view.max_scroll_y > 50 and view.scroll_offset.y == view.max_scroll_y)
        await pilot.press("pageup")
        await pilot.pause()
        place = view.scroll_offset.y
        assert place < view.max_scroll_y
        for _ in range(3):
            end = view.max_scroll_y
            stream.push(LONG)
            await until(pilot, lambda end=end: view.max_scroll_y > end)  # type: ignore[misc]
            assert view.scroll_offset.y == place
        await until(pilot, lambda: screen.query_one("#jump").display)
        stream.end()
        await until(pilot, lambda: screen.controller.chat and not screen.controller.chat.busy)
        assert view.scroll_offset.y == place
        await pilot.press("ctrl+end")
        await until(pilot, lambda: view.scroll_offset.y == view.max_scroll_y)
        assert not screen.query_one("#jump").display


async def test_the_end_is_followed_by_someone_who_is_there(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "A long one")
        view = screen.transcript
        for _ in range(3):
            end = view.max_scroll_y
            stream.push(LONG)
            await until(pilot, lambda end=end: view.max_scroll_y > end)  # type: ignore[misc]
            await until(pilot, lambda: view.scroll_offset.y == view.max_scroll_y)
        assert not screen.query_one("#jump").display


async def test_control_sequences_never_reach_the_screen(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "Be \x1b[31mnasty\x07")
        for piece in ("safe\x1b", "]0;owned", "\x07 and \x9b31m", "sound\u202e\x1b[2J"):
            stream.push(piece)
        stream.end()
        await until(pilot, lambda: "safe and sound" in shown(screen))
        picture = screen.app.export_screenshot()
        assert "owned" not in picture
        assert not any(char in picture + shown(screen) for char in "\x1b\x07\x9b\u202e")


async def test_lines_of_a_poem_stay_lines(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "A poem")
        stream.push("Roses are red\nViolets are blue\n")
        stream.end()
        await until(pilot, lambda: "Roses are red\nViolets are blue" in shown(screen))


def offered(screen: ChatScreen) -> list[str]:
    """What the command palette lists."""
    return [
        str(option.prompt) for commands in screen.app.screen.query(CommandList) for option in commands.options
    ]


async def test_markup_is_text_wherever_a_title_or_message_stands(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path), (160, 50)) as (pilot, screen):
        stream = await ask(pilot, screen, "[bold]not bold[/] [/nothing] [@click=app.bell]x[/]")
        stream.push("[red]plain[/red] <b>tag</b>\n\n<div>a block</div>\n")
        stream.end()
        await until(pilot, lambda: "a block" in shown(screen))
        assert "[bold]not bold[/]" in shown(screen)
        assert "[red]plain[/red] <b>tag</b>" in shown(screen)
        assert screen.controller.chat is not None
        await screen.controller.chats.rename(screen.controller.chat, "[b]title[/] [/oops]")
        await pilot.press("ctrl+p", "t", "i", "t")
        await until(pilot, lambda: any("[b]title[/] [/oops]" in hit for hit in offered(screen)))
        await pilot.press("escape")
        screen.say("[/bad] markup", "[/bad] title")
        await pilot.pause()
        assert str(screen.query_one("#title").visual) == "[b]title[/] [/oops]"  # type: ignore[attr-defined]


async def test_what_streams_in_pieces_looks_like_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "# Head\n\nSome `code`.\n\n```python\nfor i in x:\n    pass\n\n\nprint(1)\n```\n\n- one\n- two\n\n"
        "    deep\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n~~~\nfence\n~~~\nend"
    )
    drawn: list[str] = []
    write = ReplyText.write

    async def note(reply: ReplyText, piece: str) -> None:
        await write(reply, piece)
        drawn.append(piece)

    monkeypatch.setattr(ReplyText, "write", note)
    async with running(make_runtime(tmp_path), (80, 50)) as (pilot, screen):
        stream = await ask(pilot, screen, "In pieces")
        for start in range(0, len(text), 3):
            stream.push(text[start : start + 3])
            if start % 30 == 0:
                pushed = text[: start + 3]
                await until(pilot, lambda pushed=pushed: "".join(drawn) == pushed)  # type: ignore[misc]
        assert len(drawn) >= len(text) // 30
        stream.end()
        await until(pilot, lambda: "cached" in shown(screen))
        in_pieces = rows(screen)[:-2]  # without the status line, whose numbers keep changing
        assert screen.controller.chat is not None
        await screen.transcript.show(screen.controller.chat, None)
        await until(pilot, lambda: "cached" in shown(screen))
        assert rows(screen)[:-2] == in_pieces


async def test_messages_wait_their_turn_and_can_be_taken_back(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        first = await ask(pilot, screen, "one")
        await say(pilot, screen, "two")
        await say(pilot, screen, "three")
        assert screen.controller.chat is not None
        assert screen.controller.chat.queue == ["two", "three"]
        bar = screen.query_one(QueueBar)
        assert bar.display
        assert "two" in str(bar.visual)
        await pilot.press("up")
        assert screen.prompt.text == "three"
        screen.prompt.put("")
        first.push("done")
        first.end()
        await until(pilot, lambda: len(engine_of(screen).streams) == 2)
        assert engine_of(screen).streams[1].request.messages[-1].content == "two"
        assert not bar.display


async def test_a_failed_answer_is_marked_and_can_be_asked_for_again(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "Try this")
        stream.push("half of")
        await say(pilot, screen, "and then this")
        stream.fail(GenerationFailed("llama.cpp refused to decode this request."))
        await until(pilot, lambda: "failed: llama.cpp refused" in shown(screen))
        assert "Try this" in shown(screen)
        assert screen.controller.chat is not None
        assert screen.controller.chat.queue == ["and then this"], "what was queued waits for the person"
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(engine_of(screen).streams) == 2)
        again = engine_of(screen).streams[1]
        assert again.request.messages[-1].content == "Try this"
        again.push("whole")
        again.end()
        await until(pilot, lambda: "whole" in shown(screen) and "half of" not in shown(screen))


async def test_an_answer_cut_off_by_its_limit_says_so(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path, sampling={"max_tokens": 9})) as (pilot, screen):
        stream = await ask(pilot, screen, "Long please")
        stream.push("cut")
        stream.end(FinishReason.LENGTH)
        await until(pilot, lambda: "cut off at max_tokens" in shown(screen))


async def test_left_out_messages_are_told(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        for turn in range(4):
            stream = await ask(pilot, screen, f"turn {turn} " + "word " * 600)
            stream.push("yes")
            stream.end()
            await until(pilot, lambda: screen.controller.chat and not screen.controller.chat.busy)
        await until(pilot, lambda: "left out of the prompt (hierarchical)" in shown(screen))


async def test_old_turns_are_paged_in_without_moving_what_is_read(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    record = runtime.memory.create_session("Long chat")
    for number in range(100):
        runtime.memory.add_message(record.id, "user", f"message {number:03}")
    async with running(runtime, (80, 30)) as (pilot, screen):
        screen.controller.switch(screen.controller.chats.all[-1])
        await until(pilot, lambda: "message 099" in shown(screen))
        assert "message 050" not in shown(screen)
        view = screen.transcript
        view.scroll_to(y=3, animate=False)
        await pilot.pause()
        before = [row[:70].rstrip() for row in rows(screen)[4:14]]
        view.scroll_to(y=1, animate=False)
        await until(pilot, lambda: "message 060" in shown(screen))
        await pilot.pause()
        assert [row[:70].rstrip() for row in rows(screen)[6:16]] == before, (
            "two rows lower, as scrolled, and no further"
        )


async def test_a_queued_message_that_goes_out_does_not_pull_the_reader_down(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "A long one")
        stream.push(LONG)
        view = screen.transcript
        await until(pilot, lambda: view.max_scroll_y > 50 and view.scroll_offset.y == view.max_scroll_y)
        await say(pilot, screen, "Next, please")
        await pilot.press("pageup", "pageup")
        place = view.scroll_offset.y
        stream.end()
        await until(pilot, lambda: len(engine_of(screen).streams) == 2 and "Next, please" in shown(screen))
        engine_of(screen).streams[1].push(LONG)
        await until(pilot, lambda: screen.query_one("#jump").display)
        assert view.scroll_offset.y == place


async def test_an_answer_that_failed_yesterday_is_marked(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    record = runtime.memory.create_session("Cut off")
    parent = runtime.memory.add_message(record.id, "user", "Tell me")
    reply = runtime.memory.begin_reply(record.id, parent_id=parent.id, model="tiny")
    runtime.memory.finish_reply(
        reply.id, "Once upon", status="failed", finish_reason=None, timings=None, error="The engine crashed."
    )
    async with running(runtime) as (pilot, screen):
        await pilot.press("alt+down")
        await until(pilot, lambda: "Once upon" in shown(screen))
        assert "failed: The engine crashed." in shown(screen)
