"""The benchmark of the cache of retrievals, on a small store without the embedding model."""

from __future__ import annotations

import json

from bench.memory import cache
from bench.memory.synthetic import WordVectors


def test_a_question_that_is_asked_again_is_not_searched_for() -> None:
    result = json.loads(json.dumps(cache.measure(WordVectors(), turns=60, questions=6)))
    work = {name: tuple(way[each] for each in way if each != "ms") for name, way in result["ways"].items()}
    assert work == {
        "for the first time": (1, 1, 1),
        "again": (0, 0, 0),
        "in other letters": (0, 0, 0),
        "after ten messages": (0, 0, 1),
    }
    counts = result["searches"]
    assert (counts["hits"], counts["partial"], result["timeouts"]) == (12, 6, 0)
    assert len(list(cache.show(result))) == 6
