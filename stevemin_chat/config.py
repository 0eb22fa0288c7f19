"""The settings file: TOML, validated, with errors that name file, line and key.

```toml
model = "smollm2-135m"
strategy = "sliding"
system_prompt = "Answer briefly."

[engine]
max_sessions = 8

[sampling]
temperature = 0.7
```
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from engine.config import EngineConfig
from engine.errors import ConfigError, InvalidRequest
from engine.types import SamplingParams
from stevemin_chat.config_errors import setting_error, syntax_error
from stevemin_chat.errors import ConfigFileError

__all__ = ["Config", "ConfigFileError", "EngineSection", "SamplingSection", "load_config"]

STARTER_MODEL = "smollm2-135m"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EngineSection(_Section):
    """`[engine]`: the settings of `engine.EngineConfig` that a person may want to change."""

    max_sessions: int = 8
    cached_sessions: int = 24
    context_tokens: int = 0
    max_queue: int = 64
    batch_tokens: int = 512
    prefill_tokens: int = 128
    gpu_layers: int = -1
    threads: int = 0
    flash_attention: Literal["auto", "on", "off"] = "auto"

    @model_validator(mode="after")
    def _accepted_by_the_engine(self) -> Self:
        try:
            self.for_model(Path("model.gguf"))
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def for_model(self, model_path: Path) -> EngineConfig:
        """These settings as the engine takes them."""
        return EngineConfig(model_path=model_path, **self.model_dump())


class SamplingSection(_Section):
    """`[sampling]`: defaults of `engine.SamplingParams`."""

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = 64
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()

    @field_validator("stop", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _accepted_by_the_engine(self) -> Self:
        try:
            self.params()
        except InvalidRequest as error:
            raise ValueError(str(error)) from error
        return self

    def params(self, **changes: Any) -> SamplingParams:
        """These settings as the engine takes them, with some replaced.

        Raises:
            engine.InvalidRequest: a replaced value is out of range.
        """
        return dataclasses.replace(SamplingParams(**self.model_dump()), **changes)


class Config(_Section):
    """All settings; every one has a default that works.

    Args:
        model: catalogue name, path to a `.gguf`, or `OWNER/REPO:FILE`.
        strategy: what of the past goes into the prompt.
        system_prompt: given to new chats; None gives none.
        theme: a theme of the interface; None is its default.
    """

    model: str = STARTER_MODEL
    strategy: str = "sliding"
    system_prompt: str | None = None
    theme: str | None = None
    engine: EngineSection = EngineSection()
    sampling: SamplingSection = SamplingSection()

    @field_validator("model", "strategy")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("It must not be empty.")
        return value


def load_config(path: Path) -> Config:
    """Read the settings; a file that does not exist means the defaults.

    Raises:
        ConfigFileError: unreadable, not TOML, an unknown setting, or a value out of range.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return Config()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigFileError(path, None, line, "The file is not UTF-8 text.") from error
    except OSError as error:
        what = f"The settings cannot be read ({error.strerror or error})."
        raise ConfigFileError(path, None, None, what) from error
    text = text.replace("\r\n", "\n")
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise syntax_error(path, text, error) from error
    except ValidationError as error:
        raise setting_error(path, text, error, Config) from error
