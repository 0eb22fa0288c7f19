"""What every room needs: the folders and private files, the log, the settings, and the errors
of the application. Importing it loads only the errors; the settings load pydantic and the engine's limits.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from stevemin_chat.base.errors import (
    AlreadyRunning,
    ChatAppError,
    ConfigFileError,
    Declined,
    DiskTooSmall,
    FolderNotWritable,
    HashMismatch,
    HubError,
    HubRefused,
    HubUnreachable,
    InputFileError,
    ModelSwitchFailed,
    NoModelLoaded,
    UsageProblem,
)

if TYPE_CHECKING:
    from stevemin_chat.base.config import (
        STARTER_MODEL,
        Config,
        EngineSection,
        MemorySection,
        SamplingSection,
        begin,
        load_config,
    )
    from stevemin_chat.base.logs import log_path, start_logging
    from stevemin_chat.base.paths import (
        Paths,
        SingleInstance,
        builtin_catalogue_path,
        prepare_folder,
        project_folder,
        write_private,
    )
    from stevemin_chat.base.toml import line_of, read_toml
else:
    _LOGS = ("log_path", "start_logging")
    _TOML = ("line_of", "read_toml")
    _PATHS = (
        "Paths",
        "SingleInstance",
        "builtin_catalogue_path",
        "prepare_folder",
        "project_folder",
        "write_private",
    )

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        homes = {"paths": _PATHS, "logs": _LOGS, "toml": _TOML}
        module = next((home for home, names in homes.items() if name in names), "config")
        return getattr(import_module(f"{__name__}.{module}"), name)


__all__ = [
    "STARTER_MODEL",
    "AlreadyRunning",
    "ChatAppError",
    "Config",
    "ConfigFileError",
    "Declined",
    "DiskTooSmall",
    "EngineSection",
    "FolderNotWritable",
    "HashMismatch",
    "HubError",
    "HubRefused",
    "HubUnreachable",
    "InputFileError",
    "MemorySection",
    "ModelSwitchFailed",
    "NoModelLoaded",
    "Paths",
    "SamplingSection",
    "SingleInstance",
    "UsageProblem",
    "begin",
    "builtin_catalogue_path",
    "line_of",
    "load_config",
    "log_path",
    "prepare_folder",
    "project_folder",
    "read_toml",
    "start_logging",
    "write_private",
]
