"""What every room needs: the folders and private files, the log, the settings, and the errors
of the application. Importing it loads only the errors; the settings load pydantic and the engine's limits.
"""

from __future__ import annotations

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
from stevemin_chat.doors import lazy

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
        delete_partials,
        prepare_folder,
        project_folder,
        write_private,
    )
    from stevemin_chat.base.toml import line_of, read_toml
else:
    __getattr__ = lazy(
        __name__,
        {
            "config": "STARTER_MODEL Config EngineSection MemorySection SamplingSection begin load_config",
            "logs": "log_path start_logging",
            "paths": (
                "Paths SingleInstance builtin_catalogue_path delete_partials prepare_folder project_folder "
                "write_private"
            ),
            "toml": "line_of read_toml",
        },
    )

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
    "delete_partials",
    "line_of",
    "load_config",
    "log_path",
    "prepare_folder",
    "project_folder",
    "read_toml",
    "start_logging",
    "write_private",
]
