"""Lets a reranker put the best passages into another order, if there is one and it answers in time.

A reranker reads a question together with a passage, which takes far longer than comparing their vectors: it
sees the best ones only. Their scores stay those of our own ranking, since the gate and the floor below which
nothing is quoted are about these.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from memory.errors import RerankerUnavailable
from memory.ports import Reranker
from memory.search.rank import Ranked
from memory.vectors import TimeLimit

__all__ = ["Reordering"]

_log = logging.getLogger(__name__)

_BEST = 30  # passages
_WAIT_S = 0.5  # a search waits no longer
_AT_ONCE = 2


class Reordering:
    """Any thread; blocks for half a second at most.

    Args:
        reranker: None: the order stays as it is.

    Attributes:
        timeouts: searches that did not wait any longer and kept their order.
    """

    def __init__(self, reranker: Reranker | None) -> None:
        self.timeouts = 0
        self._reranker = reranker
        self._time_limit = TimeLimit(_WAIT_S, _AT_ONCE)

    def reorder(self, question: str, ranked: Sequence[Ranked]) -> tuple[Sequence[Ranked], bool]:
        """The same passages, and whether the reranker has put the best of them into its own order."""
        reranker, best = self._reranker, ranked[:_BEST]
        if reranker is None or len(best) < 2:
            return ranked, False
        reranker.start()
        if not reranker.ready:
            return ranked, False
        texts = [item.passage.text for item in best]
        try:
            scores = self._time_limit.run(lambda: reranker.scores(question, texts))
        except TimeoutError:
            self.timeouts += 1
            _log.warning("The reranker takes too long; the order stays as it is.")
            return ranked, False
        except RerankerUnavailable as error:
            _log.warning("The reranker failed: %s", error)
            return ranked, False
        order = sorted(range(len(best)), key=lambda place: -scores[place])
        return [*(best[place] for place in order), *ranked[_BEST:]], True

    def close(self) -> None:
        """Stop the reranker. Safe to call twice."""
        if self._reranker is not None:
            self._reranker.close()
        self._time_limit.close()
