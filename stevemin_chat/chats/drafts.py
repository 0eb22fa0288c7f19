"""Drafts and queued messages, kept from one run to the next."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar, get_args

from memory import STRATEGIES, QuoteOrigin, Scope
from stevemin_chat.base import ChatAppError, delete_partials, write_private
from stevemin_chat.chats.chat import Chat
from stevemin_chat.text import Typed, mapped, quoted_in, sanitize

__all__ = ["Drafts", "DraftsNotRead", "DraftsUnreadable", "KeptDraft"]

T = TypeVar("T")

_SETTINGS = {"strategy": str, "system_prompt": str, "off_record": bool, "scope": str}
_NAMES: dict[str, Collection[str]] = {"strategy": STRATEGIES, "scope": get_args(Scope)}


class DraftsUnreadable(ChatAppError):
    """The file of drafts is damaged.

    Attributes:
        kept: where the damaged file is now.
    """

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        super().__init__(
            f"Drafts and queued messages of the last run are unreadable; the file is now {kept}."
        )


class DraftsNotRead(ChatAppError):
    """The system refuses to read the file of drafts, which may be whole."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"Drafts and queued messages of the last run cannot be read: {path} ({error.strerror or error}). "
            "The file stays as it is, so this run keeps no drafts."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDraft:
    """What one chat had not sent.

    Args:
        session_id: None for a chat that is not stored.
        title, settings: of a chat that is not stored.
        queue: messages that were sent but not stored, oldest first.
    """

    session_id: str | None = None
    title: str = ""
    draft: str = ""
    queue: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, chat: Chat) -> KeptDraft:
        """The unsent parts of a chat."""
        if chat.record is not None:
            return cls(session_id=chat.record.id, draft=chat.draft, queue=tuple(chat.unstored))
        settings = dict(chat.settings)
        return cls(title=chat.title, draft=chat.draft, queue=tuple(chat.unstored), settings=settings)

    def __bool__(self) -> bool:
        return bool(self.draft.strip() or self.queue or self.settings)

    def mentions(self, text: str) -> bool:
        """Whether any of it contains a text, whatever its case."""
        return self != self.without(text)

    def without(self, text: str) -> KeptDraft:
        """What is left when everything is dropped that contains a text, whatever its case."""
        wanted = text.casefold()
        return replace(
            self,
            title="" if wanted in self.title.casefold() else self.title,
            draft="" if wanted in self.draft.casefold() else self.draft,
            queue=tuple(message for message in self.queue if wanted not in message.casefold()),
            settings={
                name: value for name, value in self.settings.items() if wanted not in str(value).casefold()
            },
        )


class Drafts:
    """A small file beside the database, readable by its owner only. Its methods block, except `changes`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: list[dict[str, Any]] = []

    def changes(self, chats: Sequence[Chat], others: Sequence[KeptDraft] = ()) -> list[KeptDraft] | None:
        """The drafts to write; None if the file already holds them. Cheap, for the event loop.

        Args:
            others: drafts to keep besides those of the chats.
        """
        kept = [item for chat in chats if (item := KeptDraft.of(chat))]
        kept += others
        return None if [_as_json(item) for item in kept] == self._written else kept

    def write(self, kept: list[KeptDraft]) -> None:
        """Replace the file.

        Raises:
            OSError: the file cannot be written; the old one is still there.
        """
        written = [_as_json(item) for item in kept]
        write_private(self._path, json.dumps({"chats": written}))
        self._written = written

    def read(self) -> list[KeptDraft]:
        """What the last run kept, safe for a terminal; nothing where there is no file.

        Raises:
            DraftsUnreadable: the file is damaged; it has been renamed.
            DraftsNotRead: the system refuses to read it; do not write over it.
        """
        delete_partials(self._path)
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DraftsNotRead(self._path, error) from error
        try:
            kept = _parse(json.loads(text))
        except (ValueError, RecursionError) as error:  # nested too deeply for the parser
            raise DraftsUnreadable(self._set_aside()) from error
        self._written = [_as_json(item) for item in kept]
        return kept

    def _set_aside(self) -> Path:
        """Rename the damaged file without replacing an earlier one; leave it if renaming fails."""
        for number in range(1, 100):
            aside = self._path.with_name(f"{self._path.stem}.damaged-{number}{self._path.suffix}")
            if not aside.exists():
                try:
                    return self._path.rename(aside)
                except OSError:
                    break
        return self._path


def _as_json(item: KeptDraft) -> dict[str, Any]:
    """What is kept, and beside each text the parts that were pasted: start, end, origin."""
    return {
        "session_id": item.session_id,
        "title": item.title,
        "draft": str(item.draft),
        "draft_quoted": [list(span) for span in quoted_in(item.draft)],
        "queue": [str(text) for text in item.queue],
        "queue_quoted": [[list(span) for span in quoted_in(text)] for text in item.queue],
        "settings": dict(item.settings),
    }


def _parse(document: object) -> list[KeptDraft]:
    """Raises ValueError where the document is not what `Drafts.write` or an older version wrote."""
    if not isinstance(document, dict):
        raise ValueError("not an object")
    if "chats" in document:
        return [_item(item) for item in _typed(document["chats"], list)]
    # Up to 0.1 one entry by session id, "" for all new chats together.
    return [_item(_typed(item, dict) | {"session_id": key or None}) for key, item in document.items()]


def _item(item: object) -> KeptDraft:
    fields = _typed(item, dict)
    session_id = fields.get("session_id")
    settings = _typed(fields.get("settings", {}), dict)
    queue = _typed(fields.get("queue", []), list)
    return KeptDraft(
        session_id=None if session_id is None else _typed(session_id, str),
        title=_text(fields.get("title", "")),
        draft=_quoting(fields.get("draft", ""), fields.get("draft_quoted", [])),
        queue=tuple(
            clean
            for text, spans in zip_longest(queue, _typed(fields.get("queue_quoted", []), list)[: len(queue)])
            if (clean := _quoting(text, spans or [])).strip()
        ),
        settings=_known(settings),
    )


def _known(settings: dict[str, object]) -> dict[str, Any]:
    """Without unknown names, such as those of another version: every message of the chat would fail."""
    kept: dict[str, Any] = {}
    for name, kind in _SETTINGS.items():
        if (value := settings.get(name)) is None:
            continue
        value = _text(value) if kind is str else _typed(value, kind)
        if name not in _NAMES or value in _NAMES[name]:
            kept[name] = value
    return kept


def _quoting(text: object, spans: object) -> Typed:
    """A text with its pasted parts; raises ValueError."""
    found = []
    for span in _typed(spans, list):
        if len(_typed(span, list)) != 3:
            raise ValueError("not a start, an end and an origin")
        start, end, origin = _typed(span[0], int), _typed(span[1], int), _typed(span[2], str)
        if origin not in get_args(QuoteOrigin):
            raise ValueError("unknown origin")
        found.append((start, end, origin))
    return mapped(Typed(_typed(text, str), found), sanitize)


def _text(value: object) -> str:
    return sanitize(_typed(value, str))


def _typed(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"{type(value).__name__} in place of {kind.__name__}")
    return value
