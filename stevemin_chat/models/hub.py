"""The questions to the hub and what its refusals mean; the only importer of huggingface_hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from stevemin_chat.base import HubRefused, HubUnreachable

__all__ = ["Listing", "RemoteFile", "list_files", "session"]

_TIMEOUT_S = 15.0
_DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository.

    Args:
        path: inside the repository.
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
        """Download a file from byte `start` on: gives the byte where the answer starts, and its pieces.

        Raises:
            HubUnreachable, HubRefused: also while the pieces are read.
        """
        from huggingface_hub import get_session, get_token, hf_hub_url, hf_raise_for_status

        headers = {"User-Agent": "stevemin", "Accept-Encoding": "identity"}
        if token := get_token():
            headers["Authorization"] = f"Bearer {token}"
        if start:
            headers["Range"] = f"bytes={start}-"
        url = hf_hub_url(self.repo, file.path, revision=self.commit, endpoint=self.endpoint)
        with (
            _told_clearly(self.repo, self.endpoint),
            get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S) as response,
        ):
            hf_raise_for_status(response)
            yield (start if response.status_code == 206 else 0), response.iter_bytes()


@contextmanager
def session() -> Iterator[str]:
    """The endpoint to talk to; closes the library's connections at the end."""
    from huggingface_hub import close_session

    # It puts a handler for the terminal on its own logger; its messages belong in the log.
    logger = logging.getLogger("huggingface_hub")
    logger.handlers.clear()
    logger.propagate = True
    try:
        yield os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or _DEFAULT_ENDPOINT
    finally:
        close_session()


def list_files(repo: str, endpoint: str) -> Listing:
    """Ask for the files of a repository, their sizes and hashes.

    Raises:
        HubUnreachable, HubRefused.
    """
    from huggingface_hub import HfApi

    with _told_clearly(repo, endpoint):
        info = HfApi(endpoint=endpoint).model_info(repo, files_metadata=True, timeout=_TIMEOUT_S)
    files = tuple(
        RemoteFile(entry.rfilename, entry.size or 0, entry.lfs.sha256 if entry.lfs else None)
        for entry in info.siblings or ()
    )
    return Listing(repo, info.sha, endpoint, files)


@contextmanager
def _told_clearly(repo: str, endpoint: str) -> Iterator[None]:
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
            f"There is no repository {repo} at {host}, or it is private. "
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
    except (httpx2.HTTPError, ValueError, KeyError) as error:
        raise HubRefused(f"The answer of {host} is not that of a model hub. Check HF_ENDPOINT.") from error


def _by_status(status: int, repo: str, host: str) -> str:
    if status == 401:
        return f"{host} does not accept the access token for {repo}. Check HF_TOKEN."
    if status == 403:
        return f"{host} refuses access to {repo}. Accept its terms on its page, or check your token."
    if status == 429:
        return f"{host} asks to slow down. Wait a few minutes, then run the same command again."
    if status >= 500:
        return f"{host} is in trouble (HTTP {status}). Try again later."
    return f"{host} refused {repo} (HTTP {status})."
