"""Words and stems, as the keyword index analyses them."""

from __future__ import annotations

from memory.text.analyser import StemFinder, content_words


def test_content_words_are_the_selective_ones() -> None:
    assert content_words("What did I tell you about the Café?") == ["cafe"]


def test_stems_are_found_at_the_start_of_words() -> None:
    stems = ["car", "happi", "cafe", "naiv", "star"]

    def found(text: str) -> set[str]:
        bits = StemFinder(stems).places_in(text)
        return {stem for place, stem in enumerate(stems) if bits >> place & 1}

    assert found("The scarf of a carpenter") == {"car"}
    assert found("oscar, CARS and happy_people") == {"car", "happi"}
    assert found("un_happy") == set()
    assert found("Ein Café für Naïve") == {"cafe", "naiv"}
    assert found("a \u017ftar in \u0130stanbul") == {"star"}
    assert found("") == set()
