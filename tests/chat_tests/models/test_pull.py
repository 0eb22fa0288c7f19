"""Pulling models, against a hub on loopback."""

from __future__ import annotations

import errno
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from chat_tests.models.loopback_hub import COMMIT, REPO, LoopbackHub

from stevemin_chat.base.errors import (
    DiskTooSmall,
    HashMismatch,
    HubError,
    HubRefused,
    HubUnreachable,
    UsageProblem,
)
from stevemin_chat.models import download
from stevemin_chat.models import pulled as hub
from stevemin_chat.models.catalogue import find_file
from stevemin_chat.models.hub import RemoteFile

FILE = "model-Q4_K_M.gguf"
CONTENT = b"GGUF" + random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Setting(NamedTuple):
    hub: LoopbackHub
    models: Path

    @property
    def target(self) -> Path:
        return self.models / "owner" / "Model-GGUF" / FILE

    def parts(self) -> list[Path]:
        return download.partial_files(self.target)


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    monkeypatch.setattr(download, "_WAIT_S", 0.001)
    with LoopbackHub({REPO: {FILE: CONTENT, "README.md": b"# hello"}}) as loopback:
        monkeypatch.setenv("HF_ENDPOINT", loopback.endpoint)
        yield Setting(loopback, tmp_path / "models")


def test_pulls_a_named_file_at_the_listed_commit(setting: Setting) -> None:
    seen: list[tuple[str, int, int]] = []
    pulled = hub.pull(f"{REPO}:{FILE}", setting.models, on_progress=lambda *state: seen.append(state))
    assert pulled.path == setting.target
    assert pulled.name == f"{REPO}:{FILE}"
    assert setting.target.read_bytes() == CONTENT
    assert setting.parts() == []
    assert any(f"/resolve/{COMMIT}/" in path for _, path, _ in setting.hub.requests)
    assert seen[-1] == (FILE, len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert len(seen) > 3


def test_a_file_that_is_here_is_not_fetched_again(setting: Setting) -> None:
    hub.pull(REPO, setting.models)
    sent = setting.hub.sent[FILE]
    hub.pull(REPO, setting.models)
    assert setting.hub.sent[FILE] == sent


def test_a_file_of_the_right_size_but_other_content_is_fetched_again(setting: Setting) -> None:
    setting.target.parent.mkdir(parents=True)
    setting.target.write_bytes(b"x" * len(CONTENT))
    hub.pull(REPO, setting.models)
    assert setting.target.read_bytes() == CONTENT


def test_goes_on_by_itself_when_the_connection_breaks(setting: Setting) -> None:
    setting.hub.cuts[FILE] = [1_000_000, 500_000]
    hub.pull(REPO, setting.models)
    assert setting.target.read_bytes() == CONTENT
    assert setting.hub.sent[FILE] == len(CONTENT)
    starts = [int(wanted.removeprefix("bytes=")[:-1]) for wanted in setting.hub.ranges() if wanted]
    assert starts == [1_000_000, 1_500_000]


def test_gives_up_after_five_tries_without_a_byte_and_goes_on_the_next_time(setting: Setting) -> None:
    setting.hub.cuts[FILE] = [1_000_000, 0, 0, 0, 0, 0]
    with pytest.raises(HubUnreachable, match="run the same command again"):
        hub.pull(REPO, setting.models)
    assert not setting.target.exists()
    assert [part.stat().st_size for part in setting.parts()] == [1_000_000]
    setting.hub.cuts[FILE] = []
    hub.pull(REPO, setting.models)
    assert setting.target.read_bytes() == CONTENT
    assert setting.hub.ranges()[-1] == "bytes=1000000-"


def test_starts_over_when_the_hub_ignores_ranges(setting: Setting) -> None:
    setting.hub.ranges_ignored = True
    setting.hub.cuts[FILE] = [1_000_000]
    hub.pull(REPO, setting.models)
    assert setting.target.read_bytes() == CONTENT


def test_a_partial_file_longer_than_the_file_is_thrown_away(setting: Setting) -> None:
    part = setting.target.with_name(f"{FILE}.{SHA256[:12]}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"y" * (len(CONTENT) + 1))
    hub.pull(REPO, setting.models)
    assert setting.target.read_bytes() == CONTENT


def test_damaged_content_is_deleted_and_told(setting: Setting) -> None:
    setting.hub.tampered[FILE] = CONTENT[:-1] + b"?"
    with pytest.raises(HashMismatch, match=SHA256):
        hub.pull(REPO, setting.models)
    assert not setting.target.exists()
    assert setting.parts() == []


@pytest.mark.parametrize("hashed", [True, False])
def test_a_file_longer_than_announced_is_refused_before_it_fills_the_disk(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, hashed: bool
) -> None:
    written = []
    write = download._Transfer._write

    def note(transfer: download._Transfer, piece: bytes) -> None:
        written.append(len(piece))
        write(transfer, piece)

    monkeypatch.setattr(download._Transfer, "_write", note)
    setting.hub.tampered[FILE] = CONTENT * 2
    if not hashed:
        setting.hub.unhashed.add(FILE)
    with pytest.raises(HubRefused, match=f"longer than the {len(CONTENT)} bytes that the hub announced"):
        hub.pull(REPO, setting.models)
    assert sum(written) <= len(CONTENT)
    assert not setting.target.exists()
    assert setting.parts() == []


def test_the_catalogues_hash_counts_too(setting: Setting) -> None:
    with pytest.raises(HashMismatch, match="0" * 64):
        hub.pull(REPO, setting.models, sha256="0" * 64)
    assert not setting.target.exists()


@pytest.mark.parametrize(
    "name",
    [
        "/{outside}/evil.gguf",
        "../../../evil.gguf",
        "sub/../../../../evil.gguf",
        "..\\\\..\\\\evil.gguf",
        "C:evil.gguf",
        "./evil.gguf",
        "sub//evil.gguf",
        "evil\x00.gguf",
        "evil\n.gguf",
        "evil\x9b31m.gguf",
        "live\u202efugg.gguf",
        " /evil.gguf",
    ],
    ids=range(12),
)
def test_no_name_of_a_hub_leads_out_of_the_models_folder(setting: Setting, tmp_path: Path, name: str) -> None:
    name = name.format(outside=tmp_path)
    setting.hub.files[REPO] = {name: CONTENT}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(HubRefused, match="leads out of the models folder"):
        hub.pull(REPO, setting.models)
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"
    assert not any(path.startswith("/cdn/") for _, path, _ in setting.hub.requests)


def test_a_link_in_the_models_folder_does_not_lead_out_of_it(setting: Setting, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (setting.models / "owner").mkdir(parents=True)
    (setting.models / "owner" / "Model-GGUF").symlink_to(outside)
    with pytest.raises(HubRefused, match="by a link"):
        hub.pull(REPO, setting.models)
    (setting.models / "owner" / "Model-GGUF").unlink()
    setting.target.parent.mkdir()
    setting.target.symlink_to(outside / "precious")
    with pytest.raises(HubRefused, match="by a link"):
        hub.pull(REPO, setting.models)
    setting.target.unlink()
    setting.target.with_name(f"{FILE}.{SHA256[:12]}.part").symlink_to(outside / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        hub.pull(REPO, setting.models)
    assert list(outside.iterdir()) == []


def test_a_models_folder_that_is_a_link_itself_is_fine(setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "big-disk").mkdir()
    setting.models.symlink_to(tmp_path / "big-disk")
    assert hub.pull(REPO, setting.models).path.read_bytes() == CONTENT


@pytest.mark.parametrize("digest", ["../../../evil", "a" * 63, 7, None])
def test_a_hash_that_is_none_is_refused(setting: Setting, digest: object) -> None:
    setting.hub.digests[FILE] = digest
    with pytest.raises(HubRefused, match="does not answer like a model hub"):
        hub.pull(REPO, setting.models)
    assert not setting.models.exists()


def test_unknown_repository(setting: Setting) -> None:
    with pytest.raises(HubRefused, match=r"No repository owner/other at 127\.0\.0\.1.*spelling"):
        hub.pull("owner/other", setting.models)
    assert not setting.models.exists()


def test_gated_repository_and_its_token_stays_with_the_hub(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.hub.gated.add(REPO)
    with pytest.raises(HubRefused, match=r"gated: accept its terms .* HF_TOKEN"):
        hub.pull(REPO, setting.models)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.pull(REPO, setting.models)
    assert setting.target.read_bytes() == CONTENT
    told = {path.split("/")[1]: headers.get("authorization") for _, path, headers in setting.hub.requests}
    assert told["owner"] == "Bearer hf_secret"
    assert told["cdn"] is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "refuses access"),
        (429, "limits the rate"),
        (503, r"reported an error \(HTTP 503\)"),
        (418, "HTTP 418"),
    ],
)
def test_other_refusals(setting: Setting, status: int, words: str) -> None:
    setting.hub.refused["/cdn/"] = status
    with pytest.raises(HubRefused, match=words):
        hub.pull(REPO, setting.models)


def test_what_answers_is_not_a_hub(setting: Setting) -> None:
    setting.hub.refused["/api/"] = 200
    with pytest.raises(HubRefused, match="does not answer like a model hub"):
        hub.pull(REPO, setting.models)


@pytest.mark.parametrize(
    "listing",
    [b"[" * 100_000, b'{"id": "a/b", "sha": "x", "siblings": [{"rfilename": "m.gguf", "size": 1e999}]}'],
    ids=["deep", "infinite"],
)
def test_a_listing_that_python_cannot_hold(setting: Setting, listing: bytes) -> None:
    setting.hub.listing = listing
    with pytest.raises(HubRefused, match="does not answer like a model hub"):
        hub.pull(REPO, setting.models)


def test_nobody_answers(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:9 cannot be reached .* network"):
        hub.pull(REPO, setting.models)


def test_an_endpoint_that_is_no_address(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    with pytest.raises(HubUnreachable, match="HF_ENDPOINT is not a valid address"):
        hub.pull(REPO, setting.models)


def test_no_room_is_told_before_anything_is_fetched(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: free)
    with pytest.raises(DiskTooSmall, match=r"needs 2\.9 MiB more, but .* has 1\.0 MiB free"):
        hub.pull(REPO, setting.models)
    assert not any(path.startswith("/cdn/") for _, path, _ in setting.hub.requests)


def test_a_disk_that_fills_up_keeps_what_has_arrived(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = download._Transfer._write

    def until_full(transfer: download._Transfer, piece: bytes) -> None:
        if transfer._done > 1_100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(transfer, piece)

    with monkeypatch.context() as full:
        full.setattr(download._Transfer, "_write", until_full)
        with pytest.raises(DiskTooSmall, match=r"The disk is full after 1\.\d MiB of .* to resume"):
            hub.pull(REPO, setting.models)
    hub.pull(REPO, setting.models)
    assert setting.target.read_bytes() == CONTENT
    assert (setting.hub.ranges()[-1] or "").startswith("bytes=1")


def test_two_pulls_of_one_file_do_not_mix(setting: Setting) -> None:
    file = RemoteFile(FILE, len(CONTENT), SHA256)
    part = download._part_path(file, setting.target)
    with download._exclusive(part), pytest.raises(HubError, match="Another process"):
        hub.pull(REPO, setting.models)


def test_a_split_model_is_pulled_and_removed_whole(setting: Setting) -> None:
    names = [f"q8/big-Q8_0-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    setting.hub.files[REPO] |= {name: f"GGUF {name}".encode() for name in names}
    pulled = hub.pull(f"{REPO}:{names[1]}", setting.models)
    assert [str(path.relative_to(setting.models / REPO)) for path in pulled.files] == names
    assert [model.name for model in hub.pulled_models(setting.models)] == [f"{REPO}:{names[0]}"]
    removed = hub.remove_pulled(pulled.path, setting.models)
    assert removed == list(pulled.files)
    assert list(setting.models.iterdir()) == []


def test_a_split_model_that_lacks_a_part_is_refused() -> None:
    files = [RemoteFile("m-00001-of-00002.gguf", 1, None)]
    with pytest.raises(HubRefused, match=r"lacks a part .*00002-of-00002"):
        hub.choose_files(REPO, files, None)


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (["only.gguf", "readme.md"], None, "only.gguf"),
        (["m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-IQ4_K_M-x.gguf"], None, "m-Q4_K_M.gguf"),
        (["m.Q4_K_M.gguf", "mmproj-m-Q4_K_M.gguf"], None, "m.Q4_K_M.gguf"),
        (["a/m-Q8_0.gguf", "m-Q4_0.gguf"], "M-q8_0.GGUF", "a/m-Q8_0.gguf"),
        (["m-Q8_0.gguf", "m-Q4_0.gguf"], "m-Q8_0", "m-Q8_0.gguf"),
    ],
)
def test_choosing_a_file(names: list[str], wanted: str | None, chosen: str) -> None:
    files = [RemoteFile(name, 1, None) for name in names]
    assert [file.path for file in hub.choose_files(REPO, files, wanted)] == [chosen]


@pytest.mark.parametrize(
    ("names", "wanted", "words"),
    [
        (["m.safetensors"], None, "holds no GGUF file"),
        (
            ["m-Q8_0.gguf", "m-Q4_0.gguf"],
            None,
            r"name one as owner/Model-GGUF:FILE: m-Q4_0.gguf, m-Q8_0.gguf\.",
        ),
        (["m-Q8_0.gguf", "m-Q4_0.gguf"], "m-Q8.gguf", r"no file 'm-Q8.gguf'. Did you mean m-Q8_0.gguf\?"),
        ([f"m{number:02}.gguf" for number in range(20)], None, "and 8 more"),
    ],
)
def test_nothing_to_choose(names: list[str], wanted: str | None, words: str) -> None:
    with pytest.raises(HubRefused, match=words):
        hub.choose_files(REPO, [RemoteFile(name, 1, None) for name in names], wanted)


@pytest.mark.parametrize("spec", ["nonsense", "a/b/c", "../x/y", "owner/", "a/b:", "https://x/y", "-a b/c"])
def test_names_of_another_form(spec: str) -> None:
    with pytest.raises(UsageProblem, match="OWNER/REPO"):
        hub.split_name(spec)


@pytest.mark.parametrize("name", ["my model [Q4].gguf", "Model.GGUF", "sub folder/x.gguf"])
def test_what_was_pulled_is_found_by_its_name(setting: Setting, name: str) -> None:
    setting.hub.files[REPO] = {name: CONTENT}
    pulled = hub.pull(f"{REPO}:{name}", setting.models)
    assert [model.name for model in hub.pulled_models(setting.models)] == [pulled.name] == [f"{REPO}:{name}"]
    assert find_file(pulled.name, setting.models) == find_file(REPO, setting.models) == pulled.path


def test_a_persons_own_folder_among_the_models_is_skipped(setting: Setting) -> None:
    hub.pull(REPO, setting.models)
    for name in ("My Models/a/m.gguf", "owner/Model-GGUF/a:b.gguf"):
        (setting.models / name).parent.mkdir(parents=True, exist_ok=True)
        (setting.models / name).write_bytes(CONTENT)
    assert [model.name for model in hub.pulled_models(setting.models)] == [f"{REPO}:{FILE}"]


def test_only_what_was_pulled_is_removed(tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF")
    with pytest.raises(HubError, match="not pulled by stevemin"):
        hub.remove_pulled(own, tmp_path / "models")
    assert own.exists()


def test_unfinished_downloads_are_removed_with_their_model(setting: Setting) -> None:
    setting.hub.cuts[FILE] = [1000, 0, 0, 0, 0, 0]
    with pytest.raises(HubUnreachable):
        hub.pull(REPO, setting.models)
    hub.remove_pulled(setting.target, setting.models)
    assert not (setting.models / "owner").exists()
