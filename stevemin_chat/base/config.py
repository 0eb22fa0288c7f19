"""The settings file: TOML, validated, with errors that name file, line and key.

```toml
model = "smollm2-135m"
strategy = "hierarchical"
system_prompt = "Answer briefly."

[engine]
max_sessions = 8

[sampling]
temperature = 0.7

[memory]
scope = "project"
```
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from engine.config import EngineConfig
from engine.errors import ConfigError, InvalidRequest
from engine.types import SamplingParams
from stevemin_chat.base.errors import ConfigFileError
from stevemin_chat.base.logs import start_logging
from stevemin_chat.base.paths import Paths
from stevemin_chat.base.toml import line_of, read_toml

__all__ = [
    "STARTER_MODEL",
    "STRATEGY_NAMES",
    "Config",
    "EngineSection",
    "MemorySection",
    "SamplingSection",
    "begin",
    "load_config",
]

STARTER_MODEL = "smollm2-135m"
# The names of memory.STRATEGIES, which a test compares: importing the memory to read the settings is slow.
STRATEGY_NAMES = ("hierarchical", "adaptive", "retrieval", "summary", "sliding", "full")

_ENGINE = EngineConfig(model_path=Path("model.gguf"))  # the engine's defaults are ours
_SAMPLING = SamplingParams()


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _EngineFacing(_Section):
    """A section whose values the engine validates."""

    @abstractmethod
    def _for_engine(self) -> object:
        """Build what the engine takes; raises the engine's error."""

    @model_validator(mode="after")
    def _accepted_by_the_engine(self) -> Self:
        try:
            self._for_engine()
        except (ConfigError, InvalidRequest) as error:
            raise ValueError(str(error)) from error
        return self


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class EngineSection(_EngineFacing):
    """`[engine]`: the settings of `engine.EngineConfig` that a person may want to change."""

    max_sessions: int = _ENGINE.max_sessions
    cached_sessions: int = _ENGINE.cached_sessions
    context_tokens: int = _ENGINE.context_tokens
    max_queue: int = _ENGINE.max_queue
    batch_tokens: int = _ENGINE.batch_tokens
    step_target_ms: int = _ENGINE.step_target_ms
    gpu_layers: int = _ENGINE.gpu_layers
    split_mode: Literal["none", "layer", "row", "tensor"] = _ENGINE.split_mode
    tensor_split: tuple[float, ...] = _ENGINE.tensor_split
    main_gpu: int = _ENGINE.main_gpu
    cpu_experts: int = _ENGINE.cpu_experts
    tensor_overrides: tuple[str, ...] = _ENGINE.tensor_overrides
    load_mode: Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "direct_io"] = _ENGINE.load_mode
    threads: int = _ENGINE.threads
    flash_attention: Literal["auto", "on", "off"] = _ENGINE.flash_attention
    kv_type: Literal["f16", "q8_0", "q4_0"] = _ENGINE.kv_type
    kv_layout: Literal["auto", "unified", "split"] = _ENGINE.kv_layout
    parked_ram_mib: int = _ENGINE.parked_ram_mib
    parked_disk_mib: int = _ENGINE.parked_disk_mib
    speculation: Literal["auto", "on", "off"] = _ENGINE.speculation
    draft_tokens: int = _ENGINE.draft_tokens
    device_sampling: Literal["auto", "on", "off"] = _ENGINE.device_sampling
    sampling_threads: int = _ENGINE.sampling_threads

    @field_validator("tensor_split", "tensor_overrides", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return _tuple(value)

    def _for_engine(self) -> EngineConfig:
        return self.for_model(Path("model.gguf"))

    def for_model(
        self, model_path: Path, *, parked_folder: Path | None = None, **of_model: Any
    ) -> EngineConfig:
        """These settings as the engine takes them; `parked_disk_mib` limits `parked_folder`.

        Args:
            of_model: settings that belong to the model.
        """
        given = self.model_dump() | of_model
        return EngineConfig(model_path=model_path, parked_folder=parked_folder, **given)


class SamplingSection(_EngineFacing):
    """`[sampling]`: defaults of `engine.SamplingParams`."""

    temperature: float = _SAMPLING.temperature
    top_k: int = _SAMPLING.top_k
    top_p: float = _SAMPLING.top_p
    min_p: float = _SAMPLING.min_p
    typical_p: float = _SAMPLING.typical_p
    xtc_probability: float = _SAMPLING.xtc_probability
    xtc_threshold: float = _SAMPLING.xtc_threshold
    mirostat: Literal[0, 1, 2] = _SAMPLING.mirostat
    mirostat_tau: float = _SAMPLING.mirostat_tau
    mirostat_eta: float = _SAMPLING.mirostat_eta
    repetition_penalty: float = _SAMPLING.repetition_penalty
    presence_penalty: float = _SAMPLING.presence_penalty
    frequency_penalty: float = _SAMPLING.frequency_penalty
    penalty_last_n: int = _SAMPLING.penalty_last_n
    dry_multiplier: float = _SAMPLING.dry_multiplier
    dry_base: float = _SAMPLING.dry_base
    dry_allowed_length: int = _SAMPLING.dry_allowed_length
    dry_last_n: int = _SAMPLING.dry_last_n
    dry_breakers: tuple[str, ...] = _SAMPLING.dry_breakers
    seed: int | None = _SAMPLING.seed
    max_tokens: int | None = _SAMPLING.max_tokens
    stop: tuple[str, ...] = _SAMPLING.stop

    @field_validator("stop", "dry_breakers", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return _tuple(value)

    def _for_engine(self) -> SamplingParams:
        return self.params()

    def params(self, **changes: Any) -> SamplingParams:
        """These settings as the engine takes them, with some replaced.

        Raises:
            engine.InvalidRequest: a replaced value is out of range.
        """
        return dataclasses.replace(SamplingParams(**self.model_dump()), **changes)


class MemorySection(_Section):
    """`[memory]`: what stevemin remembers of the chats besides their messages.

    Args:
        enabled: use long-term memory; False recalls and learns nothing, in this run only.
        summaries: summarise older messages while nobody waits for an answer.
        facts_by_model: "auto" lets a model that has passed its check look for facts meanwhile.
        scope: which chats share memories with a new chat.
        chroma_url: a Chroma server that indexes the vectors; None keeps the index in the data folder.
        embedder: the model that embeds texts: a name on the Hub, a folder, or a GGUF by its path or name;
            None is the package that comes along.
        embedder_query_prefix, embedder_passage_prefix: what it wants before questions and passages; None
            is what its own settings say.
        reranker: a cross-encoder that puts the best memories into its own order: named as the embedder; None
            is none.
    """

    enabled: bool = True
    summaries: bool = True
    facts_by_model: Literal["auto", "off"] = "auto"
    scope: Literal["session", "project", "everywhere"] = "everywhere"
    chroma_url: str | None = None
    embedder: str | None = None
    embedder_query_prefix: str | None = None
    embedder_passage_prefix: str | None = None
    reranker: str | None = None

    @field_validator("embedder", "reranker")
    @classmethod
    def _names_something(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("It must name a model, a folder or a file; or leave it out.")
        return value

    @field_validator("chroma_url")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and not _is_web_address(value):
            raise ValueError(f"It must be an address such as http://localhost:8000, not {value!r}.")
        return value


class Config(_Section):
    """All settings; every one has a default that works.

    Args:
        model: catalogue name, path to a `.gguf`, or `OWNER/REPO:FILE`.
        strategy: selects the history that goes into the prompt; one of `STRATEGY_NAMES`.
        system_prompt: of new chats; None is none.
        theme: of the interface; None is its default.
    """

    model: str = STARTER_MODEL
    strategy: str = "hierarchical"
    system_prompt: str | None = None
    theme: str | None = None
    engine: EngineSection = EngineSection()
    sampling: SamplingSection = SamplingSection()
    memory: MemorySection = MemorySection()

    @field_validator("model")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("It must not be empty.")
        return value

    @field_validator("strategy")
    @classmethod
    def _is_a_strategy(cls, value: str) -> str:
        if value not in STRATEGY_NAMES:
            raise ValueError(f"There is no strategy {value!r}. Choose one of: {', '.join(STRATEGY_NAMES)}.")
        return value


def begin() -> tuple[Paths, Config]:
    """Find the folders, start the log, read the settings.

    Raises:
        ConfigFileError: the settings are not valid.
    """
    paths = Paths.resolve()
    start_logging(paths.log_file)
    return paths, load_config(paths.config_file)


def load_config(path: Path) -> Config:
    """Read the settings; a file that does not exist means the defaults.

    Raises:
        ConfigFileError: unreadable, not TOML, an unknown setting, or a value out of range.
    """
    try:
        text, values = read_toml(path)
    except FileNotFoundError:
        return Config()
    try:
        return _validated(path, text, values)
    except (RecursionError, ValueError, OverflowError) as error:
        # It parsed; checking it or quoting it exceeds Python's limits for the stack or for digits.
        what = "A value is nested too deeply, or a number has too many digits."
        raise ConfigFileError(path, None, None, what) from error


def _validated(path: Path, text: str, values: dict[str, Any]) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _setting_error(path, text, error) from error


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises on an invalid port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, text))


_REPLACED = {  # settings of earlier versions, and their successors
    "engine.prefill_tokens": "step_target_ms, the longest step while an answer is written, in milliseconds",
}


def _setting_error(path: Path, text: str, error: ValidationError) -> ConfigFileError:
    """The first setting that is refused, and its line."""
    first = error.errors(include_url=False)[0]
    keys = [str(part) for part in first["loc"] if not isinstance(part, int)]
    what = _sentence(first, keys)
    if first["type"] == "value_error" and len(keys) < 2:
        keys = _blamed(text, keys, what)
    more = error.error_count() - 1
    if more:
        what += f" ({more} more after this one.)"
    return ConfigFileError(path, ".".join(keys) or None, line_of(text, keys), what)


def _sentence(problem: ErrorDetails, keys: Sequence[str]) -> str:
    message, kind, given = problem["msg"], problem["type"], problem["input"]
    if kind == "extra_forbidden" and (instead := _REPLACED.get(".".join(keys))):
        return f"This setting was removed. Use {instead}."
    if kind == "extra_forbidden":
        known = _known(keys[:-1])
        near = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(known)}."
        return f"There is no such setting. {hint}"
    if kind == "model_type":
        return f"It must be a section: [{'.'.join(keys)}]."
    if kind == "value_error":
        return f"{message.removeprefix('Value error, ').rstrip('.')}."
    shown = f", not {given!r}" if isinstance(given, str | int | float) else ""
    return f"{message.replace('Input should', 'It must', 1)}{shown}."


def _known(section: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Config
    for name in section:
        annotation = model.model_fields[name].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return list(model.model_fields)


def _blamed(text: str, section: list[str], what: str) -> list[str]:
    """The setting that an error about its whole section names."""
    values: Any = tomllib.loads(text)
    for name in section:
        values = values[name]
    if not isinstance(values, dict):
        return section
    named = [name for name in re.findall(r"[a-z_]+", what) if name in values]
    return [*section, *named[:1]]
