"""Documents cut into passages: by headings, functions and pages, each with its place."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from memory.text import Piece, pieces_of_pages, split_document
from memory.text.chunks import PASSAGE_TOKENS, split_spans, split_text, tokens_in


def test_markdown_is_cut_at_its_headings_and_repeats_them() -> None:
    text = "Before.\n\n# Boats\n\nAbout boats.\n\n## Canoes ##\n\nRed.\nLight.\n\n# Trains\n\nFast.\n"
    assert split_document(text, ".md") == [
        Piece("Before.", 1, 1),
        Piece("# Boats\n\nAbout boats.", 3, 5),
        Piece("# Boats > Canoes\n\nRed.\nLight.", 7, 10),
        Piece("# Trains\n\nFast.", 12, 14),
    ]


def test_underlined_headings_and_fences() -> None:
    text = "Boats\n=====\nOne.\n\n```sh\n# no heading\nsail\n```\n\nCanoes\n---\nTwo.\n"
    found = split_document(text, ".MD")
    assert [piece.text.split("\n")[0] for piece in found] == ["# Boats", "# Boats > Canoes"]
    assert "# no heading\nsail" in found[0].text
    assert [(piece.first_line, piece.last_line) for piece in found] == [(1, 8), (10, 12)]


def test_settings_before_a_text_and_rules_and_tables_are_no_headings() -> None:
    text = "---\ntitle: x\n---\n\nOne.\n\n---\n\n| a |\n---\n"
    assert len(split_document(text, ".md")) == 1


def test_a_heading_with_nothing_but_deeper_ones_is_no_passage_of_its_own() -> None:
    assert [piece.text for piece in split_document("# A\n\n## B\n\ntext\n\n## C\n", ".md")] == [
        "# A > B\n\ntext",
        "# A > C",
    ]


def test_a_long_section_is_cut_and_each_piece_has_its_lines() -> None:
    lines = [f"Sentence number {number} is about the harbour of Porto and its boats." for number in range(60)]
    text = "# Harbour\n\n" + "\n".join(lines) + "\n"
    found = split_document(text, ".md")
    assert len(found) > 2
    source = text.split("\n")
    for piece in found:
        heading, _, body = piece.text.partition("\n\n")
        assert heading == "# Harbour"
        assert tokens_in(body) <= PASSAGE_TOKENS
        assert body.split("\n")[-1] == source[piece.last_line - 1]
        assert body.split("\n")[0] in source[piece.first_line - 1 : piece.first_line + 2]
    assert (found[0].first_line, found[-1].last_line) == (1, 62)
    assert [piece.continues for piece in found] == [False, *[True] * (len(found) - 1)]


def test_html_has_no_tags_scripts_or_title_and_keeps_lines() -> None:
    text = (
        "<html><head><title>t</title><style>p {}</style></head>\n<body>\n<h1>Boats &amp; co</h1>\n"
        "<p>A <b>red</b>\ncanoe.</p><script>evil()</script>\n<h2>More</h2><ul><li>one</li>\n"
        "<li>two</li></ul>\n"
    )
    assert split_document(text, ".html") == [
        Piece("# Boats & co\n\nA red canoe.", 3, 5),
        Piece("# Boats & co > More\n\none\ntwo", 6, 7),
    ]


def test_python_is_cut_at_functions_and_classes() -> None:
    text = (
        '"""Doc."""\n\nimport os\n\n# why\n@cached\ndef one():\n    return 1\n\n\n'
        "class Two:\n    x = 1\n\n    def three(self):\n        return 3\n"
    )
    assert split_document(text, ".py") == [
        Piece('"""Doc."""\n\nimport os', 1, 3),
        Piece("# one\n\n# why\n@cached\ndef one():\n    return 1", 5, 8),
        Piece("# Two\n\nclass Two:\n    x = 1\n\n    def three(self):\n        return 3", 11, 15),
    ]


def test_a_long_class_is_cut_at_its_methods() -> None:
    method = "    def m{0}(self):\n" + "        call(alpha, beta, gamma)\n" * 20
    text = "class Long:\n" + "\n".join(method.format(number) for number in range(3))
    headings = [piece.text.split("\n")[0] for piece in split_document(text, ".py")]
    assert headings == ["# Long", "# Long > m0", "# Long > m1", "# Long > m2"]


def test_python_that_does_not_parse_is_text() -> None:
    assert split_document("def one(:\n  x\n", ".py") == [Piece("def one(:\n  x", 1, 2)]
    assert split_document("x = '\\d'\ndef one(): ...\n", ".py")[1].text.startswith("# one")


def test_other_files_are_text_whatever_ends_their_lines() -> None:
    assert split_document("one\r\ntwo\rthree\n", ".txt") == [Piece("one\ntwo\nthree", 1, 3)]
    assert split_document("# not a heading\n", ".toml") == [Piece("# not a heading", 1, 1)]
    assert split_document(" \n\n", ".md") == []


def test_pages_are_never_joined() -> None:
    assert list(pieces_of_pages(["one", "", "three"])) == [
        Piece("one", 1, 1),
        Piece("three", 3, 3, continues=True),
    ]


def test_spans_are_where_the_passages_stand() -> None:
    text = "\n\n  def one():\n    pass\n\n" + "Words and more words. " * 200
    spans = split_spans(text)
    assert [passage for passage, _, _ in spans] == split_text(text)
    assert all(text[first:end] == passage for passage, first, end in spans)


@pytest.mark.parametrize("broken", ["<!--", '<a b="', "</"])
def test_html_that_ends_nowhere_is_not_searched_for_its_end(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The parser's `close` looks from each unfinished tag to the end of the text: hours for two megabytes.
    monkeypatch.setattr(HTMLParser, "close", None)
    text = f"<h1>Boats</h1><p>red</p>{broken * (20_000 // len(broken))}"
    assert split_document(text, ".html")[0].text.startswith("# Boats\n\nred")
