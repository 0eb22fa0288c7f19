"""Tries a grammar out in a process of its own, where it can hang or crash without harm.

llguidance limits most of its work, but not all: an intersection of thirty patterns, or a `multipleOf` of
a large prime, keeps it busy for hours, and references a few thousand deep overflow its stack.
"""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache

__all__ = ["check_grammar"]

_TIMEOUT_S = 3.0
_DONE = "checked:"
# A vocabulary of single bytes costs no time to build, and compiles like any other. The stack is a quarter of
# the usual size, so that what passes here does not overflow a thread's stack later.
_CHILD = f"""
import sys, threading
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
except (ImportError, OSError, ValueError):
    pass  # no such limit on this system
from llguidance import LLMatcher, LLTokenizer
class Bytes:
    is_tokenizer_wrapper, special_token_ids = True, ()
    eos_token_id, bos_token_id = 256, None
    tokens = [bytes([byte]) for byte in range(256)] + [b""]
    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())
grammar = sys.stdin.buffer.read().decode()
def check():
    matcher = LLMatcher(LLTokenizer(Bytes(), eos_token=[256]), grammar, log_level=0)
    error = matcher.get_error()
    if not matcher.is_error():
        matcher.compute_bitmask()
    sys.stdout.buffer.write({_DONE!r}.encode() + error.encode())
threading.stack_size(1 << 21)
thread = threading.Thread(target=check)
thread.start()
thread.join()
"""


@lru_cache(maxsize=256)
def check_grammar(grammar: str) -> str:
    """What is wrong with a grammar in llguidance's form; empty when nothing is.

    Takes a tenth of a second the first time, at most 3 s. Thread-safe.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            input=grammar.encode("utf-8", "replace"),
            capture_output=True,
            timeout=_TIMEOUT_S,
            start_new_session=True,  # Ctrl+C in the terminal is not for it
        )
    except subprocess.TimeoutExpired:
        return f"It takes more than {_TIMEOUT_S:g} s to compile."
    output = child.stdout.decode(errors="replace")
    if not output.startswith(_DONE):
        return "It is nested too deeply, or needs too much memory."
    return output.removeprefix(_DONE)
