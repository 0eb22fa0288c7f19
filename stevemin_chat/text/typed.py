"""Text of a prompt that remembers which parts of it are not the person's own words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

__all__ = ["Span", "Typed", "edited", "joined", "mapped", "part", "quoted_in"]

Span = tuple[int, int, str]  # start, end, and how it got here: "pasted" or "piped"


class Typed(str):
    """A string with the parts that were pasted or piped in, in order.

    A plain string is all the person's own words, and what the methods of `str` return is plain: use the
    functions of this module where a text is changed on its way.
    """

    quoted: tuple[Span, ...]

    def __new__(cls, text: str = "", quoted: Iterable[Span] = ()) -> Typed:
        self = super().__new__(cls, text)
        self.quoted = _merged(quoted, len(text))
        return self


def quoted_in(text: str) -> tuple[Span, ...]:
    """The parts of a text that are not the person's own words."""
    return text.quoted if isinstance(text, Typed) else ()


def part(text: str, start: int, end: int) -> Typed:
    """`text[start:end]`."""
    spans = [(max(first, start), min(last, end), origin) for first, last, origin in quoted_in(text)]
    return Typed(text[start:end], [(first - start, last - start, origin) for first, last, origin in spans])


def joined(texts: Iterable[str], separator: str = "") -> Typed:
    """`separator.join(texts)`; the separator is the person's own."""
    whole, spans = "", list[Span]()
    for place, text in enumerate(texts):
        whole += separator if place else ""
        spans += [(len(whole) + start, len(whole) + end, origin) for start, end, origin in quoted_in(text)]
        whole += text
    return Typed(whole, spans)


def mapped(text: str, change: Callable[[str], str]) -> Typed:
    """Change each part by itself, so that none takes in what belongs to another."""
    pieces, at = list[str](), 0
    for start, end, origin in quoted_in(text):
        words = change(text[start:end])
        pieces += [change(text[at:start]), Typed(words, [(0, len(words), origin)])]
        at = end
    return joined([*pieces, change(text[at:])])


def edited(text: str, start: int, end: int, inserted: str) -> Typed:
    """`text` with another text in place of `text[start:end]`."""
    return joined([part(text, 0, start), inserted, part(text, end, len(text))])


def _merged(spans: Iterable[Span], length: int) -> tuple[Span, ...]:
    """Without empty ones; those of one origin that touch are one."""
    found: Sequence[Span] = sorted((max(0, start), min(end, length), origin) for start, end, origin in spans)
    kept: list[Span] = []
    for start, end, origin in found:
        if kept and kept[-1][2] == origin and start <= kept[-1][1]:
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]), origin)
        elif start < end:
            start = max(start, kept[-1][1] if kept else 0)
            if start < end:
                kept.append((start, end, origin))
    return tuple(kept)
