"""Text without a store or a model: words and stems, sentences, passages, dates, titles, safe quoting.

Owns what the memory knows about language. Everything in it is a pure function of its input.
"""

from memory.text.analyser import Term, TermFinder, analysed, query_terms
from memory.text.chunks import joined, split_text, tokens_in
from memory.text.cues import Cues, cues_of
from memory.text.dates import asks_when, days_of, says_when
from memory.text.days import day_meant
from memory.text.entities import HARDWARE, TOOL_NAMES, entities_in, entity_key
from memory.text.instructions import has_instructions
from memory.text.languages import language_in
from memory.text.outline import Piece, pieces_of_pages, split_document
from memory.text.parts import (
    check_quoted,
    marked,
    own_words,
    parts_of,
    quoted_as_json,
    quoted_from_json,
)
from memory.text.quoting import is_laid_out, quoted, quoted_passage
from memory.text.sentences import clip, content_stems, sentence_spans, split_sentences
from memory.text.titles import clean_title, storable, title_from, title_key

__all__ = [
    "HARDWARE",
    "TOOL_NAMES",
    "Cues",
    "Piece",
    "Term",
    "TermFinder",
    "analysed",
    "asks_when",
    "check_quoted",
    "clean_title",
    "clip",
    "content_stems",
    "cues_of",
    "day_meant",
    "days_of",
    "entities_in",
    "entity_key",
    "has_instructions",
    "is_laid_out",
    "joined",
    "language_in",
    "marked",
    "own_words",
    "parts_of",
    "pieces_of_pages",
    "query_terms",
    "quoted",
    "quoted_as_json",
    "quoted_from_json",
    "quoted_passage",
    "says_when",
    "sentence_spans",
    "split_document",
    "split_sentences",
    "split_text",
    "storable",
    "title_from",
    "title_key",
    "tokens_in",
]
