"""A model's vocabulary: text to tokens and back."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Any

from engine.errors import EngineClosed
from engine.llama.lib import lib
from engine.step import SpecialTokens

__all__ = ["LlamaVocab"]

# enum llama_token_attr; an unknown token is found only where control tokens are looked for, too
_CONTROL, _OTHER, _STRIPS_LEFT, _STRIPS_RIGHT = 1 << 3 | 1 << 0, 1 << 4, 1 << 7, 1 << 8


class LlamaVocab:
    """Tokenises until the model is unloaded; thread-safe.

    Attributes:
        handle: the llama_vocab.
        size: tokens in the vocabulary.
    """

    def __init__(self, model: Any) -> None:
        self.handle: Any = lib.llama_model_get_vocab(model)
        self._vocab = self.handle
        self._uses = Condition()  # calls may overlap each other, but not `close`
        self._using = 0
        self._open = True
        self.size = int(lib.llama_vocab_n_tokens(self._vocab))
        self._pieces: dict[bool, list[bytes | None]] = {flag: [None] * self.size for flag in (False, True)}
        self._eog: dict[int, bool] = {}
        self.bos = self._special(lib.llama_vocab_bos(self._vocab))
        self.eos = self._special(lib.llama_vocab_eos(self._vocab))
        self._bos = self.bos.encode() if lib.llama_vocab_get_add_bos(self._vocab) else b""

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Text to token ids; lone surrogates are replaced."""
        data = text.encode("utf-8", "replace")
        if add_special and self._bos and data.startswith(self._bos):
            add_special = False  # the template printed the begin token itself
        with self.alive():
            buffer, count = self._read_tokens(data, len(data) + 8, add_special, parse_special)
            if count < 0:
                buffer, count = self._read_tokens(data, -count, add_special, parse_special)
        return list(buffer[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """A token's bytes, cached after the first call."""
        known = self._pieces[special]
        piece = known[token]
        if piece is None:
            piece = known[token] = self._read_piece(token, special)
        return piece

    def is_eog(self, token: int) -> bool:
        """Whether a token ends the model's turn."""
        known = self._eog.get(token)  # a call into llama.cpp would release the GIL once per token
        if known is None:
            with self.alive():
                known = self._eog[token] = bool(lib.llama_vocab_is_eog(self._vocab, token))
        return known

    def special_tokens(self) -> SpecialTokens:
        """How the special tokens are spelled. Slow: it checks every token of the vocabulary."""
        control: list[str] = []
        others: list[str] = []
        strips: dict[str, tuple[bool, bool]] = {}
        with self.alive():
            attributes = [lib.llama_vocab_get_attr(self._vocab, token) for token in range(self.size)]
        for token, attribute in enumerate(attributes):
            if not attribute & (_CONTROL | _OTHER):
                continue
            text = self.piece(token, special=True).decode(errors="replace")
            (control if attribute & _CONTROL else others).append(text)
            if attribute & (_STRIPS_LEFT | _STRIPS_RIGHT):
                strips[text] = bool(attribute & _STRIPS_LEFT), bool(attribute & _STRIPS_RIGHT)
        return SpecialTokens(tuple(control), tuple(others), strips)

    def eog_tokens(self) -> list[int]:
        """All tokens that end the model's turn. Slow: it checks every token of the vocabulary."""
        return [token for token in range(self.size) if self.is_eog(token)]

    def close(self) -> None:
        """Wait for running calls, then refuse all further ones."""
        with self._uses:
            self._open = False
            self._uses.wait_for(lambda: not self._using)

    def _special(self, token: int) -> str:
        return "" if token < 0 else self.piece(token, special=True).decode(errors="replace")

    def _read_piece(self, token: int, special: bool) -> bytes:
        if not 0 <= token < self.size:
            raise ValueError(f"token {token} is not in a vocabulary of {self.size}")
        buffer = ctypes.create_string_buffer(128)
        with self.alive():
            length = lib.llama_token_to_piece(self._vocab, token, buffer, 128, 0, special)
            if length < 0:
                buffer = ctypes.create_string_buffer(-length)
                length = lib.llama_token_to_piece(self._vocab, token, buffer, -length, 0, special)
        return buffer.raw[:length]

    def _read_tokens(self, data: bytes, size: int, add_special: bool, parse_special: bool) -> tuple[Any, int]:
        buffer = (lib.llama_token * size)()
        count = lib.llama_tokenize(self._vocab, data, len(data), buffer, size, add_special, parse_special)
        return buffer, count

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Keep the model loaded. Raises EngineClosed: it was unloaded."""
        with self._uses:
            if not self._open:
                raise EngineClosed("The model was unloaded.")
            self._using += 1
        try:
            yield
        finally:
            with self._uses:
                self._using -= 1
                self._uses.notify_all()
