"""The program of the embedding process: texts in, vectors out, over one socket.

Run as a script, so it imports nothing of ours; the other side imports the message types below.

    request   JSON {"urgent": bool, "prefix": str, "texts": [str, ...]}
    answers   READY + the dimension in digits, once, when the model is loaded
              VECTORS + one float32 row of length 1 per text, in their order
              ERROR + what went wrong, in UTF-8

It ends when the other end of the socket closes, which the system does when that process dies.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder, SentenceTransformer

__all__ = ["EMBED", "ERROR", "NICENESS", "READY", "RERANK", "VECTORS", "Embed", "main", "serve"]

READY, VECTORS, ERROR = b"R", b"V", b"E"
EMBED, RERANK = "embed", "rerank"  # modes; a reranker's vectors have one number, and a prefix is the question
NICENESS = 10

Embed = Callable[[list[str], str], "NDArray[np.float32]"]  # texts, and what the model wants before each

_MOST_TOKENS = 512  # of a text; passages have about 230, and a model may accept thousands

_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",  # the GPU's memory belongs to the engine
}


def main(arguments: Sequence[str]) -> NoReturn:
    """Serve until the other side is gone.

    Args:
        arguments: the socket's file descriptor, the model's folder, the number of threads for PyTorch, the
            mode.
    """
    descriptor, folder, threads, mode = arguments
    os.environ.update(_SETTINGS, OMP_NUM_THREADS=threads)  # read when the libraries are imported
    serve(descriptor, partial(_load_reranker if mode == RERANK else _load, folder, int(threads)))


def serve(descriptor: str, load: Callable[[], Embed]) -> NoReturn:
    """Answer requests until the other side is gone.

    Args:
        descriptor: of the socket.
        load: loads the model. What it returns gives rows of length 1; it is called by one thread at a time.
    """
    connection: Connection[Any, Any] = Connection(int(descriptor))
    requests: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_serve, args=(connection, requests, load)).start()
    with suppress(EOFError, OSError):
        while True:
            requests.put(connection.recv_bytes())
    # Immediately, even in the middle of an import or a batch: there is nothing to save.
    os._exit(0)


def _serve(
    connection: Connection[Any, Any], requests: SimpleQueue[bytes], load: Callable[[], Embed]
) -> NoReturn:
    # On Linux niceness belongs to a thread and cannot be lowered again: loading and bulk work yield to the
    # token stream; a search, for which the user waits, does not.
    background = ThreadPoolExecutor(1, initializer=os.nice, initargs=(NICENESS,))
    try:
        embed = background.submit(load).result()
        warm_up = background.submit(embed, ["The first batch takes longer than the others."], "").result()
        connection.send_bytes(READY + b"%d" % warm_up.shape[1])
        while True:
            request = json.loads(requests.get())
            work = partial(_answer, embed, request["texts"], request["prefix"])
            connection.send_bytes(work() if request["urgent"] else background.submit(work).result())
    except BaseException as error:
        with suppress(OSError):
            connection.send_bytes(ERROR + f"{type(error).__name__}: {error}".encode(errors="replace"))
    finally:
        os._exit(1)


def _load(folder: str, threads: int) -> Embed:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    if (reads := model.max_seq_length) is None or reads > _MOST_TOKENS:
        model.max_seq_length = _MOST_TOKENS
    return partial(_embed, model)


def _load_reranker(folder: str, threads: int) -> Embed:
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(threads)
    model = CrossEncoder(folder, device="cpu", local_files_only=True, max_length=_MOST_TOKENS)
    if model.num_labels != 1:
        raise ValueError(f"it gives {model.num_labels} scores to a text, not one")
    return partial(_score, model)


def _score(model: CrossEncoder, texts: list[str], question: str) -> NDArray[np.float32]:
    pairs = [(question, text) for text in texts]
    scores = model.predict(pairs, batch_size=len(texts), show_progress_bar=False)
    return scores.astype("float32").reshape(len(texts), 1)


def _answer(embed: Embed, texts: list[str], prefix: str) -> bytes:
    try:
        return VECTORS + embed(texts, prefix).tobytes()
    except Exception as error:
        # The message may quote the text, and the other side logs it.
        return ERROR + type(error).__name__.encode()


def _embed(model: SentenceTransformer, texts: list[str], prefix: str) -> NDArray[np.float32]:
    vectors = model.encode(
        texts,
        prompt=prefix,  # even if it is empty, or a default of the model's would take its place
        batch_size=len(texts),
        normalize_embeddings=True,
        convert_to_numpy=True,
        show_progress_bar=False,
    )
    return vectors.astype("float32")


if __name__ == "__main__":
    main(sys.argv[1:])
