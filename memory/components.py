"""Builds the memory: opens one database and puts together everything that works on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memory.context import ContextBuilder
from memory.ingest import DocumentSync, FactReader, Ingest
from memory.ports import Embedder, Reranker
from memory.search import Analysis, Calibration, Reordering, Search
from memory.storage import (
    Database,
    Documents,
    Eraser,
    Facts,
    Passages,
    Scopes,
    Sessions,
    Settings,
    StoredVectors,
    Summaries,
    Transcript,
    WindowStarts,
)
from memory.summaries import Consolidator
from memory.vectors import Embedders, Index, PassageVectors, Reopen

__all__ = ["Components", "open_components"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """What the façade delegates to.

    Args:
        vectors_folder: of the vector index, which may not exist yet; None for a store in memory.
    """

    database: Database
    eraser: Eraser
    sessions: Sessions
    transcript: Transcript
    passages: Passages
    facts: Facts
    summaries: Summaries
    settings: Settings
    scopes: Scopes
    ingest: Ingest
    reader: FactReader
    documents: DocumentSync
    stored: StoredVectors
    vectors: PassageVectors
    analysis: Analysis
    reordering: Reordering
    search: Search
    contexts: ContextBuilder
    vectors_folder: Path | None


def open_components(
    path: Path | str,
    embedder: Embedder | None,
    chroma_url: str | None,
    *,
    reranker: Reranker | None = None,
    reopen_embedder: Reopen = lambda recipe: None,
    no_embedder: str | None = None,
) -> Components:
    """Open the database and build what works on it. Does not migrate the schema yet.

    Args:
        reranker, reopen_embedder, no_embedder: as `Memory` takes them.

    Raises:
        StoreUnavailable, DiskFull: as `Database`.
    """
    database = Database(path)
    folder = database.path.parent / "vectors" if database.path is not None else None

    sessions = Sessions(database)
    transcript = Transcript(database, sessions)
    summaries, facts, passages = Summaries(database), Facts(database), Passages(database)
    settings, scopes = Settings(database), Scopes(database)
    if folder is None:
        embedder = None
    stored = StoredVectors(database)
    index = (
        Index(database, stored, settings, embedder=embedder, folder=folder, url=chroma_url)
        if folder is not None
        else None
    )
    embedders = (
        Embedders(database, stored, settings, wanted=embedder, reopen=reopen_embedder)
        if embedder is not None
        else None
    )
    vectors = PassageVectors(
        database, passages, stored, embedders=embedders, index=index, why_off=no_embedder
    )
    analysis = Analysis(database, passages)
    calibration = Calibration(vectors.answering, vectors.nearest)
    reordering = Reordering(reranker)
    search = Search(database, passages, vectors, scopes, analysis, calibration, reordering)
    return Components(
        database=database,
        eraser=Eraser(database, settings),
        sessions=sessions,
        transcript=transcript,
        passages=passages,
        facts=facts,
        summaries=summaries,
        settings=settings,
        scopes=scopes,
        ingest=Ingest(
            database,
            sessions=sessions,
            transcript=transcript,
            passages=passages,
            facts=facts,
            summaries=summaries,
            settings=settings,
            repair=analysis.start_anew,
        ),
        reader=FactReader(database, facts, settings),
        documents=DocumentSync(
            database,
            documents=Documents(database),
            passages=passages,
            settings=settings,
            repair=analysis.start_anew,
        ),
        stored=stored,
        vectors=vectors,
        analysis=analysis,
        reordering=reordering,
        search=search,
        contexts=ContextBuilder(
            database,
            sessions=sessions,
            transcript=transcript,
            window_starts=WindowStarts(database),
            facts=facts,
            scopes=scopes,
            summaries=summaries,
            search=search,
            consolidator=Consolidator(database, transcript, summaries),
        ),
        vectors_folder=folder,
    )
