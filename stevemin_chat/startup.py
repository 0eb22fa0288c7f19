"""What every command does first."""

from __future__ import annotations

from stevemin_chat.config import Config, load_config
from stevemin_chat.logs import start_logging
from stevemin_chat.paths import Paths

__all__ = ["begin"]


def begin() -> tuple[Paths, Config]:
    """Find the folders, start the log, read the settings.

    Raises:
        ConfigFileError: the settings are not valid.
    """
    paths = Paths.resolve()
    start_logging(paths.log_file)
    return paths, load_config(paths.config_file)
