"""Text without a store or a model: words and stems, sentences, passages, dates, titles, safe quoting.

Owns what the memory knows about language. Everything in it is a pure function of its input.
"""

from memory.text.analyser import StemFinder, content_words, stem
from memory.text.chunks import split_text
from memory.text.dates import asks_when, days_of, says_when
from memory.text.quoting import quoted
from memory.text.sentences import clip, content_stems, sentence_spans, split_sentences
from memory.text.titles import clean_title, storable, title_from, title_key

__all__ = [
    "StemFinder",
    "asks_when",
    "clean_title",
    "clip",
    "content_stems",
    "content_words",
    "days_of",
    "quoted",
    "says_when",
    "sentence_spans",
    "split_sentences",
    "split_text",
    "stem",
    "storable",
    "title_from",
    "title_key",
]
