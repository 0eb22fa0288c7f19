"""The parts that share one database, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memory.ingest.chunks import Intake
from memory.ports import Embedder, VectorIndex
from memory.search.search import Search
from memory.storage.database import Database
from memory.storage.facts import Facts
from memory.storage.messages import Transcript
from memory.storage.passages import Passages
from memory.storage.sessions import Sessions
from memory.storage.state import ContextCuts, Scopes, Settings
from memory.storage.summaries import Summaries
from memory.summaries.make import Consolidator
from memory.vectors.sync import PassageVectors

__all__ = ["Parts", "open_parts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What stands behind the façade.

    Args:
        vectors_folder: of the vector index, which need not be there.
    """

    database: Database
    sessions: Sessions
    transcript: Transcript
    cuts: ContextCuts
    summaries: Summaries
    facts: Facts
    passages: Passages
    settings: Settings
    scopes: Scopes
    intake: Intake
    vectors: PassageVectors
    search: Search
    consolidator: Consolidator
    vectors_folder: Path


def open_parts(path: Path, embedder: Embedder | None, chroma_url: str | None) -> Parts:
    """Open the database and what works on it; the schema is not looked at yet.

    Raises:
        StoreUnavailable, DiskFull: as `Database`.
    """
    folder = path.parent / "vectors"

    def open_vectors(embedder: Embedder) -> VectorIndex:
        from memory.vectors.chroma import (
            open_index,  # numpy, and what stands behind it: not before it is wanted
        )

        return open_index(folder, embedder=embedder.name, dimension=embedder.dimension, url=chroma_url)

    database = Database(path)
    sessions = Sessions(database)
    transcript = Transcript(database, sessions)
    summaries, facts, passages = Summaries(database), Facts(database), Passages(database)
    settings, scopes = Settings(database), Scopes(database)
    vectors = PassageVectors(database, passages, embedder=embedder, folder=folder, open_index=open_vectors)
    return Parts(
        database=database,
        sessions=sessions,
        transcript=transcript,
        cuts=ContextCuts(database),
        summaries=summaries,
        facts=facts,
        passages=passages,
        settings=settings,
        scopes=scopes,
        intake=Intake(
            database,
            sessions=sessions,
            transcript=transcript,
            passages=passages,
            facts=facts,
            summaries=summaries,
            settings=settings,
        ),
        vectors=vectors,
        search=Search(database, passages, vectors, scopes),
        consolidator=Consolidator(database, transcript, summaries),
        vectors_folder=folder,
    )
