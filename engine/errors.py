"""Every error the engine raises on purpose, as one tree.

    EngineError
    ├── ConfigError          a setting is out of range or contradicts another
    ├── ModelError           a model cannot be used
    │   ├── ModelNotFound    no such file, or no such name in the catalogue
    │   ├── ModelCorrupt     not a GGUF file, truncated, or refused by llama.cpp
    │   └── ModelTooLarge    weights or KV cache do not fit in memory
    ├── LoadCancelled        the caller stopped a model load
    ├── RequestError         one request cannot be served; others are untouched
    │   ├── InvalidRequest   a parameter is out of range
    │   ├── TemplateError    the model's chat template cannot render the messages
    │   ├── PromptTooLong    needs more KV cells than a sequence may hold
    │   │   └── TextTooLong  a text to embed or to rerank, likewise
    │   ├── QueueFull        the bounded queue has no room
    │   └── GenerationFailed llama.cpp refused to decode this request
    └── EngineClosed         the engine has stopped; every open stream gets this
        └── EngineCrashed    the engine thread died; carries the cause

The messages are complete sentences without a trailing newline, ready to be shown to a person.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "EngineClosed",
    "EngineCrashed",
    "EngineError",
    "GenerationFailed",
    "InvalidRequest",
    "LoadCancelled",
    "ModelCorrupt",
    "ModelError",
    "ModelNotFound",
    "ModelTooLarge",
    "PromptTooLong",
    "QueueFull",
    "RequestError",
    "TemplateError",
    "TextTooLong",
    "shown",
]

_LONGEST = 60  # characters of a wrong value in a message


class EngineError(Exception):
    """Base of every error the engine raises on purpose."""


class ConfigError(EngineError):
    """A setting of `EngineConfig` or of a catalogue is out of range."""


class ModelError(EngineError):
    """A model cannot be used."""


class ModelNotFound(ModelError):
    """No such file, or no such name in the catalogue."""


class ModelCorrupt(ModelError):
    """The file is not a GGUF model that llama.cpp can load."""


class ModelTooLarge(ModelError):
    """The weights or the KV cache do not fit in the memory of this machine."""


class LoadCancelled(EngineError):
    """The caller stopped a model load."""


class RequestError(EngineError):
    """One request cannot be served; the engine and the other requests are untouched."""


class InvalidRequest(RequestError):
    """A parameter of a request is out of range."""


class TemplateError(RequestError):
    """The model's chat template cannot render these messages."""


class PromptTooLong(RequestError):
    """The request needs more KV cells than one sequence may hold.

    Attributes:
        needed: cells the request would need (tokens).
        available: cells one sequence may hold (tokens).
    """

    def __init__(self, needed: int, available: int, *, prompt_tokens: int) -> None:
        self.needed = needed
        self.available = available
        self.prompt_tokens = prompt_tokens
        super().__init__(
            f"The request needs {needed:,} KV cells ({prompt_tokens:,} prompt tokens and "
            f"{needed - prompt_tokens:,} for the answer), but the context holds {available:,}."
        )


class TextTooLong(PromptTooLong):
    """A text to embed or to rerank has more tokens than the model reads at a time.

    Attributes:
        place: of the text in its list, from 0; None when a query leaves no room for a document.
    """

    def __init__(self, needed: int, available: int, place: int | None, what: str) -> None:
        super().__init__(needed, available, prompt_tokens=needed)
        self.place = place
        self.args = (f"{what} has {needed:,} tokens, but the model reads at most {available:,}.",)


class QueueFull(RequestError):
    """The bounded queue has no room for another request."""


class GenerationFailed(RequestError):
    """llama.cpp refused to decode this request."""


class EngineClosed(EngineError):
    """The engine has stopped."""


class EngineCrashed(EngineClosed):
    """The engine thread died; `__cause__` says why."""


def shown(value: object) -> str:
    """A wrong value in a message: its beginning, if it is long, and also if Python refuses to write it."""
    try:
        text = repr(value)
    except Exception as error:  # such as a number of more than 4,300 digits
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
