"""Search of everything that was said: from a question to ranked passages.

Owns keyword search, the weights that join words and meanings into one score, and the gate that keeps
memories away from messages that need none. The vectors come from their own room.
"""

from memory.search.calibration import Calibration, unknown_languages
from memory.search.keywords import Analysis, Keywords
from memory.search.rank import contributions
from memory.search.recalled import Recalled, to_recall
from memory.search.rerank import Reordering
from memory.search.search import Search

__all__ = [
    "Analysis",
    "Calibration",
    "Keywords",
    "Recalled",
    "Reordering",
    "Search",
    "contributions",
    "to_recall",
    "unknown_languages",
]
