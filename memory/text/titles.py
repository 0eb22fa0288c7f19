"""Text as the store keeps and compares it: storable text, one-line titles, title keys."""

from __future__ import annotations

import unicodedata

__all__ = ["TITLE_CHARACTERS", "clean_title", "storable", "title_from", "title_key"]

TITLE_CHARACTERS = 40


def storable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot encode, replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_title(text: str) -> str:
    """The text as one line without control characters; empty if nothing visible is left."""
    visible = (" " if unicodedata.category(char) in _INVISIBLE else char for char in storable(text))
    return " ".join("".join(visible).split())


def title_from(text: str) -> str:
    """The first words of a message, at most 40 characters; empty if it has no visible character."""
    title = clean_title(text)
    if len(title) <= TITLE_CHARACTERS:
        return title
    room = TITLE_CHARACTERS - 1
    words = title[: room + 1].rsplit(" ", 1)[0]
    # A single long word, an address for instance, is cut in the middle.
    return (words if len(words) <= room else title[:room]).rstrip(" ,;:.-") + "…"


def title_key(title: str) -> str:
    """Equal for titles that look the same: ignores case, spacing and character variants."""
    return unicodedata.normalize("NFKC", clean_title(title)).casefold()


_INVISIBLE = {"Cc", "Zl", "Zp", "Cn", "Cs", "Co"}
