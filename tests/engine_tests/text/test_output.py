"""Bytes of tokens to text, split anywhere, and stop strings."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.text.output import Detokenizer


@given(text=st.text(), cuts=st.lists(st.integers(0, 400)))
def test_utf8_split_anywhere_is_decoded(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", "replace")
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    detokenizer = Detokenizer()
    pieces = [detokenizer.feed(data[a:b]) for a, b in pairwise(edges)]
    assert "".join(pieces) + detokenizer.flush() == data.decode()


def test_a_broken_end_becomes_one_replacement_character() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.feed("ä".encode()[:1]) == ""
    assert detokenizer.flush() == "\ufffd"


@given(
    text=st.text("abX", max_size=30),
    stop=st.lists(st.text("abX", min_size=1, max_size=4), min_size=1, max_size=3),
    size=st.integers(1, 5),
)
def test_a_stop_string_is_found_wherever_the_tokens_split(text: str, stop: list[str], size: int) -> None:
    detokenizer = Detokenizer(tuple(stop))
    out = "".join(detokenizer.feed(text[i : i + size].encode()) for i in range(0, len(text), size))
    out += detokenizer.flush()
    found = [text.find(s) for s in stop if s in text]
    assert detokenizer.stopped == bool(found)
    if not found:
        assert out == text
    else:
        assert text.startswith(out)
        assert not any(s in out for s in stop)


def test_text_is_held_back_only_while_it_may_become_a_stop_string() -> None:
    detokenizer = Detokenizer(("STOP",))
    assert detokenizer.feed(b"xS") == "x"
    assert detokenizer.feed(b"T") == ""
    assert detokenizer.feed(b"a") == "STa"
