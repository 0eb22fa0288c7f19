"""How a message is split into passages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memory.text.chunks import PASSAGE_WORDS, split_text


@given(st.text(alphabet=" \n.ab", max_size=3000))
def test_chunks_are_short_and_together_the_text(text: str) -> None:
    pieces = split_text(text)
    assert " ".join(pieces).split() == text.split()
    assert all(len(piece.split()) <= PASSAGE_WORDS for piece in pieces)
