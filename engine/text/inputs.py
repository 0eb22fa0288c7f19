"""Texts, or pairs of a query and a document, to the tokens that an embedding or a rerank model reads."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, cast

from engine.errors import InvalidRequest, TextTooLong
from engine.step import SpecialTokens
from engine.text.marks import SpecialMarks

__all__ = ["InputEncoder", "InputFormat"]

_PLACE = re.compile(r"\{(query|document)\}")


@dataclass(frozen=True, slots=True)
class InputFormat:
    """What a model expects around its input.

    Args:
        limit: tokens that the model reads at most, those around a text included.
        before, after: tokens around a text.
        pair_before, pair_between, pair_after: tokens around a query and its document.
        pair_template: text with the places `{query}` and `{document}`; replaces those tokens unless empty.
    """

    limit: int
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    pair_before: tuple[int, ...] = ()
    pair_between: tuple[int, ...] = ()
    pair_after: tuple[int, ...] = ()
    pair_template: str = ""


class Tokenizer(Protocol):
    """What the encoder needs of a model; thread-safe."""

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Text to token ids; `parse_special` recognises control tokens spelled out in the text."""

    def special_tokens(self) -> SpecialTokens:
        """How the special tokens of the vocabulary are spelled."""
        ...


class InputEncoder:
    """Tokenises the input of one model; thread-safe. What a text says never becomes a control token."""

    def __init__(self, tokenizer: Tokenizer, form: InputFormat) -> None:
        self._tokenizer = tokenizer
        self._form = form

    def texts(self, texts: Sequence[str], *, truncate: bool) -> list[list[int]]:
        """The tokens of each text.

        Args:
            truncate: cut a text that is too long at its end; the tokens after it stay.

        Raises:
            InvalidRequest: a text has no tokens.
            TextTooLong: a text has more tokens than the model reads.
        """
        _check_texts(texts)
        return [self._text(text, place, len(texts), truncate) for place, text in enumerate(texts)]

    def pairs(self, query: str, documents: Sequence[str], *, truncate: bool) -> list[list[int]]:
        """The tokens of a query with each document.

        Args:
            truncate: cut a document that is too long at its end; the query stays.

        Raises:
            InvalidRequest: the query or a document has no tokens.
            TextTooLong: the query leaves no room, or has with a document more tokens than the model reads.
        """
        _check_texts(documents)
        _check_texts([query])
        if not self._plain(query):
            raise InvalidRequest("The query is empty.")
        join, count = self._join(query), len(documents)
        return [self._pair(join, text, place, count, truncate) for place, text in enumerate(documents)]

    def _text(self, text: str, place: int, count: int, truncate: bool) -> list[int]:
        form, body = self._form, self._plain(text)
        if not body:
            raise InvalidRequest(f"Text {place + 1} of {count} is empty.")
        around = len(form.before) + len(form.after)
        if around + len(body) > form.limit:
            if not truncate:
                raise TextTooLong(around + len(body), form.limit, place, f"Text {place + 1} of {count}")
            body = body[: form.limit - around]
        return [*form.before, *body, *form.after]

    def _pair(
        self, join: Callable[[str], list[int]], document: str, place: int, count: int, truncate: bool
    ) -> list[int]:
        if not self._plain(document):
            raise InvalidRequest(f"Document {place + 1} of {count} is empty.")
        tokens, limit = join(document), self._form.limit
        if len(tokens) <= limit:
            return tokens
        if not truncate:
            raise TextTooLong(len(tokens), limit, place, f"The query with document {place + 1} of {count}")
        # The longest start of the document that fits: in a template its tokens cannot be told apart.
        fitting = range(len(document))
        length = bisect_right(fitting, limit, key=lambda end: len(join(document[:end]))) - 1
        if length <= 0:
            raise TextTooLong(len(join("")), limit, None, "The query without a document")
        return join(document[:length])

    def _join(self, query: str) -> Callable[[str], list[int]]:
        """Gives the tokens of the query with a document."""
        form = self._form
        if form.pair_template:
            return lambda document: self._rendered({"query": query, "document": document})
        start = [*form.pair_before, *self._plain(query), *form.pair_between]
        return lambda document: [*start, *self._plain(document), *form.pair_after]

    def _rendered(self, values: dict[str, str]) -> list[int]:
        """The template's tokens. Only control tokens that the template spells are control tokens."""
        cut = {name: self._marks.cut(text, markup=False) for name, text in values.items()}
        marked = self._marks.mark(_PLACE.sub(lambda place: cut[place[1]], self._form.pair_template))
        tokens: list[int] = []
        for part in marked.parts():
            for piece in part.pieces:
                tokens += self._tokenizer.tokenize(piece, parse_special=not part.plain)
        return tokens

    def _plain(self, text: str) -> list[int]:
        return self._tokenizer.tokenize(text)

    @cached_property
    def _marks(self) -> SpecialMarks:
        return SpecialMarks(self._tokenizer.special_tokens())


def _check_texts(texts: object) -> None:
    # A generator would be read here and empty afterwards.
    several = isinstance(texts, Sequence) and not isinstance(texts, str | bytes)
    if not several or not all(isinstance(text, str) for text in cast(Sequence[object], texts)):
        raise InvalidRequest("Texts are given as a list of strings.")
