"""Reads what `memory.ingest.exports` wrote, and checks all of it before anything is stored."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn, get_args

from memory.errors import InvalidImport
from memory.ingest.exports import FORMAT
from memory.storage import Value
from memory.text import check_quoted, quoted_as_json, storable, title_key
from memory.types import Entity, EntityKind, FactKind, Quoted

__all__ = ["Columns", "Document", "Item", "read_document"]

Columns = dict[str, Value]

_BREAKS = {"Cc", "Zl", "Zp"}
_MOST: Final = 2**53  # a number that JSON keeps exactly
_CHAT_ID = re.compile(r"[0-9a-f]{8}")
_MESSAGE_ID = re.compile(r"[0-9a-f]{32}")
_ROLES = ("system", "user", "assistant")
_STATUSES = ("complete", "cancelled", "interrupted", "failed")
_KINDS = get_args(FactKind)
_DAY = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2}(?:/\d{4}-\d{2}-\d{2})?)?)?")
_SCOPES = ("session", "project", "everywhere")


@dataclass(frozen=True, slots=True)
class Item:
    """A row to add.

    Args:
        place: where it stands in the document.
        columns: as the table has them.
        sources: ids of the messages that it was made from.
        days: of a fact, the days that it means, by source.
        entities: of a fact; None if the document does not tell.
        readers: of a message, the models that have looked for facts in it.
    """

    place: str
    columns: Columns
    sources: tuple[str, ...] = ()
    days: Mapping[str, str] = field(default_factory=dict)
    entities: tuple[Entity, ...] | None = None
    readers: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """The id of a fact or of a summary."""
        return int(self.columns["id"] or 0)


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was checked.

    Args:
        complete: it holds everything, so that whatever it refers to must be in it or in the store.
    """

    complete: bool
    sessions: tuple[Item, ...]
    messages: tuple[Item, ...]
    facts: tuple[Item, ...]
    summaries: tuple[Item, ...]

    @property
    def strategies(self) -> frozenset[str]:
        """The context strategies that chats ask for."""
        return frozenset(str(item.columns["strategy"]) for item in self.sessions if item.columns["strategy"])


def read_document(data: bytes) -> Document:
    """Parse and check an export. Raises `InvalidImport`."""
    try:
        found = json.loads(data.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise InvalidImport("It is not UTF-8 text.") from error
    except json.JSONDecodeError as error:
        what = f"It is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        raise InvalidImport(what) from error
    except (ValueError, RecursionError) as error:
        raise InvalidImport("It is not JSON that this program can read.") from error
    if not isinstance(found, dict):
        raise InvalidImport("It is not an export of the memory: it must be a JSON object.")
    version = found.get("format")
    if isinstance(version, bool) or not isinstance(version, int):
        raise InvalidImport('It is not an export of the memory: "format" must be a number.')
    if not 1 <= version <= FORMAT:
        raise InvalidImport(f"Its format is {version}; this version of stevemin reads 1 to {FORMAT}.")
    complete = version > 1
    read = _Tables(found)
    messages = read.all("messages", lambda one: _message(one, complete))
    sessions = read.all("sessions", _session) if complete else _sessions_of(messages, found["messages"])
    facts = read.all("facts", lambda one: _fact(one, complete))
    summaries = read.all("summaries", _summary)
    _check_tree(sessions, messages)
    return Document(complete, sessions, messages if complete else _in_a_row(messages), facts, summaries)


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


class _Tables:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def all(self, name: str, read: Callable[[_Reader], Item]) -> tuple[Item, ...]:
        rows = self._document.get(name)
        if not isinstance(rows, list):
            raise InvalidImport.at(name, "must be a list")
        items = tuple(read(_Reader(row, f"{name}[{place}]")) for place, row in enumerate(rows))
        seen = set[Value]()
        for item in items:
            if item.columns["id"] in seen:
                raise InvalidImport.at(f"{item.place}.id", "is in the file twice")
            seen.add(item.columns["id"])
        return items


class _Reader:
    """Reads the fields of one object; an error names the place."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            raise InvalidImport.at(place, "must be an object")
        self._fields: dict[str, Any] = value
        self.place = place

    def fail(self, name: str, what: str) -> NoReturn:
        raise InvalidImport.at(f"{self.place}.{name}", what)

    def has(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str):
            self.fail(name, "must be a string")
        if storable(value) != value:
            self.fail(name, "has half of a character")
        return value

    def text_or_none(self, name: str) -> str | None:
        return None if self._fields.get(name) is None else self.text(name)

    def line(self, name: str) -> str:
        value = self.text(name)
        if not value.strip() or any(unicodedata.category(char) in _BREAKS for char in value):
            self.fail(name, "must be one line of text without control characters")
        return value

    def one_of(self, name: str, allowed: Sequence[str]) -> str:
        value = self.text(name)
        if value not in allowed:
            self.fail(name, f"must be one of: {', '.join(allowed)}")
        return value

    def id(self, name: str, form: re.Pattern[str]) -> str:
        value = self.text(name)
        if not form.fullmatch(value):
            self.fail(name, "is not an id")
        return value

    def number(self, name: str, least: int = 1) -> int:
        return self._whole(name, self._fields.get(name), least)

    def flag(self, name: str) -> bool:
        value = self._fields.get(name)
        if not isinstance(value, bool):
            self.fail(name, "must be true or false")
        return value

    def time(self, name: str) -> str:
        value = self.line(name)
        try:
            datetime.fromisoformat(value)
        except ValueError:
            self.fail(name, "must be a time in ISO 8601")
        return value

    def day(self, name: str) -> str | None:
        value = self.text_or_none(name)
        if not _is_day(value):
            self.fail(name, "must be a day: YYYY-MM-DD")
        return value

    def ids(self, name: str, form: re.Pattern[str] | None = None) -> tuple[str, ...]:
        found = self.list(name)
        for value in found:
            if not isinstance(value, str) or not (form or _MESSAGE_ID).fullmatch(value):
                self.fail(name, "must be a list of ids")
        if len(set(found)) < len(found):
            self.fail(name, "names an id twice")
        return tuple(found)

    def texts(self, name: str) -> list[str]:
        found = self.list(name)
        if any(not isinstance(value, str) or storable(value) != value for value in found):
            self.fail(name, "must be a list of strings")
        return list(found)

    def numbers(self, name: str) -> list[int]:
        return [self._whole(name, value, 0) for value in self.list(name)]

    def object_or_none(self, name: str) -> str | None:
        """The object as JSON text."""
        return None if self._fields.get(name) is None else json.dumps(self.mapping(name))

    def mapping(self, name: str) -> dict[str, Any]:
        value = self._fields.get(name)
        if not isinstance(value, dict):
            self.fail(name, "must be an object")
        return value

    def inner(self, name: str) -> _Reader | None:
        value = self._fields.get(name)
        return None if value is None else _Reader(value, f"{self.place}.{name}")

    def list(self, name: str) -> Sequence[Any]:
        value = self._fields.get(name)
        if not isinstance(value, list):
            self.fail(name, "must be a list")
        return value

    def _whole(self, name: str, value: object, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
            self.fail(name, f"must be a whole number from {least}")
        return value


def _session(one: _Reader) -> Item:
    title = one.line("title")
    return Item(
        one.place,
        {
            "id": one.id("id", _CHAT_ID),
            "title": title,
            "title_key": title_key(title),
            "titled": one.flag("titled"),
            "created_at": one.time("created_at"),
            "updated_at": one.time("updated_at"),
            "model": one.text_or_none("model"),
            "strategy": one.text_or_none("strategy"),
            "system_prompt": one.text_or_none("system_prompt"),
            "head_id": one.text_or_none("head_id"),
            "project": one.text_or_none("project"),
            "scope": one.one_of("scope", _SCOPES),
        },
    )


def _message(one: _Reader, complete: bool) -> Item:
    columns: Columns = {
        "id": one.id("id", _MESSAGE_ID),
        "session_id": one.id("session_id", _CHAT_ID),
        "parent_id": None,
        "role": one.one_of("role", _ROLES),
        "content": one.text("text"),
        "status": "complete",
        "created_at": one.time("at"),
    }
    if complete:
        columns |= {
            "parent_id": one.text_or_none("parent_id"),
            "status": one.one_of("status", _STATUSES),
            "unrecorded": not one.flag("recorded"),
            "model": one.text_or_none("model"),
            "finish_reason": one.text_or_none("finish_reason"),
            "timings": one.object_or_none("timings"),
            "error": one.text_or_none("error"),
            "sources": _prompt_sources(one.inner("sources")),
            "quoted": _quoted(one, one.text("text")),
        }
    return Item(one.place, columns, readers=tuple(one.texts("read_by")) if one.has("read_by") else ())


def _quoted(one: _Reader, text: str) -> str | None:
    spans = one.list("quoted")
    try:
        found = [Quoted(*span) for span in spans]
        if any(type(place) is not int for span in found for place in (span.start, span.end)):
            raise TypeError
        check_quoted(text, found)
    except (TypeError, ValueError):
        one.fail("quoted", "must be a list of [start, end, origin] within the text, in order")
    return quoted_as_json(found)


def _prompt_sources(one: _Reader | None) -> str | None:
    if one is None:
        return None
    found: dict[str, Any] = {
        "strategy": one.line("strategy"),
        "memories": list(one.ids("memories")),
        "facts": one.numbers("facts"),
        "summaries": one.numbers("summaries"),
        "learned": one.numbers("learned"),
    }
    for name in ("documents", "instructions"):  # records of earlier versions lack them
        if one.has(name):
            found[name] = one.texts(name)
    return json.dumps(found)


def _fact(one: _Reader, complete: bool) -> Item:
    sources = one.ids("sources", _MESSAGE_ID)
    text, edited = one.line("text"), one.flag("edited")
    written, slot = not sources, None
    if complete:
        written, slot = one.flag("written"), one.text_or_none("slot")
        if not written and not sources:
            one.fail("sources", "must name a message, as the person did not write this fact")
    elif sources and not edited:
        from memory.ingest.facts_en import slot_of  # compiles many patterns

        slot = slot_of(text)
    return Item(
        one.place,
        {
            "id": one.number("id"),
            "text": text,
            "kind": one.one_of("kind", _KINDS),
            "written": written,
            "slot": slot,
            "until": one.time("until") if one.text_or_none("until") is not None else None,
            "pinned": one.flag("pinned"),
            "edited": edited,
            "created_at": one.time("created_at"),
            "day": one.day("written_day") if one.has("written_day") else None,
        },
        sources,
        _days(one),
        _entities(one),
    )


def _days(one: _Reader) -> dict[str, str]:
    found = one.mapping("days") if one.has("days") else {}  # earlier versions did not tell
    if any(value is None or not _is_day(value) for value in found.values()):
        one.fail("days", "must name a day for a source: YYYY-MM-DD")
    return found


def _is_day(value: object) -> bool:
    return value is None or (isinstance(value, str) and _DAY.fullmatch(value) is not None)


def _entities(one: _Reader) -> tuple[Entity, ...] | None:
    if not one.has("entities"):
        return None
    found = [_Reader(row, f"{one.place}.entities[{at}]") for at, row in enumerate(one.list("entities"))]
    return tuple(Entity(item.line("name"), _entity_kind(item)) for item in found)


def _entity_kind(one: _Reader) -> EntityKind:
    kind: EntityKind = one.one_of("kind", get_args(EntityKind))  # type: ignore[assignment]
    return kind


def _summary(one: _Reader) -> Item:
    text = one.text("text")
    if not text.strip():
        one.fail("text", "must not be empty")
    sources = one.ids("sources", _MESSAGE_ID)
    if not sources:
        one.fail("sources", "must name a message")
    return Item(
        one.place,
        {
            "id": one.number("id"),
            "session_id": one.id("session_id", _CHAT_ID),
            "level": one.number("level", 0),
            "text": text,
            "created_at": one.time("created_at"),
        },
        sources,
    )


def _check_tree(sessions: Sequence[Item], messages: Sequence[Item]) -> None:
    """Each message is in a chat of the document, after its parent; each head is in its chat."""
    chats = {item.columns["id"] for item in sessions}
    where: dict[Value, Value] = {}
    for item in messages:
        chat, parent = item.columns["session_id"], item.columns["parent_id"]
        if chat not in chats:
            raise InvalidImport.at(f"{item.place}.session_id", "names no chat of the file")
        if parent is not None and where.get(parent) != chat:
            raise InvalidImport.at(f"{item.place}.parent_id", "names no earlier message of its chat")
        where[item.columns["id"]] = chat
    for item in sessions:
        head = item.columns["head_id"]
        if head is not None and where.get(head) != item.columns["id"]:
            raise InvalidImport.at(f"{item.place}.head_id", "names no message of this chat")


def _sessions_of(messages: Sequence[Item], rows: Sequence[Mapping[str, Any]]) -> tuple[Item, ...]:
    """The chats of a document of format 1, which has no more than their titles."""
    found: dict[Value, Item] = {}
    for item, row in zip(messages, rows, strict=True):
        title = _Reader(row, item.place).line("session_title")
        chat, at = item.columns["session_id"], item.columns["created_at"]
        known = found.setdefault(
            chat,
            Item(
                item.place,
                {
                    "id": chat,
                    "title": title,
                    "title_key": title_key(title),
                    "titled": True,
                    "created_at": at,
                    "strategy": None,
                },
            ),
        )
        known.columns.update(updated_at=at, head_id=item.columns["id"])
    return tuple(found.values())


def _in_a_row(messages: Sequence[Item]) -> tuple[Item, ...]:
    """The messages of a document of format 1, each after the one before it in its chat."""
    newest: dict[Value, Value] = {}
    for item in messages:
        item.columns["parent_id"] = newest.get(item.columns["session_id"])
        newest[item.columns["session_id"]] = item.columns["id"]
    return tuple(messages)
