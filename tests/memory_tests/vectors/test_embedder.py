"""The embedder with its real model: the quality of its vectors, and the order of its work."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from memory.ports import Embedder
from memory.vectors.embedder import WorkerEmbedder
from memory.vectors.workers.embedding import NICENESS


def sentences(count: int) -> list[str]:
    animals = ("otter", "heron", "lynx", "badger", "newt")
    return [
        f"On day {number} we saw {number % 7 + 1} {animals[number % 5]}s by the river"
        + ", again" * (number % 9)
        for number in range(count)
    ]


def test_it_is_an_embedder(embedder: WorkerEmbedder) -> None:
    port: Embedder = embedder
    assert port.dimension == 384
    assert port.name.startswith("all-MiniLM-L6-v2:")


def test_rows_are_normalised_and_float32(embedder: WorkerEmbedder) -> None:
    vectors = embedder.embed(sentences(40))
    assert vectors.shape == (40, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_meaning_decides_what_is_near(embedder: WorkerEmbedder) -> None:
    pairs = {
        "Where did I park the car?": "I left the vehicle on the third floor of the garage.",
        "Which medicine am I not allowed to take?": "The doctor warned me that I am allergic to penicillin.",
        "What does my daughter want for her birthday?": "Mia turns seven in May and dreams of a telescope.",
        "When does the train leave?": "Our departure from the station is at half past nine.",
        "How do I sort a list in Python?": "Use sorted(), with a key function if need be.",
    }
    questions, answers = embedder.embed(list(pairs)), embedder.embed(list(pairs.values()))
    assert (questions @ answers.T).argmax(axis=1).tolist() == list(range(len(pairs)))


def test_a_batch_equals_its_single_texts_in_order(embedder: WorkerEmbedder) -> None:
    texts = [*sentences(12), "short", "long " * 300, "", sentences(1)[0]]
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    # Neighbours in the list are different enough for a swap to show.
    assert np.abs(together[:11] - together[1:12]).max(axis=1).min() > 0.01


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "\0",
        "\ud800 lone \udfff",
        "x" * 500_000,
        "word " * 100_000,
        "🦦" * 300,
        "א ب 字",
        "[CLS] [SEP]",
    ],
    ids=["empty", "blank", "nul", "surrogates", "one-word", "words", "emoji", "scripts", "marks"],
)
def test_no_text_is_refused(embedder: WorkerEmbedder, text: str) -> None:
    vectors = embedder.embed([text, "a neighbour"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[1:], embedder.embed(["a neighbour"]), atol=1e-4)


def test_text_beyond_the_limit_does_not_count(embedder: WorkerEmbedder) -> None:
    start = "the same words over and over " * 60
    one, other = embedder.embed([start + "otters", start + "tax returns " * 3000])
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_many_threads_get_their_own_vectors(embedder: WorkerEmbedder) -> None:
    lists = [sentences(30)[first : first + 1 + first % 4] for first in range(16)]
    expected = embedder.embed(sentences(30))
    with ThreadPoolExecutor(12) as pool:
        for first, vectors in enumerate(pool.map(embedder.embed, lists)):
            np.testing.assert_allclose(vectors, expected[first : first + 1 + first % 4], atol=1e-4)


def test_a_search_overtakes_bulk_work(embedder: WorkerEmbedder) -> None:
    ended: list[str] = []
    embedder.embed(["the model is loaded now"])
    with ThreadPoolExecutor(1) as pool:
        bulk = pool.submit(embedder.embed, sentences(70))
        bulk.add_done_callback(lambda _: ended.append("bulk"))
        for question in sentences(3):
            embedder.embed([question])
            ended.append("search")
        assert bulk.result().shape == (70, 384)
    assert ended == ["search"] * 3 + ["bulk"]


def test_the_worker_opens_no_network_connection(embedder: WorkerEmbedder) -> None:
    embedder.embed(["the model is loaded now"])
    worker = psutil.Process(embedder.worker_pid)
    assert worker.net_connections(kind="inet") == []
    assert os.getpgid(worker.pid) != os.getpgid(0)  # Ctrl+C in our terminal does not reach it
    assert os.getsid(worker.pid) == os.getsid(0)  # and its niceness takes effect beside our threads


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of a thread exists on Linux only")
def test_bulk_work_is_nice_and_a_search_is_not(embedder: WorkerEmbedder) -> None:
    embedder.embed(["the model is loaded now"])
    threads = psutil.Process(embedder.worker_pid).threads()
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in threads} == {ours, ours + NICENESS}
