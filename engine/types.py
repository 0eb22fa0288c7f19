"""Frozen values that cross the engine's border: requests, answers, statistics.

Times are in seconds, sizes of prompts and answers in tokens.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, Literal, get_args

from engine.errors import InvalidRequest, shown

__all__ = [
    "SEEDS",
    "Channel",
    "ChatMessage",
    "Embeddings",
    "EngineStats",
    "FinishReason",
    "GenerationRequest",
    "Priority",
    "ReplyPart",
    "RequestPhase",
    "RequestStats",
    "Reranking",
    "Role",
    "SamplingParams",
    "Timings",
    "TokenChunk",
    "TokenLogprob",
    "ToolCall",
    "checked_priority",
    "resolve_seed",
]

SEEDS = 2**32 - 1  # one more would be LLAMA_DEFAULT_SEED, which means "random"
_LARGEST_BIAS = 1e30

Role = Literal["system", "user", "assistant", "tool"]


class FinishReason(StrEnum):
    """Why a stream ended without an error."""

    STOP = "stop"  # the model ended its turn, or a stop string was found
    LENGTH = "length"  # max_tokens reached
    CONTEXT = "context"  # the context is full
    CANCELLED = "cancelled"  # by the reader


class RequestPhase(StrEnum):
    """Where a request is."""

    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"


class Priority(IntEnum):
    """Which requests go first when not all can."""

    BACKGROUND = 0  # no person is waiting
    NORMAL = 1
    FOREGROUND = 2  # a person is watching


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that a model asks for.

    Args:
        name: of the tool.
        arguments: a JSON object as text, as the model wrote it; it may be invalid.
        call_id: ties a result to its call; empty if the caller gives none.

    Raises:
        InvalidRequest: one of them is no text.
    """

    name: str
    arguments: str
    call_id: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "arguments", "call_id"):
            _check_text(f"The {name} of a tool call", getattr(self, name))

    def as_json(self) -> dict[str, Any]:
        """As chat templates expect it: with the arguments as an object, if they are one."""
        try:
            arguments = json.loads(self.arguments)
        except (ValueError, RecursionError):
            arguments = self.arguments
        call: dict[str, Any] = {"type": "function", "function": {"name": self.name, "arguments": arguments}}
        return call | ({"id": self.call_id} if self.call_id else {})


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a chat, as the chat template sees it.

    Args:
        reasoning: what a model thought before the content; most templates leave it out of later prompts.
        tool_calls: of a model.
        name, call_id: of the tool that a message of role "tool" is the result of, and of the call.

    Raises:
        InvalidRequest: there is no such role, or a part is of the wrong type.
    """

    role: Role
    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str = ""
    call_id: str = ""

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):  # a template would write it as it is
            raise InvalidRequest(
                f"A message must be from {', '.join(get_args(Role))}, not {shown(self.role)}."
            )
        for name in ("content", "reasoning", "name", "call_id"):
            _check_text(f"The {name} of a message", getattr(self, name))
        object.__setattr__(self, "tool_calls", _many("tool_calls", self.tool_calls, ToolCall))

    def as_json(self) -> dict[str, Any]:
        """The variable of a chat template, by the names that transformers uses."""
        further = {
            "reasoning_content": self.reasoning,
            "tool_calls": [call.as_json() for call in self.tool_calls],
            "name": self.name,
            "tool_call_id": self.call_id,
        }
        given = {key: value for key, value in further.items() if value}
        return {"role": self.role, "content": self.content} | given


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are chosen and when to stop.

    Args:
        temperature: 0 is greedy.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751); 1 is off.
        min_p: keep tokens with p >= min_p * p(best); 0 is off.
        typical_p: locally typical sampling (Meister et al. 2023, arXiv:2202.00666); 1 is off.
        xtc_probability, xtc_threshold: exclude top choices: with that probability, of the tokens with at
            least the threshold only the least likely is kept (p-e-w 2024); 0 is off.
        mirostat: control the surprise of the text instead of cutting candidates (Basu et al. 2021,
            arXiv:2007.14966): 1 or 2 is the version; 0 is off. Replaces top_k, top_p, min_p, typical_p and
            xtc.
        mirostat_tau, mirostat_eta: the wanted surprise in bits, and how fast it is approached.
        repetition_penalty: divides the logits of recent tokens (Keskar et al. 2019); 1 is off.
        presence_penalty: subtracted once from the logit of a recent token; 0 is off.
        frequency_penalty: subtracted per occurrence of a recent token; 0 is off.
        penalty_last_n: how many recent tokens (prompt included) the penalties look at.
        dry_multiplier: don't repeat yourself (p-e-w 2024): lowers the logit of a token that would lengthen a
            repetition by multiplier * base^(length - allowed_length); 0 is off.
        dry_base, dry_allowed_length, dry_last_n: of that formula; how many recent tokens it looks at.
        dry_breakers: texts at which a repetition ends.
        logit_bias: token id -> what is added to its logit; -inf bans it.
        logprobs: with each token, report its log-probability and those of this many likeliest tokens; None
            reports nothing. They are of the model, before penalties, biases and constraints.
        seed: same seed and same schedule give the same text; None draws one.
        max_tokens: longest answer in tokens; the context limits it, too, and None: nothing else.
        stop: strings that end the answer; they are not part of the text.
        ignore_eos: never end the turn, so that the answer has `max_tokens` tokens; for benchmarks.
        json_schema: a schema (JSON text) that the answer, a JSON document, satisfies.
        grammar: a grammar in llama.cpp's GBNF that the answer follows; excludes `json_schema`.

    Raises:
        InvalidRequest: a value is out of range, or of the wrong type.
    """

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat: Literal[0, 1, 2] = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = 64
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_last_n: int = 1024
    dry_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    json_schema: str | None = None
    grammar: str | None = None

    @property
    def is_constrained(self) -> bool:
        """Whether a grammar or schema restricts the answer."""
        return self.json_schema is not None or self.grammar is not None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", _many("stop", self.stop, str))
        object.__setattr__(self, "dry_breakers", _many("dry_breakers", self.dry_breakers, str))
        _check_mapping("logit_bias", self.logit_bias)
        object.__setattr__(self, "logit_bias", MappingProxyType(dict(self.logit_bias)))
        self._check_ranges()
        for token, bias in self.logit_bias.items():
            _check("a token of logit_bias", token, 0, 2**31 - 1)
            if type(bias) not in (int, float) or not (bias == -math.inf or abs(bias) <= _LARGEST_BIAS):
                raise InvalidRequest(f"logit_bias cannot add {shown(bias)} to token {token}.")
        _check_texts("stop", self.stop, 1_000)
        _check_texts("dry_breakers", self.dry_breakers, 32)
        for name in ("json_schema", "grammar"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        if self.json_schema is not None and self.grammar is not None:
            raise InvalidRequest("Give either json_schema or grammar, not both.")

    def _check_ranges(self) -> None:
        _check("temperature", self.temperature, 0.0, 5.0)
        _check("top_k", self.top_k, 0, 1_000_000)
        _check("top_p", self.top_p, 0.0, 1.0)
        _check("min_p", self.min_p, 0.0, 1.0)
        _check("typical_p", self.typical_p, 0.0, 1.0)
        _check("xtc_probability", self.xtc_probability, 0.0, 1.0)
        _check("xtc_threshold", self.xtc_threshold, 0.0, 1.0)
        _check("mirostat", self.mirostat, 0, 2)
        _check("mirostat_tau", self.mirostat_tau, 0.0, 100.0)
        _check("mirostat_eta", self.mirostat_eta, 0.0, 1.0)
        _check("repetition_penalty", self.repetition_penalty, 0.01, 10.0)
        _check("presence_penalty", self.presence_penalty, -10.0, 10.0)
        _check("frequency_penalty", self.frequency_penalty, -10.0, 10.0)
        _check("penalty_last_n", self.penalty_last_n, 0, 1_000_000)
        _check("dry_multiplier", self.dry_multiplier, 0.0, 100.0)
        _check("dry_base", self.dry_base, 1.0, 100.0)
        _check("dry_allowed_length", self.dry_allowed_length, 1, 1_000_000)
        _check("dry_last_n", self.dry_last_n, 0, 1_000_000)
        _check_flag("ignore_eos", self.ignore_eos)
        if self.logprobs is not None:
            _check("logprobs", self.logprobs, 0, 20)
        if self.seed is not None:
            _check("seed", self.seed, 0, SEEDS - 1)
        if self.max_tokens is not None:
            _check("max_tokens", self.max_tokens, 1, 2**31 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One answer to generate, or several to the same prompt.

    The prompt is `messages`, `text` or `tokens`: exactly one of them.

    Args:
        messages: a chat, oldest message first; rendered with the model's chat template.
        tools: with messages: what the model may call, each as the JSON object `{"type": "function",
            "function": {"name", "description", "parameters"}}`.
        template_args: with messages: further variables of the chat template, such as `enable_thinking`.
        text: the text of the prompt as it is; control tokens spelled out in it are control tokens.
        tokens: the token ids of the prompt.
        n: how many answers; see `Engine.candidates`.
        progress: whether the stream tells how much of the prompt is computed (`TokenChunk.progress`).
        parse_reply: whether the stream tells content, thinking and tool calls apart (`TokenChunk.channel`,
            `TokenStream.tool_calls`) instead of giving the reply as the model wrote it. A call is one only if
            the request has tools.
        sampling: how to choose tokens and when to stop.
        session_id: the chat this belongs to. Its KV cache is kept after the answer, and parked when its cells
            are needed, so that the next turn prefills only what is new. Without a session it is kept until
            its cells are needed, for any prompt that begins with the same tokens.
        priority: order of service; a request of the focused session (`Engine.focus`) counts as FOREGROUND.
    """

    messages: Sequence[ChatMessage] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    template_args: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    tokens: Sequence[int] | None = None
    n: int = 1
    progress: bool = False
    parse_reply: bool = False
    sampling: SamplingParams = field(default_factory=SamplingParams)
    session_id: str | None = None
    priority: Priority = Priority.NORMAL

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", _many("messages", self.messages, ChatMessage))
        object.__setattr__(self, "tools", _many("tools", self.tools, object))
        for tool in self.tools:
            _check_tool(tool)
        _check_mapping("template_args", self.template_args)
        if self.text is not None:
            _check_text("text", self.text)
        if self.tokens is not None:
            object.__setattr__(self, "tokens", _many("tokens", self.tokens, int))
        if self.session_id is not None:
            _check_text("session_id", self.session_id)
        if not isinstance(self.sampling, SamplingParams):
            raise InvalidRequest(f"sampling must be SamplingParams, not {_kind(self.sampling)}.")
        given = [bool(self.messages), self.text is not None, self.tokens is not None]
        if not any(given):
            raise InvalidRequest("A request needs at least one message, or a text or tokens.")
        if sum(given) > 1:
            raise InvalidRequest("The prompt is given twice: give messages, text or tokens.")
        if not self.messages and (self.tools or self.template_args):
            raise InvalidRequest("tools and template_args go into the chat template: they need messages.")
        _check("n", self.n, 1, 128)
        for name in ("progress", "parse_reply"):
            _check_flag(name, getattr(self, name))
        object.__setattr__(self, "priority", checked_priority(self.priority))


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a sampled token was.

    Args:
        logprob: its natural log-probability.
        top: the likeliest tokens with theirs, likeliest first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Channel(StrEnum):
    """What a part of a reply is."""

    CONTENT = "content"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"


@dataclass(frozen=True, slots=True)
class ReplyPart:
    """What is new of a part of a reply; see `TokenChunk`."""

    text: str
    channel: Channel = Channel.CONTENT
    call: int | None = None
    name: str = ""
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """A piece of an answer: one token's text, or several when the reader lagged.

    Args:
        tokens: how many; a stop string, a mark or half a character may hold their text back until a later
            chunk.
        ids: of these tokens.
        logprobs: of these tokens, if the request asked for them.
        progress: while the prompt is computed, if the request asked for it: tokens done, and of how many.
            Such a chunk has no text.
        channel: what the text is, if the request asked for that (`GenerationRequest.parse_reply`).
        call: of a tool call: its number in the reply, from 0 on; its arguments are the text.
        name, call_id: of that call, once, as soon as they are known.
    """

    text: str
    tokens: int = 1
    ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    progress: tuple[int, int] | None = None
    channel: Channel = Channel.CONTENT
    call: int | None = None
    name: str = ""
    call_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """What one request cost.

    Args:
        prompt_tokens: length of the rendered prompt.
        cached_tokens: how many of them were already in the KV cache.
        completion_tokens: generated tokens.
        queue_s: from submit to admission.
        ttft_s: from submit to the first token.
        decode_s: from the first token to the last.
        tokens_per_second: decode rate, (completion_tokens - 1) / decode_s; 0 when unknown.
        itl_p50_s, itl_p95_s, itl_p99_s, itl_max_s: gaps between two tokens: median, 95th and 99th percentile,
            largest. Tokens of one step share its time.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queue_s: float = 0.0
    ttft_s: float = 0.0
    decode_s: float = 0.0
    tokens_per_second: float = 0.0
    itl_p50_s: float = 0.0
    itl_p95_s: float = 0.0
    itl_p99_s: float = 0.0
    itl_max_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What texts mean, as vectors.

    Args:
        vectors: one for each text, in the order of the texts, all of the same length.
        tokens: how many each text has, with those that the model expects around it.
    """

    vectors: list[list[float]]
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Reranking:
    """How well documents match a query.

    Args:
        scores: one for each document, in the order of the documents; higher is better. The scale is the
            model's: most give a logit of any size, some a probability.
        tokens: how many the query has with each document, with those that the model expects around them.
    """

    scores: list[float]
    tokens: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStats:
    """A request in the engine at this moment."""

    request_id: int
    session_id: str | None
    phase: RequestPhase
    prompt_tokens: int
    computed_tokens: int
    cached_tokens: int
    completion_tokens: int
    tokens_per_second: float
    ttft_s: float | None
    queue_position: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """A frozen snapshot of the engine, free to poll from any thread.

    Args:
        active: requests being served; waiting: requests in the queue.
        parked: states saved outside the KV cache; parked_on_disk: how many of them are on disk;
            parked_ram_bytes, parked_disk_bytes: their size.
        paused: requests, running or waiting, that are halted because their reader lags too far behind.
        tokens_per_second: generated tokens per second over the last seconds, all requests together.
        prefill_tokens_per_second: the same for prompt tokens.
        requests_per_second: finished requests per second over the last minute.
        batch_tokens: tokens in the last step; batch_capacity: limit of a step.
        batch_sequences: sequences in the last step; max_sessions: limit on active requests.
        kv_cells_used, kv_cells_total: cells of the KV cache that hold a token, and all cells.
        ttft_p50_s, itl_p50_s, itl_p95_s, itl_p99_s: over recent tokens; None before the first.
        prefix_hit_rate: share of prompt tokens found in the KV cache; None before the first prompt.
        prefill_share: share of prompt tokens among the computed ones; None before the first step.
        preempted, restored, evicted: requests returned to the queue, states restored from RAM or
            disk, idle sessions dropped from the KV cache (parked or not).
        drafted_tokens, accepted_tokens: drafted by speculation, and how many of them were accepted.
        overhead: share of the busy time spent outside llama.cpp.
        kv_layout: "unified" or "split".
        requests: one entry for each request that is active or waiting.
    """

    active: int = 0
    waiting: int = 0
    parked: int = 0
    parked_on_disk: int = 0
    parked_ram_bytes: int = 0
    parked_disk_bytes: int = 0
    paused: int = 0
    tokens_per_second: float = 0.0
    prefill_tokens_per_second: float = 0.0
    requests_per_second: float = 0.0
    batch_tokens: int = 0
    batch_capacity: int = 0
    batch_sequences: int = 0
    max_sessions: int = 0
    kv_cells_used: int = 0
    kv_cells_total: int = 0
    requests_done: int = 0
    requests_failed: int = 0
    requests_cancelled: int = 0
    preempted: int = 0
    restored: int = 0
    evicted: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    computed_tokens: int = 0
    completion_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    steps: int = 0
    ttft_p50_s: float | None = None
    itl_p50_s: float | None = None
    itl_p95_s: float | None = None
    itl_p99_s: float | None = None
    prefix_hit_rate: float | None = None
    prefill_share: float | None = None
    overhead: float = 0.0
    kv_layout: str = "unified"
    requests: tuple[RequestStats, ...] = ()


def resolve_seed(params: SamplingParams) -> int:
    """The request's seed, or one drawn now."""
    return int.from_bytes(os.urandom(8)) % SEEDS if params.seed is None else params.seed


def checked_priority(value: object) -> Priority:
    """A priority, whatever the types say. Raises InvalidRequest."""
    try:
        return Priority(value)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise InvalidRequest(
            f"priority must be one of {', '.join(Priority.__members__)}, not {shown(value)}."
        ) from None


def _check(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number out of range; between two integers it must be one. llama.cpp gets these as they are."""
    kind = int if isinstance(low, int) and isinstance(high, int) else (int, float)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = "a whole number" if kind is int else "a number"
        raise InvalidRequest(f"{name} must be {wanted}, not {shown(value)}.")
    if not low <= value <= high:  # nor NaN
        number = f"{value:g}" if abs(value) < 1e300 else shown(value)
        raise InvalidRequest(f"{name} must be between {low:g} and {high:g}, not {number}.")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a text, not {_kind(value)}.")


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be True or False, not {shown(value)}.")


def _check_mapping(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name} must be a mapping, not {_kind(value)}.")


def _many(name: str, values: object, kind: type) -> tuple[Any, ...]:
    """The values as a tuple; each must be of this kind."""
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise InvalidRequest(f"{name} must be a list of {_PLURALS[kind]}, not {_kind(values)}.")
    many = tuple(values)
    for value in many:
        if not isinstance(value, kind):
            raise InvalidRequest(f"{name} must be a list of {_PLURALS[kind]}, but one is {_kind(value)}.")
    return many


_PLURALS: dict[type, str] = {
    str: "texts",
    int: "numbers",
    ChatMessage: "ChatMessage",
    ToolCall: "ToolCall",
    object: "objects",
}


def _kind(value: object) -> str:
    """What a value is, in an error."""
    return "None" if value is None else f"{type(value).__name__}"


def _check_texts(name: str, texts: Sequence[str], most: int) -> None:
    if len(texts) > most:
        raise InvalidRequest(f"{name} must be at most {most} texts.")
    if not all(texts):
        raise InvalidRequest(f"A text in {name} must not be empty.")


def _check_tool(tool: object) -> None:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequest("A tool must be an object with a function that has a name.")
