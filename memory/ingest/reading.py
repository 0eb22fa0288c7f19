"""Lets a model that was checked look for facts in what the person said, a few messages at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from memory.errors import ExtractionCancelled
from memory.ports import FactExtractor
from memory.reports import FactsCheck
from memory.storage import Database, Facts, Readings, Settings, now
from memory.types import Fact, Message

if TYPE_CHECKING:  # what compiles many patterns is imported when it is used
    from memory.ingest.facts import Statement

__all__ = ["FactReader"]

_log = logging.getLogger(__name__)

_AT_ONCE = 12  # messages to choose a batch from


class FactReader:
    """Asks about the newest messages first, and about each once. What the rules found already is not added.

    Call from any thread but the database's: the model is waited for.
    """

    def __init__(self, database: Database, facts: Facts, settings: Settings) -> None:
        self._call = database.call
        self._database = database
        self._facts = facts
        self._settings = settings
        self._readings = Readings(database)

    def checked(self, model: str) -> FactsCheck | None:
        """The newest check of a model; None if it has not been checked, or not in the present way."""
        found = self._call(self._settings.facts_check, model)
        if found is None:
            return None
        from memory.ingest.facts_check import check_id

        return found if found.check == check_id() else None

    def check(
        self, extractor: FactExtractor, show: Callable[[float], None], cancelled: Callable[[], bool]
    ) -> FactsCheck:
        """Check a model and remember the result. Raises `ExtractionCancelled`."""
        from memory.ingest.facts_check import found_by_model, graded

        found = found_by_model(extractor, show, cancelled)
        result = graded(found, model=extractor.model, at=now())
        self._call(self._settings.set_facts_check, result)
        return result

    def run_next(self, extractor: FactExtractor, cancelled: Callable[[], bool]) -> int | None:
        """Ask about the next messages, and store what was found in them.

        If the model fails, the messages count as read: it would fail again.

        Returns:
            How many messages were read; None, with nothing stored, if there are none, the model has not
            passed the check, or it was cancelled.
        """
        check = self.checked(extractor.model)
        if check is None or not check.passed or cancelled():
            return None
        from memory.ingest.extraction import in_batches, words_to_read

        messages = self._call(self._readings.unread, extractor.model, _AT_ONCE)
        texts = [words_to_read(message) for message in messages]
        batch = next(in_batches(texts), None)
        if batch is None:
            return None
        try:
            found = self._ask(extractor, [texts[place] for place in batch], cancelled)
        except ExtractionCancelled:
            return None
        self._call(self._store, extractor.model, [messages[place] for place in batch], found)
        return len(batch)

    def _ask(
        self, extractor: FactExtractor, texts: Sequence[str], cancelled: Callable[[], bool]
    ) -> list[list[Statement]]:
        from memory.ingest.extraction import ask

        try:
            return ask(extractor, texts, cancelled)
        except ExtractionCancelled:
            raise
        except Exception as error:
            # The message may quote the chat, which must not reach a log.
            _log.warning("No facts were looked for: %s.", type(error).__name__)
            return [[] for _ in texts]

    def _store(self, model: str, messages: Sequence[Message], found: Sequence[Sequence[Statement]]) -> None:
        with self._database.atomic():
            for message, statements in zip(messages, found, strict=True):
                if not self._readings.mark(message.id, model):  # forgotten, or off the record by now
                    continue
                for statement in statements:
                    if not _is_known(statement.text, self._facts.made_from(message.id)):
                        self._facts.add(statement.text, statement.kind, message.id, statement.slot)


def _is_known(words: str, facts: Sequence[Fact]) -> bool:
    """Whether one of a message's facts says it already, in more words or in fewer."""
    key = words.casefold()
    return any(key in fact.text.casefold() or fact.text.casefold() in key for fact in facts)
