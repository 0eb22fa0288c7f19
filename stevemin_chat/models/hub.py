"""Talks to the Hugging Face Hub and turns its refusals into errors; the only importer of huggingface_hub."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stevemin_chat.base import HubRefused, HubUnreachable

if TYPE_CHECKING:
    from huggingface_hub.hf_api import BlobLfsInfo

__all__ = ["Listing", "RemoteFile", "cached_folder", "connection", "list_files"]

_TIMEOUT_S = 15.0
_DEFAULT_ENDPOINT = "https://huggingface.co"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository, as an untrusted hub describes it.

    Args:
        path: inside the repository; may be anything, see `catalogue.hub_file`.
        size: in bytes.
        sha256: of its content; None for files that the hub keeps in git itself.
    """

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at one commit."""

    repo: str
    commit: str | None
    endpoint: str
    files: tuple[RemoteFile, ...]

    @contextmanager
    def open(self, file: RemoteFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Download a file from byte `start`: yields the byte where the answer starts, and its pieces.

        Raises:
            HubUnreachable, HubRefused: on opening, or while the pieces are read.
        """
        from huggingface_hub import get_session, get_token, hf_hub_url, hf_raise_for_status

        headers = {"User-Agent": "stevemin", "Accept-Encoding": "identity"}
        if token := get_token():
            headers["Authorization"] = f"Bearer {token}"
        if start:
            headers["Range"] = f"bytes={start}-"
        url = hf_hub_url(self.repo, file.path, revision=self.commit, endpoint=self.endpoint)
        with (
            _clear_errors(self.repo, self.endpoint),
            get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S) as response,
        ):
            hf_raise_for_status(response)
            yield (start if response.status_code == 206 else 0), response.iter_bytes()


@contextmanager
def connection() -> Iterator[str]:
    """Yields the endpoint to talk to; closes the library's connections at the end."""
    from huggingface_hub import close_session

    # The library adds a handler that writes to the terminal; its messages belong in the log.
    logger = logging.getLogger("huggingface_hub")
    logger.handlers.clear()
    logger.propagate = True
    try:
        yield os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or _DEFAULT_ENDPOINT
    finally:
        close_session()


def cached_folder(repo: str) -> Path | None:
    """The folder in the Hub's cache on this disk that holds a repository's model; None if there is none.

    Args:
        repo: OWNER/REPO. Nothing is downloaded.
    """
    from huggingface_hub import try_to_load_from_cache

    for file in ("modules.json", "config.json"):
        if isinstance(found := try_to_load_from_cache(repo, file), str):
            return Path(found).parent
    return None


def list_files(repo: str, endpoint: str) -> Listing:
    """Ask for the files of a repository with their sizes and hashes.

    Raises:
        HubUnreachable, HubRefused.
    """
    from huggingface_hub import HfApi

    with _clear_errors(repo, endpoint):
        info = HfApi(endpoint=endpoint).model_info(repo, files_metadata=True, timeout=_TIMEOUT_S)
        # Converted in here: what is not a hub may answer with values of any type.
        files = tuple(
            RemoteFile(str(entry.rfilename), max(0, int(entry.size or 0)), _hash(entry.lfs))
            for entry in info.siblings or ()
        )
    return Listing(repo, info.sha, endpoint, files)


def _hash(lfs: BlobLfsInfo | None) -> str | None:
    # It becomes part of a file's name.
    if lfs is not None and not _SHA256.fullmatch(lfs.sha256):
        raise ValueError("not a SHA-256")
    return lfs.sha256 if lfs is not None else None


@contextmanager
def _clear_errors(repo: str, endpoint: str) -> Iterator[None]:
    import httpx2
    from huggingface_hub import errors

    host = urlsplit(endpoint).netloc or endpoint
    try:
        yield
    except errors.GatedRepoError as error:
        raise HubRefused(
            f"{repo} is gated: accept its terms on its page at {host}, then set HF_TOKEN to your token."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubRefused(
            f"No repository {repo} at {host}, or it is private. "
            "Check the spelling; for a private one set HF_TOKEN."
        ) from error
    except errors.EntryNotFoundError as error:
        raise HubRefused(f"{repo} no longer holds that file.") from error
    except errors.HFValidationError as error:
        raise HubRefused(f"{repo!r} is not a valid repository name.") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubUnreachable(
            "Downloads are switched off by HF_HUB_OFFLINE. Unset it and try again."
        ) from error
    except errors.HfHubHTTPError as error:
        raise HubRefused(_by_status(error.response.status_code, repo, host)) from error
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise HubUnreachable(f"HF_ENDPOINT is not a valid address ({error}).") from error
    except httpx2.TransportError as error:
        what = (
            f"{host} cannot be reached"
            if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            else f"The connection to {host} broke"
        )
        why = str(error) or type(error).__name__
        advice = "Check the network, then run the same command again."
        raise HubUnreachable(f"{what} ({why}). {advice}") from error
    except (httpx2.HTTPError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise HubRefused(f"{host} does not answer like a model hub. Check HF_ENDPOINT.") from error


def _by_status(status: int, repo: str, host: str) -> str:
    if status == 401:
        return f"{host} does not accept the access token for {repo}. Check HF_TOKEN."
    if status == 403:
        return f"{host} refuses access to {repo}. Accept its terms on its page, or check your token."
    if status == 429:
        return f"{host} limits the rate of requests. Wait a few minutes, then run the same command again."
    if status >= 500:
        return f"{host} reported an error (HTTP {status}). Try again later."
    return f"{host} refused {repo} (HTTP {status})."
