"""The memory as the application uses it: opening it, remembering and forgetting, summaries, and its words.

Owns long-term memory in the running application (`Remembering`), summaries made in quiet moments
(`Consolidating`), the engine as the memory's counter and summarizer, and what commands and screens show of
memories. Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.doors import lazy

if TYPE_CHECKING:
    from stevemin_chat.recall.access import (
        open_memory,
        open_store,
        wait_for_meaning,
    )
    from stevemin_chat.recall.consolidating import Consolidating
    from stevemin_chat.recall.document_work import DocumentOutcome, DocumentWork
    from stevemin_chat.recall.documents import (
        DOCUMENT_COLUMNS,
        PASSAGE_COLUMNS,
        document_row,
        passage_json,
        passage_rows,
        report_words,
        state_words,
    )
    from stevemin_chat.recall.forgetting import (
        choose,
        counted,
        imported_words,
        stats_rows,
        switched_in_words,
    )
    from stevemin_chat.recall.lookup import (
        FACT_COLUMNS,
        HIT_COLUMNS,
        INSTRUCTIONS,
        Account,
        Explanation,
        FactEntry,
        Found,
        HitEntry,
        Link,
        Place,
        explain,
        fact_entries,
        facts_of,
        find,
        follow,
        hit_entries,
        last_exchange,
        read_account,
        why_nothing_is_listed,
    )
    from stevemin_chat.recall.remembering import Remembering, StillAnswering
    from stevemin_chat.recall.summarizer import EngineCounter, EngineExtractor, EngineSummarizer
    from stevemin_chat.recall.words import (
        SCOPE_WORDS,
        DropGroup,
        added_words,
        bar,
        derived_lines,
        drop_groups,
        fact_marks,
        foreign_words,
        forget_question,
        forgotten_words,
        headline,
        index_words,
        layer_units,
        off_record_question,
        origin_as_json,
        origin_lines,
        reason_words,
        score_words,
        source_lines,
    )

__all__ = [
    "DOCUMENT_COLUMNS",
    "FACT_COLUMNS",
    "HIT_COLUMNS",
    "INSTRUCTIONS",
    "PASSAGE_COLUMNS",
    "SCOPE_WORDS",
    "Account",
    "Consolidating",
    "DocumentOutcome",
    "DocumentWork",
    "DropGroup",
    "EngineCounter",
    "EngineExtractor",
    "EngineSummarizer",
    "Explanation",
    "FactEntry",
    "Found",
    "HitEntry",
    "Link",
    "Place",
    "Remembering",
    "StillAnswering",
    "added_words",
    "bar",
    "choose",
    "counted",
    "derived_lines",
    "document_row",
    "drop_groups",
    "explain",
    "fact_entries",
    "fact_marks",
    "facts_of",
    "find",
    "follow",
    "foreign_words",
    "forget_question",
    "forgotten_words",
    "headline",
    "hit_entries",
    "imported_words",
    "index_words",
    "last_exchange",
    "layer_units",
    "off_record_question",
    "open_memory",
    "open_store",
    "origin_as_json",
    "origin_lines",
    "passage_json",
    "passage_rows",
    "read_account",
    "reason_words",
    "report_words",
    "score_words",
    "source_lines",
    "state_words",
    "stats_rows",
    "switched_in_words",
    "wait_for_meaning",
    "why_nothing_is_listed",
]

if not TYPE_CHECKING:
    __getattr__ = lazy(
        __name__,
        {
            "access": "open_memory open_store wait_for_meaning",
            "consolidating": "Consolidating",
            "document_work": "DocumentOutcome DocumentWork",
            "documents": (
                "DOCUMENT_COLUMNS PASSAGE_COLUMNS document_row passage_json passage_rows report_words "
                "state_words"
            ),
            "forgetting": "choose counted imported_words stats_rows switched_in_words",
            "lookup": (
                "FACT_COLUMNS HIT_COLUMNS INSTRUCTIONS Account Explanation FactEntry Found HitEntry Link "
                "Place explain fact_entries facts_of find follow hit_entries last_exchange read_account "
                "why_nothing_is_listed"
            ),
            "remembering": "Remembering StillAnswering",
            "summarizer": "EngineCounter EngineExtractor EngineSummarizer",
            "words": (
                "SCOPE_WORDS DropGroup added_words bar derived_lines drop_groups fact_marks foreign_words "
                "forget_question forgotten_words headline index_words layer_units off_record_question "
                "origin_as_json origin_lines reason_words score_words source_lines"
            ),
        },
    )
