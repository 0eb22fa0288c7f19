"""Checks the models that search by meaning: whether they are here, and suit what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memory.errors import EmbedderUnavailable, RerankerUnavailable, StoreError
from memory.search import unknown_languages
from memory.storage import Database, Passages
from memory.text import language_in
from stevemin_chat.base import ConfigFileError, Paths, load_config
from stevemin_chat.doctor.check import Check, Status
from stevemin_chat.models import configured_embedder, configured_reranker, embedder_label
from stevemin_chat.text import listing, percent

if TYPE_CHECKING:
    from memory import Embedder

__all__ = ["check_embedder", "check_reranker"]

_SAMPLE = 500  # passages whose language is looked at
_FEW = 20  # of so few passages nothing can be said, and the model need not be loaded
_NOTABLE, _MOST = 0.1, 0.5  # shares of the passages
_MULTILINGUAL = "intfloat/multilingual-e5-small"


def check_embedder(paths: Paths) -> Iterator[Check]:
    """Name the embedding model; warn if it is missing, or does not know the language of most passages."""
    try:
        settings = load_config(paths.config_file).memory
    except ConfigFileError:  # another check tells
        return
    line = f"embedder under [memory] in {paths.config_file}"
    try:
        embedder = configured_embedder(paths, settings)
    except EmbedderUnavailable as error:
        found = f"search is by words only: {error}"
        yield _check("warn", found, f"Install the model, or change {line}.")
        return
    try:
        name = f"{embedder_label(embedder.name)}, {embedder.dimension} numbers for a text"
        foreign = _unknown_share(embedder, _languages(paths))
    except EmbedderUnavailable as error:
        yield _check("warn", f"{name}: {error}", f"Download the model again, or change {line}.")
        return
    finally:
        embedder.close()
    if foreign is None:
        yield _check("ok", name)
        return
    languages, share = foreign
    yield _check(
        "warn",
        f"{name}; {percent(share)} of what is stored is in a language that it does not know ({languages}): "
        "there, search is by words only",
        f'Run: hf download {_MULTILINGUAL}, then set embedder = "{_MULTILINGUAL}" under [memory] in '
        f"{paths.config_file}. Everything is embedded anew in the background.",
    )


def check_reranker(paths: Paths) -> Iterator[Check]:
    """Warn if a reranker is wanted and missing; nothing without one."""
    try:
        settings = load_config(paths.config_file).memory
        if (reranker := configured_reranker(paths, settings)) is not None:
            reranker.close()
            yield Check(id="reranker", title="Reranker", status="ok", found=reranker.name)
    except ConfigFileError:  # another check tells
        return
    except RerankerUnavailable as error:
        mend = f"Install it, or change reranker under [memory] in {paths.config_file}."
        yield Check(id="reranker", title="Reranker", status="warn", found=str(error), mend=mend)


def _check(status: Status, found: str, mend: str = "") -> Check:
    return Check(id="embedder", title="Embedding model", status=status, found=found, mend=mend)


def _languages(paths: Paths) -> Counter[str]:
    """The languages of some of the passages that are stored."""
    if not paths.database.exists():
        return Counter()
    try:
        opened = Database(paths.database)
        try:
            texts = opened.call(Passages(opened).sample, _SAMPLE)
        finally:
            opened.close()
    except StoreError:  # damaged, which another check tells, or of an older version without passages
        return Counter()
    return Counter(map(language_in, texts))


def _unknown_share(embedder: Embedder, languages: Counter[str]) -> tuple[str, float] | None:
    """The languages that the model does not know, if most is in these, and their share."""
    total = languages.total()
    if total < _FEW:
        return None
    unknown = unknown_languages(
        embedder, [name for name, count in languages.items() if count >= _NOTABLE * total]
    )
    share = sum(languages[name] for name in unknown) / total
    if share <= _MOST:
        return None
    return listing([name.capitalize() for name, _ in languages.most_common() if name in unknown]), share
