"""The contract between scheduler and backend: a `StepPlan` one way, a `StepResult` back, and the Protocols of
what runs the model (`Backend`, `Constraint`). The two sides know each other only by these values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from engine.types import ChatMessage, SamplingParams, TokenLogprob

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Backend",
    "Constraint",
    "Copy",
    "ModelInfo",
    "Move",
    "ReplyFormat",
    "Restore",
    "Save",
    "SpecialTokens",
    "State",
    "StepPlan",
    "StepResult",
    "StepStatus",
    "Trim",
    "Work",
]

State: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Trim:
    """Cut the KV cache of a slot back to its first `keep` tokens."""

    slot: int
    keep: int


@dataclass(frozen=True, slots=True)
class Copy:
    """Replace what `slot` holds at positions [start, end) by what `source` holds there.

    `slot` holds at least `start` tokens, the same as `source`. In a unified KV cache both then share the
    cells and nothing is copied. In a split cache the whole stream is copied, and `slot` must hold at most
    `end` tokens.
    """

    source: int
    slot: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Save:
    """Read the KV state of a slot, which holds `tokens`, into `StepResult.saved` under `key`."""

    slot: int
    key: str
    tokens: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Restore:
    """Write a saved KV state of `tokens` tokens into an empty slot."""

    slot: int
    tokens: int
    state: State = field(repr=False)


Move: TypeAlias = Trim | Copy | Save | Restore


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens of one sequence to compute in this step.

    Args:
        request_id: the request they belong to; also the key of its sampler.
        slot: llama.cpp sequence id.
        start: position of the first token.
        tokens: token ids, at least one.
        rows: how many of the last tokens get logits: none in the middle of a prompt, one to sample the
            next token, 1 + d to verify the d drafts at the end.
    """

    request_id: int
    slot: int
    start: int
    tokens: tuple[int, ...]
    rows: int

    @property
    def drafts(self) -> tuple[int, ...]:
        """The drafted tokens at the end."""
        return self.tokens[len(self.tokens) - self.rows + 1 :] if self.rows > 1 else ()

    @property
    def is_prefill(self) -> bool:
        """Whether these tokens are part of a prompt, not the single token of a decode with its drafts."""
        return len(self.tokens) > self.rows


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step does: the moves in order, then one forward pass over all work."""

    work: tuple[Work, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens in the batch."""
        return sum(len(item.tokens) for item in self.work)

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens in the batch."""
        return self.shares[1]

    @property
    def shares(self) -> tuple[int, int, int]:
        """Sequences that decode, prompt tokens, drafted tokens; in one pass, since every step asks."""
        decodes = prefill = drafts = 0
        for item in self.work:
            if len(item.tokens) > item.rows:
                prefill += len(item.tokens)
            else:
                decodes += 1
                drafts += item.rows - 1
        return decodes, prefill, drafts


class StepStatus(Enum):
    """The outcome of one forward pass, from llama_decode's return code."""

    OK = "ok"
    NO_KV = "no free KV cells"  # 1: nothing changed
    INVALID = "invalid batch"  # -1: nothing changed
    PARTIAL = "partly computed"  # 2, -2, -3: ask `Backend.resident` what the cache holds
    LOST = "a state could not be restored"  # before the forward pass, which did not run: ask, too


@dataclass(frozen=True, slots=True)
class StepResult:
    """The outcome of a step.

    Args:
        status: how the forward pass ended; unless it is OK nothing was sampled.
        sampled: request id -> token ids: one, or 1 + a where the first `a` drafts were right. The cells of
            rejected drafts are already free.
        saved: key of a `Save` -> state; a key is missing when the state could not be read.
        decode_s: seconds inside llama.cpp's forward pass.
        sample_s: seconds spent sampling.
        swap_s: seconds spent saving and restoring states.
        logprobs: request id -> how likely its sampled tokens were, for those that asked for it.
    """

    status: StepStatus = StepStatus.OK
    sampled: dict[int, tuple[int, ...]] = field(default_factory=dict)
    saved: dict[str, State] = field(default_factory=dict)
    decode_s: float = 0.0
    sample_s: float = 0.0
    swap_s: float = 0.0
    logprobs: dict[int, tuple[TokenLogprob, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """How a model marks in its replies what it thinks and the tools it calls.

    Args:
        reasoning: the texts that open and close its thinking; None: it does not think, or not by marks.
        calls: the name of the format of its calls in `engine.text`; empty: none that is known.
    """

    reasoning: tuple[str, str] | None = None
    calls: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A loaded model.

    Args:
        name: as the GGUF names it; description: architecture, size and quantisation.
        kind: whether it writes text, or pools a text into a vector ("embedding") or a score ("rerank").
        context_tokens: KV cells one sequence may hold, or tokens of the longest text that it embeds;
            kv_cells: cells of all sequences together.
        trained_context: the context length the model was trained for, in tokens.
        size_bytes: size of the weights; kv_bytes_per_token: size of one KV cell.
        template_name: "gguf", "configured", or the name of the fallback.
        stop: further strings that end an answer, for a model without a chat template.
        reply: how its replies mark thinking and calls.
        partial_removal: whether a sequence's memory can be cut in the middle.
        split_cache: whether each sequence has its own part of the KV cache.
        embedding_width: numbers in a vector; 0 for other kinds of models.
        warnings: sentences the user should read.
    """

    name: str
    description: str
    path: Path
    context_tokens: int
    kv_cells: int
    trained_context: int
    vocab_size: int
    size_bytes: int
    parameters: int
    kv_bytes_per_token: int
    layer_count: int
    offloaded_layers: int
    template_name: str
    stop: tuple[str, ...] = ()
    reply: ReplyFormat = ReplyFormat()
    partial_removal: bool = True
    split_cache: bool = False
    kind: Literal["text", "embedding", "rerank"] = "text"
    embedding_width: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def kind_of_model(self) -> str:
        """The kind in words: "an embedding model"."""
        return f"{'an' if self.kind == 'embedding' else 'a'} {self.kind} model"


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """How the tokens are spelled that a tokeniser finds before it splits the rest of a text.

    Args:
        control: they steer the model; found only where the tokeniser is told to look for them.
        others: found everywhere.
        strips: control tokens that swallow white space: on their left, on their right.
        literals, replaced: the strings in the chat template's code, which it may look for in messages and
            take out of them, and texts in place of which it may write others.
    """

    control: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    strips: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    literals: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


class Constraint(Protocol):
    """The state of one answer in its grammar; not thread-safe."""

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which tokens may come next, shape (vocabulary,); end-of-turn tokens if the answer may end.

        At least one token is allowed: when nothing can follow, the end-of-turn tokens are.
        """

    def accept(self, token: int) -> None:
        """Advance by an allowed token."""


class Backend(Protocol):
    """A loaded model with its context. `tokenize`, `piece`, `is_eog`, `special_tokens`, `render`, `constrain`
    and `prepare_sampler` are thread-safe; everything else belongs to the engine thread."""

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Text to token ids; `parse_special` recognises control tokens spelled out in the text."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """A token's bytes; control tokens are empty unless `special`."""

    def is_eog(self, token: int) -> bool:
        """Whether a token ends the model's turn."""

    def special_tokens(self) -> SpecialTokens:
        """How the special tokens of the vocabulary are spelled; slow the first time."""
        ...

    def render(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        arguments: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """Messages to prompt text by the chat template, ending where the answer begins.

        Args:
            tools: what the model may call, as JSON.
            arguments: further variables of the template.

        Raises:
            TemplateError: the template refuses these messages.
        """

    def constrain(self, params: SamplingParams) -> Constraint | None:
        """Compile the grammar or JSON schema of a request; None when it has none. Slow.

        Raises:
            InvalidRequest: the grammar or schema is invalid or too large.
        """

    def prepare_sampler(self, params: SamplingParams) -> None:
        """Do what is slow about making a sampler."""

    def open_sampler(
        self,
        request_id: int,
        params: SamplingParams,
        prompt: Sequence[int],
        constraint: Constraint | None = None,
    ) -> None:
        """Make the sampler of a request; its penalties have seen the prompt."""

    def change_sampler(self, request_id: int, params: SamplingParams, tokens: Sequence[int]) -> None:
        """Sample a request in another way from now on, under the same constraint; its penalties have seen
        `tokens`."""

    def close_sampler(self, request_id: int) -> None:
        """Free the sampler of a request."""

    def use_threads(self, threads: int, sampling_threads: int) -> None:
        """Compute with these numbers of threads from now on."""

    def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        """Make the moves in order, run one forward pass, sample.

        Args:
            meanwhile: work to do while a device computes, after the pass has started and before its results
                are waited for. A pass that was refused may leave it undone.
        """

    def resident(self, slot: int) -> int:
        """Tokens of a slot that are actually in the KV cache."""

    def close(self) -> None:
        """Free samplers, context and model, in this order."""
