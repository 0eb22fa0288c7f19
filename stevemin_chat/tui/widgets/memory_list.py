"""The parts of the memory screen: the switches, and the list of what is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from stevemin_chat.recall import (
    INSTRUCTIONS,
    SCOPE_WORDS,
    FactEntry,
    Found,
    HitEntry,
    Link,
    fact_marks,
    index_words,
)
from stevemin_chat.text import clip, count, day, one_line, speaker

if TYPE_CHECKING:
    from memory import EntityKind
    from stevemin_chat.chats import Chat
    from stevemin_chat.recall import Remembering

__all__ = ["MemoryList", "MemoryStates"]

_KINDS: dict[EntityKind, str] = {
    "kin": "",
    "name": "",
    "tool": " (tool)",
    "machine": " (machine)",
    "project": " (project)",
}
_LINES = 2  # of an item's text
_NARROW = 30  # cells
_NO_FACTS = "Your profile is empty. It fills when you say things about yourself in a chat."


class MemoryList(OptionList):
    """The profile, or the results of a search: two lines each, under headings that cannot be chosen."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, compact=True, markup=False)
        self._found = Found(())
        self._question = ""
        self._entries: list[FactEntry | HitEntry | None] = []  # None: a heading

    @property
    def chosen(self) -> FactEntry | HitEntry | None:
        """The highlighted item."""
        place = self.highlighted
        return self._entries[place] if place is not None and place < len(self._entries) else None

    @property
    def chosen_id(self) -> str | None:
        """The id of the highlighted item in the memory."""
        chosen = self.chosen
        if isinstance(chosen, FactEntry):
            return str(chosen.fact.id)
        return chosen.recall.message_id if chosen is not None else None

    def show(self, found: Found, question: str) -> None:
        """Show the results of a search; the highlight keeps its row.

        Args:
            question: what was searched for; empty for the whole profile.
        """
        place = self.highlighted
        self._found, self._question = found, question
        self._draw()
        self.highlighted = self._nearest(place or 0)

    def choose(self, fact_id: int) -> None:
        """Highlight the last row of a fact, if it is shown."""
        for place, entry in enumerate(self._entries):
            if isinstance(entry, FactEntry) and entry.fact.id == fact_id:
                self.highlighted = place

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        place = self.highlighted
        rows: list[Option] = []
        self._entries = []
        if self._found.links is not None:
            self._draw_links(rows, self._found.facts[0], self._found.links)
        else:
            self._draw_found(rows)
        self.set_options(rows)
        self.highlighted = place if place is not None and place < len(rows) else None

    def _draw_links(self, rows: list[Option], fact: FactEntry, links: Sequence[Link]) -> None:
        self._head(rows, "What this fact names, and what else is known of it")
        self._add(rows, fact, self._fact(fact))
        for link in links:
            others = count(len(link.facts), "other fact") if link.facts else "no other fact"
            self._head(rows, f"{one_line(link.entity.name)}{_KINDS[link.entity.kind]}: {others}", apart=True)
            for entry in link.facts:
                self._add(rows, entry, self._fact(entry))

    def _draw_found(self, rows: list[Option]) -> None:
        facts, hits = self._found.facts, self._found.hits
        if facts or not self._question:
            self._head(rows, f"Profile: {count(len(facts), 'fact')}" if facts else _NO_FACTS)
        for entry in facts:
            self._add(rows, entry, self._fact(entry))
        if self._question:
            self._head(rows, "Messages" if hits else "No message matches.", apart=bool(facts))
        for hit in hits:
            self._add(rows, hit, self._hit(hit))

    def _head(self, rows: list[Option], text: str, *, apart: bool = False) -> None:
        self._entries.append(None)
        rows.append(Option(Content.styled("\n" * apart + text, "bold $primary"), disabled=True))

    def _add(self, rows: list[Option], entry: FactEntry | HitEntry, content: Content) -> None:
        self._entries.append(entry)
        rows.append(Option(content))

    def _nearest(self, place: int) -> int | None:
        """The item in a row; where that is a heading or missing, the next or the last item."""
        items = [at for at, entry in enumerate(self._entries) if entry is not None]
        return next((at for at in items if at >= place), items[-1] if items else None)

    def _fact(self, entry: FactEntry) -> Content:
        fact, where = entry.fact, "written by you"
        if entry.session is not None:
            where = one_line(entry.session.title)
        at = entry.message.created_at if entry.message is not None else fact.created_at
        return self._row(fact.dated_text, [*fact_marks(fact), fact.kind, where, day(at)], strong=fact.pinned)

    def _hit(self, entry: HitEntry) -> Content:
        hit = entry.recall
        who = speaker(hit.role, hit.origin)
        details = [who, one_line(entry.title), day(hit.at), f"score {hit.score:.1f}"]
        return self._row(hit.text, [INSTRUCTIONS, *details] if hit.instructions else details)

    def _row(self, text: str, details: list[str], *, strong: bool = False) -> Content:
        width = max(_NARROW, self.scrollable_content_region.width - 2)
        return Content("\n").join(
            [
                Content.styled(clip(text, _LINES * width - 4), "bold" if strong else ""),
                Content.styled(clip(" · ".join(details), width), "$foreground 50%"),
            ]
        )


class MemoryStates(Static):
    """The switches of long-term memory with their keys; below, the state of its index."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id, markup=False)

    def show(self, remembering: Remembering, chat: Chat, busy: str) -> None:
        """Draw the present state.

        Args:
            busy: work under way, shown in place of the index; empty when there is none.
        """
        scope = chat.scope or remembering.usual_scope
        switches = (
            ("x", "remembering", "on" if remembering.on else "off"),
            ("o", "this chat", "off the record" if chat.off_record else "on the record"),
            ("c", "reaches", SCOPE_WORDS[scope][0]),
        )
        line = Content("    ").join(
            Content.assemble((f"{key} ", "$primary"), (f"{what} ", "$foreground 60%"), state)
            for key, what, state in switches
        )
        below = (busy, "$accent") if busy else (index_words(remembering.index), "$foreground 50%")
        self.update(Content("\n").join([line, Content.styled(*below)]))
