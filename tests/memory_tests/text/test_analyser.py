"""One analysis for both sides of keyword search, in every script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.text.analyser import TermFinder, analysed, query_terms
from memory.text.languages import language_of


def forms(question: str) -> list[str]:
    return [form for term in query_terms(question) for form in term.forms]


def finds(question: str, text: str) -> bool:
    """Whether every term of a question is in a text, and whether the fast finder says so, too."""
    terms, index = query_terms(question), analysed(text).split()
    found = bool(terms) and all(
        any(each.startswith(form) if term.begins else each == form for each in index for form in term.forms)
        for term in terms
    )
    assert TermFinder(terms).places_in(text) >= (2 ** len(terms) - 1 if found else 0)
    return found


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What did I tell you about the Café?", "We met in a cafe."),
        ("new houses", "The new house is here"),
        ("новая", "Это новый дом"),
        ("Андрей", "Андрей живёт здесь"),
        ("елка", "У нас стоит ёлка"),
        ("Γατα", "Η γάτα μου"),
        ("고양이", "내 고양이는 귀엽다"),
        ("ガラス", "ガラスの靴"),
        ("viet", "Tôi ở Việt Nam"),
        ("أحمد", "قال احمد ذلك"),
        ("قَطّ", "عندي قط"),
        ("我的猫", "我的猫叫小白"),
        ("猫", "他有一只猫"),
        ("แมว", "ฉันชอบแมวมาก"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("Wo sind die Häuser?", "Das Haus ist alt, und es ist nicht groß."),
        ("Straße", "STRASSE"),
        ("Où sont les chevaux ?", "Mon cheval est dans le pré avec les autres."),
        ("user name", "see getUserName()"),
        ("getusername", "see getUserName()"),
        ("ﬁne", "a fine day"),
        ("un_happy", "un_happy"),
    ],
)
def test_a_question_finds_the_text_in_its_own_language(question: str, text: str) -> None:
    assert finds(question, text)
    assert finds(unicodedata.normalize("NFD", question), text)
    assert finds(question, unicodedata.normalize("NFD", text))


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("car", "The scarf"),
        ("猫", "我的狗"),
        ("новый", "старый дом"),
        ("고양이", "강아지"),
        ("name", "nothing"),
    ],
)
def test_other_words_are_not_found(question: str, text: str) -> None:
    assert not finds(question, text)


def test_words_without_meaning_are_not_looked_up() -> None:
    assert forms("What did I tell you about the car?") == ["car"]
    assert "wo" not in forms("Wo wohnt mein Bruder?")
    assert query_terms("?!") == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("wo wohnt mein bruder", "german"),
        ("où habite mon frère", "french"),
        ("dónde vive mi hermano", "spanish"),
        ("where does my brother live", "english"),
        ("waar woont mijn broer", "dutch"),
        ("robots", "english"),
    ],
)
def test_languages_are_told_apart_by_their_function_words(text: str, language: str) -> None:
    assert language_of(text.split()) == language


def test_a_stem_is_found_at_the_start_of_words_only() -> None:
    terms = query_terms("car happy star")
    finder = TermFinder(terms)
    assert finder.places_in("The scarf of a carpenter") == 1
    assert finder.places_in("oscar, CARS and happiness") == 0b11
    assert finder.places_in("a \u017ftar") == 0b100
    assert finder.places_in("") == 0


@given(st.text(max_size=200))
def test_no_text_breaks_the_analysis(text: str) -> None:
    terms = analysed(text)
    assert not set('"*()') & set(terms)
    assert all(form and form == form.split()[0] for form in forms(text))
    for term in query_terms(text):
        assert any(each.startswith(term.forms[0]) for each in terms.split()) or len(term.forms) > 1


def test_a_blob_is_one_short_term() -> None:
    assert len(analysed("a" * 5000)) <= 64
