"""Sentences, stems and clipped text."""

from __future__ import annotations

from memory.text.sentences import content_stems


def test_forms_of_a_word_share_a_stem() -> None:
    assert (
        len({content_stems(word)[0] for word in ("bake", "baked", "bakes", "baking", "baker", "bakers")}) == 1
    )
    assert content_stems("The user asked about it.") == []
