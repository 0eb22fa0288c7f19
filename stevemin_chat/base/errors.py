"""The application's own errors, as one tree.

    ChatAppError
    ├── UsageProblem         wrong usage of a command
    ├── Declined             the person said no
    ├── ConfigFileError      a settings file or a catalogue cannot be used
    ├── InputFileError       a file named on the command line cannot be used
    ├── AlreadyRunning       another chat holds the data folder
    ├── NoModelLoaded        a question needs a model, and none is loaded
    ├── ModelSwitchFailed    the new model does not load; says whether the old one is back
    └── HubError             a model cannot be fetched or removed
        ├── HubUnreachable   no answer, or the connection broke
        ├── HubRefused       the hub refuses, or offers what cannot be used
        ├── HashMismatch     the content differs from what the hub announced
        └── DiskTooSmall     the download does not fit on the disk
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
    """Wrong usage of a command; exit code 2."""


class Declined(ChatAppError):
    """The person was asked and said no."""

    def __init__(self) -> None:
        super().__init__("Nothing was changed.")


class ConfigFileError(ChatAppError):
    """A settings file or a model catalogue cannot be used.

    Attributes:
        file: its path.
        key: dotted name of the setting at fault; None is the whole file.
        line: the setting's line, counted from 1; None when unknown.
        what: one sentence: the fault and its remedy.
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
    """A question needs a model, and none is loaded."""

    def __init__(self) -> None:
        super().__init__("No model is loaded. Choose one first.")


class ModelSwitchFailed(ChatAppError):
    """The new model does not load; `__cause__` says why.

    Attributes:
        name: the new model.
        kept: the model that is loaded again; None when there is none.
    """

    def __init__(self, name: str, cause: Exception, kept: str | None) -> None:
        self.name, self.kept = name, kept
        rest = f"{kept} is loaded again." if kept else "The previous model does not load again either."
        super().__init__(f"{cause} {rest}")


class HubError(ChatAppError):
    """A model cannot be fetched or removed."""


class HubUnreachable(HubError):
    """The hub gave no answer, or the connection broke."""


class HubRefused(HubError):
    """The hub refuses (not found, gated, overloaded), or offers what cannot be used."""


class HashMismatch(HubError):
    """The content differs from what the hub announced."""


class DiskTooSmall(HubError):
    """The download does not fit on the disk."""


class FolderNotWritable(OSError):
    """A folder of stevemin cannot be created or written to; `errno` and `strerror` are the failed call's."""

    def __init__(self, folder: Path, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror or str(cause), str(folder))
        self.folder = folder
