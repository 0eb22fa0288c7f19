"""What the core needs from the thing that runs the model."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.grammar import Constraint
from engine.step import StepPlan, StepResult
from engine.types import ChatMessage, SamplingParams

__all__ = ["Backend", "ModelInfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A loaded model.

    Args:
        name: as the GGUF names it; description: architecture, size and quantisation.
        context_tokens: KV cells one sequence may hold; kv_cells: cells all sequences share.
        trained_context: the context length the model was trained for, in tokens.
        size_bytes: of the weights; kv_bytes_per_token: of one KV cell.
        template_name: "gguf", "configured", or the name of the fallback.
        stop: strings that end an answer besides the request's own, for a model without a chat template.
        partial_removal: whether a sequence's memory can be cut in its middle.
        split_cache: whether each sequence has its own part of the KV cache.
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
    partial_removal: bool = True
    split_cache: bool = False
    warnings: tuple[str, ...] = ()


class Backend(Protocol):
    """A loaded model with its context. `tokenize`, `piece`, `is_eog`, `render` and `constrain` are
    thread-safe; everything else belongs to the engine thread."""

    @property
    def info(self) -> ModelInfo:
        """What was loaded."""

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Text to token ids; `parse_special` recognises control tokens written out in the text."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """A token's bytes; control tokens are empty unless `special`."""

    def is_eog(self, token: int) -> bool:
        """Whether a token ends the model's turn."""

    def render(self, messages: SequenceOf[ChatMessage]) -> str:
        """Messages to prompt text by the chat template, ending where the answer begins.

        Raises:
            TemplateError: the template refuses these messages.
        """

    def constrain(self, params: SamplingParams) -> Constraint | None:
        """Compile the grammar or JSON schema of a request; None when it has none. Thread-safe and slow.

        Raises:
            InvalidRequest: it is not valid, or too large.
        """

    def open_sampler(
        self,
        request_id: int,
        params: SamplingParams,
        prompt: SequenceOf[int],
        constraint: Constraint | None = None,
    ) -> None:
        """Make the sampler of a request; penalties have seen the prompt."""

    def close_sampler(self, request_id: int) -> None:
        """Free it."""

    def execute(self, plan: StepPlan) -> StepResult:
        """Make the moves in their order, run one forward, sample."""

    def resident(self, slot: int) -> int:
        """Tokens of a slot that really are in the KV cache."""

    def close(self) -> None:
        """Free samplers, context and model, in this order."""
