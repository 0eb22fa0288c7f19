"""Everything that can go wrong in the application itself, as one tree.

    ChatAppError
    ├── UsageProblem         a command was called in a way that cannot work
    ├── Declined             the person said no
    ├── ConfigFileError      the settings file cannot be used
    ├── InputFileError       a file named on the command line cannot be used
    ├── AlreadyRunning       another chat holds the data folder
    ├── NoModelLoaded        an answer was asked for while no model is loaded
    ├── ModelSwitchFailed    the new model could not be loaded; says what became of the old one
    └── HubError             a model cannot be fetched or removed
        ├── HubUnreachable   no answer, or the connection broke
        ├── HubRefused       an answer that is no file: not found, gated, overloaded
        ├── HashMismatch     what arrived is not what the hub announced
        └── DiskTooSmall     the download does not fit
    FolderNotWritable        (an OSError) a folder cannot be created or written to

The messages are complete sentences without a trailing newline, fit to be shown to a person.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "AlreadyRunning",
    "ChatAppError",
    "ConfigFileError",
    "Declined",
    "DiskTooSmall",
    "FolderNotWritable",
    "HashMismatch",
    "HubError",
    "HubRefused",
    "HubUnreachable",
    "InputFileError",
    "ModelSwitchFailed",
    "NoModelLoaded",
    "UsageProblem",
]


class ChatAppError(Exception):
    """Base of every error the application raises on purpose."""


class UsageProblem(ChatAppError):
    """A command was called in a way that cannot work; exit code 2."""


class Declined(ChatAppError):
    """The person was asked and said no."""

    def __init__(self) -> None:
        super().__init__("Nothing was changed.")


class ConfigFileError(ChatAppError):
    """The settings file cannot be used.

    Attributes:
        file: the settings file.
        key: dotted name of the setting at fault, or None when the file as a whole is.
        line: its line, counted from 1, or None when unknown.
        what: one sentence: what is wrong and what to do.
    """

    def __init__(self, file: Path, key: str | None, line: int | None, what: str) -> None:
        self.file, self.key, self.line, self.what = file, key, line, what
        where = f"{file}, line {line}" if line else str(file)
        super().__init__(f"{where}: {key}: {what}" if key else f"{where}: {what}")


class InputFileError(ChatAppError):
    """A file named on the command line cannot be used."""


class AlreadyRunning(ChatAppError):
    """Another stevemin chat holds the data folder.

    Attributes:
        pid: its process id, or None when it cannot be read.
        folder: the data folder.
    """

    def __init__(self, pid: int | None, folder: Path) -> None:
        self.pid, self.folder = pid, folder
        who = f" (process {pid})" if pid else ""
        super().__init__(
            f"stevemin is already running{who} with the data folder {folder}. "
            "Close it first, or set STEVEMIN_HOME to another folder."
        )


class NoModelLoaded(ChatAppError):
    """An answer was asked for while no model is loaded."""

    def __init__(self) -> None:
        super().__init__("No model is loaded. Choose one first.")


class ModelSwitchFailed(ChatAppError):
    """The new model could not be loaded; `__cause__` says why.

    Attributes:
        name: the model that was asked for.
        kept: the model that is loaded again, or None when there is none.
    """

    def __init__(self, name: str, cause: Exception, kept: str | None) -> None:
        self.name, self.kept = name, kept
        rest = f"{kept} is loaded again." if kept else "The model before it could not be loaded again either."
        super().__init__(f"{cause} {rest}")


class HubError(ChatAppError):
    """A model cannot be fetched or removed."""


class HubUnreachable(HubError):
    """The hub gave no answer, or the connection broke."""


class HubRefused(HubError):
    """The hub's answer is no file: not found, gated, overloaded."""


class HashMismatch(HubError):
    """What arrived is not what the hub announced."""


class DiskTooSmall(HubError):
    """The download does not fit on the disk."""


class FolderNotWritable(OSError):
    """A folder of stevemin's cannot be created or written to.

    `errno` and `strerror` are those of the failed call.
    """

    def __init__(self, folder: Path, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror or str(cause), str(folder))
        self.folder = folder
