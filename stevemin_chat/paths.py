"""Where stevemin keeps its files on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stevemin_chat.errors import FolderNotWritable

__all__ = ["Paths", "builtin_catalogue_path", "prepare_folder"]

_APP = "stevemin"


@dataclass(frozen=True, slots=True)
class Paths:
    """The four folders of stevemin and the files in them.

    Args:
        config: settings and the user's catalogue; read only.
        data: the database and pulled models.
        cache: what can be deleted at any time.
        logs: rotating log files.
    """

    config: Path
    data: Path
    cache: Path
    logs: Path

    @classmethod
    def resolve(cls, environment: Mapping[str, str] = os.environ) -> Paths:
        """The folders for this user; `STEVEMIN_HOME` puts all four under one folder."""
        home = environment.get("STEVEMIN_HOME", "").strip()
        if home:
            root = Path(home).expanduser().absolute()
            return cls(root / "config", root / "data", root / "cache", root / "logs")
        import platformdirs

        folders = platformdirs.PlatformDirs(_APP, appauthor=False)
        return cls(
            folders.user_config_path, folders.user_data_path, folders.user_cache_path, folders.user_log_path
        )

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def user_catalogue(self) -> Path:
        return self.config / "models.toml"

    @property
    def database(self) -> Path:
        return self.data / "stevemin.db"

    @property
    def models_dir(self) -> Path:
        return self.data / "models"

    @property
    def parked_dir(self) -> Path:
        """For the KV caches of chats that had to leave the engine's memory."""
        return self.cache / "parked"

    @property
    def lock_file(self) -> Path:
        return self.data / "stevemin.lock"

    @property
    def log_file(self) -> Path:
        return self.logs / "stevemin.log"

    def prepare(self) -> None:
        """Create the data folder and prove that it can be written to.

        Raises:
            FolderNotWritable: the folder cannot be created, or files cannot be created in it.
        """
        prepare_folder(self.data)


def prepare_folder(folder: Path) -> None:
    """Create `folder` and write a file in it once; permission bits alone lie on network and read-only mounts.

    Raises:
        FolderNotWritable: the folder cannot be created, or files cannot be created in it.
    """
    probe = folder / f".write-test-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # chats are private
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise FolderNotWritable(folder, error) from error


def builtin_catalogue_path() -> Path:
    """The shipped `models.toml`: beside this package in a wheel, at the root in a checkout."""
    packaged = Path(__file__).with_name("models.toml")
    return packaged if packaged.is_file() else Path(__file__).parent.parent / "models.toml"
