"""Constrained output: a JSON schema or a GBNF grammar decides which tokens may come next.

llguidance does the work (Moskal et al. 2025, github.com/guidance-ai/llguidance): an Earley parser over a
lexer of derivatives, walked along a trie of the vocabulary. It returns errors instead of crashing, and
limits bound the time of each step. Some work has no limit: an intersection of thirty patterns, or a
`multipleOf` of a large prime, keeps it busy for hours, and references a few thousand deep overflow its
stack. So `check_grammar` first tries each grammar in a child process, where it can hang or crash without
harm.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Lock
from time import monotonic

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from engine.errors import InvalidRequest
from engine.grammar.gbnf import gbnf_to_lark
from engine.step import Constraint
from engine.types import SamplingParams

__all__ = ["GrammarCompiler", "check_grammar"]

_log = logging.getLogger(__name__)
_MAX_SOURCE = 100_000  # characters
_WHITESPACE = r" |\n {0,16}"  # enough to be readable; a model can write spaces without end
_LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)  # 100 MB of states at most


class GrammarCompiler:
    """Makes constraints for one vocabulary; thread-safe."""

    def __init__(
        self,
        *,
        vocab_size: int,
        pieces: Callable[[int], bytes],
        tokenize: Callable[[str], list[int]],
        eog_tokens: Sequence[int],
    ) -> None:
        """
        Args:
            vocab_size: tokens in the vocabulary.
            pieces: a token's bytes; empty for control tokens, which no grammar can match. The first
                `compile` reads all.
            tokenize: text to token ids.
            eog_tokens: tokens that end the turn; a constraint needs at least one.
        """
        self._vocab_size = vocab_size
        self._pieces = pieces
        self._tokenize = tokenize
        self._eog_tokens = list(eog_tokens)
        self._lock = Lock()
        self._tokenizer: LLTokenizer | None = None

    def compile(self, params: SamplingParams) -> Constraint | None:
        """The constraint of a request; None when it has none.

        Takes up to a second the first time, a tenth for each new grammar, milliseconds for a known one.

        Raises:
            InvalidRequest: the schema or grammar is not valid, too large, or allows no answer.
        """
        if not params.is_constrained:
            return None
        name = "grammar" if params.json_schema is None else "JSON schema"
        source = _checked(name, params.json_schema or params.grammar or "")
        if not self._eog_tokens:
            raise InvalidRequest(f"This model has no end-of-turn token, so a {name} cannot end its answer.")
        if error := check_grammar(source):
            raise InvalidRequest(f"The {name} cannot be used: {_sentence(error)}")
        matcher = LLMatcher(self._known_tokenizer(), source, log_level=0, limits=_LIMITS)
        constraint = _Matched(matcher, self._vocab_size, self._eog_tokens)
        constraint.mask()  # reveals errors that only the first step has
        if matcher.is_error() or (matcher.is_stopped() and not matcher.is_accepting()):
            raise InvalidRequest(f"The {name} allows no answer, or is too complex.")
        return constraint

    def _known_tokenizer(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                vocabulary = _Vocabulary(self._vocab_size, self._pieces, self._tokenize, self._eog_tokens[0])
                self._tokenizer = LLTokenizer(vocabulary, eos_token=self._eog_tokens)  # type: ignore[arg-type]
            return self._tokenizer


class _Vocabulary:
    """The attributes that `LLTokenizer` reads."""

    is_tokenizer_wrapper = True
    bos_token_id = None
    special_token_ids: tuple[int, ...] = ()

    def __init__(
        self, size: int, pieces: Callable[[int], bytes], tokenize: Callable[[str], list[int]], eos: int
    ) -> None:
        self.eos_token_id = eos
        self.tokens = [pieces(token) for token in range(size)]
        self._tokenize = tokenize

    def __call__(self, text: str) -> list[int]:
        return self._tokenize(text)


class _Matched:
    """llguidance's matcher as a `Constraint`."""

    def __init__(self, matcher: LLMatcher, vocab_size: int, eog_tokens: list[int]) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._eog_tokens = eog_tokens

    def allows(self, token: int) -> bool:
        if self._matcher.is_stopped():
            return token in self._eog_tokens
        return bool(self._matcher.validate_tokens([token]))

    def mask(self) -> npt.NDArray[np.bool_]:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        # A stopped matcher, even after an error, gives the end-of-turn tokens.
        return np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(np.bool_)

    def accept(self, token: int) -> None:
        if not self._matcher.is_stopped() and not self._matcher.consume_token(token):
            # Without get_error(): it may quote the answer.
            _log.warning("a constrained answer ends early: the matcher refused a token")


def _checked(name: str, source: str) -> str:
    """A schema or grammar in llguidance's form, if its source is acceptable."""
    if len(source) > _MAX_SOURCE:
        raise InvalidRequest(f"The {name} is longer than {_MAX_SOURCE:,} characters.")
    if not source.strip():
        raise InvalidRequest(f"The {name} is empty.")
    if name == "grammar":
        return LLMatcher.grammar_from_lark(gbnf_to_lark(source))
    try:
        schema = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The JSON schema is not JSON: {error}.") from None
    if schema is True:
        source = "{}"
    elif not isinstance(schema, dict):
        raise InvalidRequest("The JSON schema must be an object, or true.")
    return LLMatcher.grammar_from_json_schema(source, overrides={"whitespace_pattern": _WHITESPACE})


def _sentence(error: str) -> str:
    """An error in one short sentence: its first line, or its last if the first only announces it."""
    lines = [line.strip() for line in error.splitlines() if line.strip() and "state>" not in line]
    line = (lines[-1] if lines and lines[0].endswith("error:") else lines[0]) if lines else "unknown error"
    return line[:200].rstrip(".") + "."


_TIMEOUT_S = 3.0
_RETRY_S = 60.0
_MOST_TIMED_OUT = 64
_timed_out: dict[str, float] = {}  # grammar -> when it may be tried again
_DONE = "checked:"
# A vocabulary of single bytes takes no time to build and compiles like any other. The stack is a quarter of
# the usual size, so that a grammar that passes here does not overflow a thread's stack later.
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


def check_grammar(grammar: str) -> str:
    """Try a grammar in llguidance's form; returns what is wrong with it, or an empty string.

    Takes a tenth of a second the first time, at most 3 s. Thread-safe. Results are remembered; that it took
    too long only for a minute, since the machine may have been busy.
    """
    now = monotonic()
    if _timed_out.get(grammar, 0.0) < now:
        try:
            return _try_grammar(grammar)
        except subprocess.TimeoutExpired:
            if len(_timed_out) >= _MOST_TIMED_OUT:
                _timed_out.clear()
            _timed_out[grammar] = now + _RETRY_S
    return f"It takes more than {_TIMEOUT_S:g} s to compile."


@lru_cache(maxsize=256)
def _try_grammar(grammar: str) -> str:
    """Raises subprocess.TimeoutExpired."""
    child = subprocess.run(
        [sys.executable, "-P", "-c", _CHILD],
        input=grammar.encode("utf-8", "replace"),
        capture_output=True,
        timeout=_TIMEOUT_S,
        start_new_session=True,  # keeps Ctrl+C in the terminal away from it
    )
    output = child.stdout.decode(errors="replace")
    if not output.startswith(_DONE):
        return "It is nested too deeply, or needs too much memory."
    return output.removeprefix(_DONE)
