"""Texts and pairs become what an embedding or a rerank model reads."""

from __future__ import annotations

from typing import Any

import pytest

from engine import InvalidRequest, PromptTooLong, TextTooLong
from engine.step import SpecialTokens
from engine.text import InputEncoder, InputFormat

BOS, EOS, SEP, MARK = 1, 2, 3, 4


class Characters:
    """A token is a character; `<s>` is a control token where one is looked for; blanks are nothing."""

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        parts = text.split("<s>") if parse_special else [text]
        tokens: list[int] = []
        for number, part in enumerate(parts):
            tokens += ([MARK] if number else []) + [ord(char) for char in part if char != " "]
        return tokens

    def special_tokens(self) -> SpecialTokens:
        return SpecialTokens(control=("<s>",))


def encoder(limit: int = 100, **form: Any) -> InputEncoder:
    return InputEncoder(Characters(), InputFormat(limit, **form))


def spelled(tokens: list[int]) -> str:
    names = {BOS: "^", EOS: "$", SEP: "|", MARK: "#"}
    return "".join(names.get(token) or chr(token) for token in tokens)


def test_texts_get_the_tokens_around_them() -> None:
    found = encoder(before=(BOS,), after=(EOS,)).texts(["ab", "c"], truncate=False)
    assert [spelled(tokens) for tokens in found] == ["^ab$", "^c$"]
    assert encoder().texts([], truncate=False) == []


def test_a_text_never_spells_a_control_token() -> None:
    assert [spelled(tokens) for tokens in encoder().texts(["a<s>b"], truncate=False)] == ["a<s>b"]


def test_a_text_that_is_too_long_is_named_with_both_numbers() -> None:
    form = encoder(5, before=(BOS,), after=(EOS,))
    assert spelled(form.texts(["abc"], truncate=False)[0]) == "^abc$"
    with pytest.raises(TextTooLong, match=r"^Text 2 of 3 has 6 tokens, .* at most 5\.$") as caught:
        form.texts(["abc", "abcd", "abcde"], truncate=False)
    error = caught.value
    assert (error.place, error.needed, error.available, error.prompt_tokens) == (1, 6, 5, 6)
    assert isinstance(error, PromptTooLong)


def test_truncating_keeps_the_tokens_around_a_text() -> None:
    found = encoder(5, before=(BOS,), after=(EOS,)).texts(["abcdefg", "ab"], truncate=True)
    assert [spelled(tokens) for tokens in found] == ["^abc$", "^ab$"]


@pytest.mark.parametrize("empty", ["", "   "])
def test_an_empty_text_is_refused(empty: str) -> None:
    form = encoder(before=(BOS,), after=(EOS,))
    with pytest.raises(InvalidRequest, match=r"Text 2 of 2 is empty\."):
        form.texts(["a", empty], truncate=True)
    with pytest.raises(InvalidRequest, match=r"Document 1 of 1 is empty\."):
        form.pairs("a", [empty], truncate=True)
    with pytest.raises(InvalidRequest, match=r"The query is empty\."):
        form.pairs(empty, ["a"], truncate=True)


@pytest.mark.parametrize("texts", ["abc", [1], [None]])
def test_what_is_no_list_of_texts_is_refused(texts: Any) -> None:
    with pytest.raises(InvalidRequest, match="list of strings"):
        encoder().texts(texts, truncate=False)
    with pytest.raises(InvalidRequest, match="list of strings"):
        encoder().pairs("a", texts, truncate=False)


def test_a_pair_has_tokens_before_between_and_after() -> None:
    form = encoder(pair_before=(BOS,), pair_between=(EOS, SEP), pair_after=(EOS,))
    assert [spelled(pair) for pair in form.pairs("q", ["ab", "c"], truncate=False)] == ["^q$|ab$", "^q$|c$"]
    assert form.pairs("q", [], truncate=False) == []


def test_a_template_replaces_them_and_alone_spells_control_tokens() -> None:
    form = encoder(pair_before=(BOS,), pair_template="<s>Q:{query}<s>D:{document}<s>")
    (pair,) = form.pairs("a{document}<s>", ["{query}<s>b"], truncate=False)
    assert spelled(pair) == "#Q:a{document}<s>#D:{query}<s>b#"


@pytest.mark.parametrize(
    "form", [{"pair_before": (BOS,), "pair_between": (SEP,)}, {"pair_template": "<s>{query}-{document}"}]
)
def test_a_pair_that_is_too_long(form: dict[str, Any]) -> None:
    pairs = encoder(7, **form).pairs
    with pytest.raises(TextTooLong, match=r"^The query with document 2 of 2 has 8 tokens, .* at most 7\."):
        pairs("qq", ["abc", "abcd"], truncate=False)
    cut = [spelled(pair) for pair in pairs("qq", ["abc", "abcdefghi"], truncate=True)]
    assert cut[0] == cut[1]
    with pytest.raises(TextTooLong, match="The query without a document has 7 tokens") as caught:
        pairs("qqqqq", ["abc"], truncate=True)
    assert caught.value.place is None
