"""What is remembered, as a list: the profile, or what a search found."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from stevemin_chat.recall import FactEntry, Found, HitEntry
from stevemin_chat.text import clip, count, one_line, speaker

__all__ = ["MemoryList"]

_LINES = 2  # of a text
_NARROW = 30


class MemoryList(OptionList):
    """Two or three lines for each item, under headings that cannot be chosen."""

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
        """What the memory calls the highlighted item."""
        chosen = self.chosen
        if isinstance(chosen, FactEntry):
            return str(chosen.fact.id)
        return chosen.recall.message_id if chosen is not None else None

    def show(self, found: Found, question: str) -> None:
        """Show what was found for a question; the highlight stays at its place.

        Args:
            question: empty for the whole profile.
        """
        place = self.highlighted
        self._found, self._question = found, question
        self._draw()
        self.highlighted = self._nearest(place or 0)

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        place = self.highlighted
        rows: list[Option] = []
        self._entries = []
        facts, hits = self._found.facts, self._found.hits
        if facts or not self._question:
            self._head(rows, f"Profile: {count(len(facts), 'fact')}" if facts else _NO_FACTS)
        for entry in facts:
            self._add(rows, entry, self._fact(entry))
        if self._question:
            self._head(rows, "Said" if hits else "Nothing that was said is about this.", apart=bool(facts))
        for hit in hits:
            self._add(rows, hit, self._hit(hit))
        self.set_options(rows)
        self.highlighted = place if place is not None and place < len(rows) else None

    def _head(self, rows: list[Option], text: str, *, apart: bool = False) -> None:
        self._entries.append(None)
        rows.append(Option(Content.styled("\n" * apart + text, "bold $primary"), disabled=True))

    def _add(self, rows: list[Option], entry: FactEntry | HitEntry, content: Content) -> None:
        self._entries.append(entry)
        rows.append(Option(content))

    def _nearest(self, place: int) -> int | None:
        """The item at a place or, where that is a heading or gone, the next or the last one."""
        items = [at for at, entry in enumerate(self._entries) if entry is not None]
        return next((at for at in items if at >= place), items[-1] if items else None)

    def _fact(self, entry: FactEntry) -> Content:
        fact, where = entry.fact, "you wrote it"
        if entry.session is not None:
            where = one_line(entry.session.title)
        at = entry.message.created_at if entry.message is not None else fact.created_at
        marks = [name for name in ("pinned", "edited") if getattr(fact, name)]
        return self._row(fact.text, [*marks, fact.kind, where, at[:10]], strong=fact.pinned)

    def _hit(self, entry: HitEntry) -> Content:
        hit = entry.recall
        details = [speaker(hit.role), one_line(entry.title), hit.at[:10], f"score {hit.score:.1f}"]
        return self._row(hit.text, details)

    def _row(self, text: str, details: list[str], *, strong: bool = False) -> Content:
        width = max(_NARROW, self.scrollable_content_region.width - 2)
        return Content("\n").join(
            [
                Content.styled(clip(text, _LINES * width - 4), "bold" if strong else ""),
                Content.styled(clip(" · ".join(details), width), "$foreground 50%"),
            ]
        )


_NO_FACTS = "Your profile is empty. It fills when you say things of yourself in a chat."
