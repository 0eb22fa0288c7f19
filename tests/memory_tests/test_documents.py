"""Documents: what is taken and left out, kept in step with the disk, found, and never taken for speech."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from memory import DocumentNotFound, DocumentsReport, Memory

CANOE = "# Boats\n\nThe canoe of the harbour master is turquoise.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "boats.md").write_text(CANOE)
    return folder


def places(memory: Memory, question: str, **options: str) -> list[str]:
    return [item.place for item in memory.search(question, **options)]  # type: ignore[arg-type]


def names(memory: Memory) -> list[str]:
    return [item.name for item in memory.documents.list()]


def after(polls: int) -> Callable[[], bool]:
    """Stops after so many polls."""
    counter = count(1)
    return lambda: next(counter) > polls


def test_a_folder_is_found_and_cited(memory: Memory, folder: Path) -> None:
    assert memory.documents.add([folder]) == DocumentsReport(added=1)
    [found] = memory.search("Which colour is the canoe?")
    assert (found.place, found.role, found.message_id, found.session_id) == (
        "notes/boats.md:1-3",
        "document",
        "",
        "",
    )
    assert found.file == str(folder / "boats.md")
    [document] = memory.documents.list()
    assert (document.root, document.passages, document.note) == (str(folder), 1, None)


def test_what_is_left_out_is_counted_with_the_reason(memory: Memory, folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".gitignore").write_text("*.log\nbuild/\n")
    (folder / "run.log").write_text("canoe")
    (folder / "build").mkdir()
    (folder / "build" / "canoe.md").write_text(CANOE)
    (folder / "sub").mkdir()
    (folder / "sub" / ".gitignore").write_text("!keep.log\nsecret.txt\n")
    (folder / "sub" / "keep.log").write_text("kept canoe")
    (folder / "sub" / "secret.txt").write_text("canoe")
    (folder / "photo.png").write_bytes(b"\x89PNG\0\0canoe")
    (folder / "latin.txt").write_bytes("caf\xe9 canoe".encode("latin-1"))
    (folder / "large.txt").write_bytes(b"canoe " * 400_000)
    os.mkfifo(folder / "pipe")
    (folder / "again").symlink_to(folder)
    (folder / "link.md").symlink_to(folder / "boats.md")
    report = memory.documents.add([folder])
    assert report.added == 2
    assert report.left_out == {
        "hidden": 3,
        "ignored by .gitignore": 3,
        "not text": 2,
        "over 2 MiB": 1,
        "a link": 2,
        "not a regular file": 1,
    }
    assert sorted(places(memory, "canoe")) == ["notes/boats.md:1-3", "notes/sub/keep.log:1"]
    notes = {item.name: item.note for item in memory.documents.list() if item.note}
    assert notes == {
        "notes/photo.png": "not text",
        "notes/latin.txt": "not text",
        "notes/large.txt": "over 2 MiB",
    }
    assert memory.documents.sync().left_out == report.left_out


def test_the_ignores_of_the_repository_above_count(memory: Memory, folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".gitignore").write_text("/deep/no.md\n")
    deep = folder / "deep"
    deep.mkdir()
    (deep / "no.md").write_text(CANOE)
    (deep / "yes.md").write_text(CANOE)
    assert memory.documents.add([deep]).left_out == {"ignored by .gitignore": 1}
    assert names(memory) == ["deep/yes.md"]


def test_a_file_that_is_named_itself_is_taken(memory: Memory, folder: Path) -> None:
    (folder / ".hidden.md").write_text(CANOE)
    assert memory.documents.add([folder / ".hidden.md"]).added == 1
    assert places(memory, "canoe") == [".hidden.md:1-3"]


def test_a_folder_that_is_ignored_is_taken_if_it_is_named(memory: Memory, folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".gitignore").write_text("/build/*\n")
    inner = folder / "build" / "docs"
    inner.mkdir(parents=True)
    (inner / "boats.md").write_text(CANOE)
    (inner / ".gitignore").write_text("*.log\n")
    (inner / "run.log").write_text(CANOE)
    assert memory.documents.add([inner]).left_out == {"hidden": 1, "ignored by .gitignore": 1}
    assert names(memory) == ["docs/boats.md"]


def test_a_pattern(memory: Memory, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "trains.md").write_text("The train is late.")
    (folder / "sub" / "trains.txt").write_text("The train is late.")
    memory.documents.add([f"{folder}/**/*.md"])
    assert names(memory) == ["notes/boats.md", "notes/sub/trains.md"]
    (folder / "sub" / "more.md").write_text("More trains.")
    assert memory.documents.sync().added == 1


def test_what_is_not_there_is_an_error_and_nothing_is_changed(memory: Memory, folder: Path) -> None:
    with pytest.raises(DocumentNotFound, match="No file or folder"):
        memory.documents.add([folder, folder / "nowhere"])
    assert memory.documents.list() == ()
    with pytest.raises(DocumentNotFound, match="No document"):
        memory.documents.remove("17")


def test_documents_are_kept_in_step(memory: Memory, folder: Path) -> None:
    (folder / "trains.md").write_text("The train is yellow.")
    memory.documents.add([folder])
    (folder / "boats.md").write_text("The canoe is vermilion.\n")
    (folder / "trains.md").unlink()
    (folder / "new.md").write_text("The glider is purple.")
    os.utime(folder / "new.md")
    assert memory.documents.sync() == DocumentsReport(added=1, changed=1, removed=1)
    assert places(memory, "turquoise") == places(memory, "train yellow") == []
    assert places(memory, "vermilion") == ["notes/boats.md:1"]
    assert places(memory, "purple glider") == ["notes/new.md:1"]
    assert memory.documents.sync() == DocumentsReport(unchanged=2)


def test_a_file_that_was_only_touched_keeps_its_passages(memory: Memory, folder: Path) -> None:
    memory.documents.add([folder])
    [before] = memory.search("canoe")
    os.utime(folder / "boats.md", ns=(1, 1))
    assert memory.documents.sync() == DocumentsReport(unchanged=1)
    [found] = memory.search("canoe")
    assert found.passage_id == before.passage_id


def test_a_file_that_cannot_be_read_keeps_its_passages_with_a_note(
    memory: Memory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.documents.add([folder])
    os.utime(folder / "boats.md", ns=(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _refuse)
        assert memory.documents.sync().left_out == {"cannot be read": 1}
    [document] = memory.documents.list()
    assert (document.note, document.passages) == ("cannot be read: permission denied", 1)
    assert places(memory, "canoe") == ["notes/boats.md:1-3"]
    memory.documents.sync()
    assert memory.documents.list()[0].note is None


def _refuse(*arguments: object, **options: object) -> int:
    raise PermissionError(13, "Permission denied")


def test_a_folder_that_cannot_be_read_keeps_its_documents_with_a_note(
    memory: Memory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "trains.md").write_text("The train is yellow.")
    memory.documents.add([folder])
    scandir = os.scandir

    def refuse(path: Path) -> object:
        return _refuse() if path.name == "deep" else scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        assert memory.documents.sync() == DocumentsReport(unchanged=1, left_out={"cannot be read": 1})
    notes = {item.name: item.note for item in memory.documents.list()}
    assert notes == {"notes/boats.md": None, "notes/deep/trains.md": "its folder cannot be read"}
    assert places(memory, "yellow train") == ["notes/deep/trains.md:1"]
    assert memory.documents.sync() == DocumentsReport(unchanged=2)
    assert all(item.note is None for item in memory.documents.list())


def test_what_is_gone_as_a_whole_comes_back_with_the_next_sync(memory: Memory, folder: Path) -> None:
    memory.documents.add([folder])
    folder.rename(folder.with_name("away"))
    assert memory.documents.sync() == DocumentsReport(removed=1, missing=(str(folder),))
    assert places(memory, "canoe") == []
    folder.with_name("away").rename(folder)
    assert memory.documents.sync() == DocumentsReport(added=1)


def test_a_damaged_keyword_index_is_made_anew(memory: Memory, folder: Path) -> None:
    memory.documents.add([folder])
    memory._call(memory._database.execute, "UPDATE passage_words_data SET block = zeroblob(40) WHERE id > 10")
    (folder / "boats.md").write_text("The canoe is vermilion.")
    assert memory.documents.sync() == DocumentsReport(changed=1)
    assert places(memory, "vermilion") == ["notes/boats.md:1"]


def test_the_day_of_reading_is_not_when_something_was_said(memory: Memory, folder: Path) -> None:
    memory.documents.add([folder])
    [found] = memory.search("Which canoe was it today?")
    assert "date" not in found.signals


def test_a_file_that_became_binary_is_found_no_more(memory: Memory, folder: Path) -> None:
    memory.documents.add([folder])
    (folder / "boats.md").write_bytes(b"canoe\0")
    memory.documents.sync()
    assert places(memory, "canoe") == []
    assert memory.documents.list()[0].note == "not text"


def test_removing_a_folder_a_file_of_it_and_by_number(memory: Memory, folder: Path, tmp_path: Path) -> None:
    (folder / "trains.md").write_text("The train is yellow.")
    (tmp_path / "single.md").write_text("The glider is purple.")
    memory.documents.add([folder, tmp_path / "single.md"])
    assert [item.name for item in memory.documents.remove(str(folder / "trains.md"))] == ["notes/trains.md"]
    assert memory.documents.sync().added == 0
    assert names(memory) == ["notes/boats.md", "single.md"]
    memory.documents.add([folder / "trains.md"])
    assert names(memory) == ["notes/boats.md", "trains.md", "single.md"]
    single = memory.documents.list()[2]
    memory.documents.remove(str(single.id))
    assert places(memory, "purple glider") == []
    memory.documents.remove(str(folder))
    assert names(memory) == ["trains.md"]


def test_removed_text_is_in_no_file(memory: Memory, folder: Path, database_path: Path) -> None:
    memory.documents.add([folder])
    memory.documents.remove(str(folder))
    assert memory.long_term.erased(5)
    memory.close()
    for path in database_path.parent.rglob("*"):
        if path.is_file():
            assert b"turquoise" not in path.read_bytes(), path
            assert b"turquois" not in path.read_bytes(), path


def test_two_thousand_files_with_progress_and_stopped_in_the_middle(memory: Memory, folder: Path) -> None:
    for number in range(1_999):
        (folder / f"note{number:04}.md").write_text(f"# Note {number}\n\nAbout the subject number{number}.\n")
    told: list[tuple[int, int]] = []

    def stop() -> bool:
        return bool(told) and told[-1][0] >= 700

    report = memory.documents.add(
        [folder], progress=lambda done, total: told.append((done, total)), stopped=stop
    )
    assert report.stopped
    assert told[-1] == (700, 2_000)
    assert report.added == len(memory.documents.list()) == 700
    assert places(memory, "number650") == ["notes/note0650.md:1-3"]
    assert memory.documents.sync().added == 1_300
    assert places(memory, "number1998") == ["notes/note1998.md:1-3"]


def test_one_that_stops_at_once_changes_nothing_more(memory: Memory, folder: Path) -> None:
    assert memory.documents.add([folder], stopped=after(0)).stopped
    assert memory.documents.list() == ()
    assert memory.documents.sync().added == 1


def test_search_with_and_without_the_chats(memory: Memory, folder: Path) -> None:
    chat = memory.create_session()
    memory.add_message(chat.id, "user", "My canoe is orange.")
    memory.documents.add([folder])
    both = memory.search("Which colour is the canoe?")
    assert {item.role for item in both} == {"user", "document"}
    assert [item.role for item in memory.search("canoe", sources="chats")] == ["user"]
    assert [item.role for item in memory.search("canoe", sources="documents")] == ["document"]


def test_a_project_sees_its_documents_and_no_others(memory: Memory, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "all.md").write_text("The canoe of everyone is white.")
    memory.documents.add([folder], project="/projects/a")
    memory.documents.add([tmp_path / "all.md"])
    mine, other = memory.create_session(project="/projects/a"), memory.create_session(project="/projects/b")
    everything = {"notes/boats.md:1-3", "all.md:1"}
    assert set(places(memory, "canoe")) == everything
    assert set(places(memory, "canoe", session_id=mine.id)) == everything
    assert places(memory, "canoe", session_id=other.id) == ["all.md:1"]
    memory.set_session(mine.id, scope="project")
    assert places(memory, "canoe", session_id=mine.id) == ["notes/boats.md:1-3"]
    memory.set_session(mine.id, scope="session")
    assert places(memory, "canoe", session_id=mine.id) == []


def test_documents_make_no_facts_summaries_or_messages(memory: Memory, folder: Path) -> None:
    (folder / "me.md").write_text("I live in Porto. My name is Ada. I prefer tea.")
    memory.documents.add([folder])
    assert memory.long_term.facts() == ()
    exported = memory.long_term.export()
    assert (exported["facts"], exported["summaries"], exported["messages"]) == ([], [], [])
    assert memory.long_term.stats().messages == 0


def test_forgetting_and_deleting_chats_leave_documents_alone(memory: Memory, folder: Path) -> None:
    memory.documents.add([folder])
    chat = memory.create_session()
    said = memory.add_message(chat.id, "user", "My canoe is orange.")
    memory.long_term.forget([said.id])
    memory.delete_session(chat.id)
    assert places(memory, "canoe") == ["notes/boats.md:1-3"]


def _pdf(*pages: str) -> bytes:
    """A minimal PDF of pages with one line each."""
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"]
    font = "<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    for number, text in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents {4 + 2 * number} 0 R"
            f" /Resources {font} >>"
        )
        stream = f"BT /F 12 Tf 20 200 Td ({text}) Tj ET" if text else ""
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, places = "%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{each}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode()


def test_a_pdf_is_cited_by_its_page(memory: Memory, folder: Path) -> None:
    (folder / "paper.PDF").write_bytes(_pdf("Nothing here.", "The glider is purple."))
    assert memory.documents.add([folder]).added == 2
    assert places(memory, "Which colour is the glider?")[0] == "notes/paper.PDF:p2"


def test_pdfs_without_text_or_damaged_are_left_out(memory: Memory, folder: Path) -> None:
    (folder / "scan.pdf").write_bytes(_pdf(""))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing else")
    assert memory.documents.add([folder]).left_out == {"a PDF without text": 1, "not a readable PDF": 1}


def test_sections_are_not_neighbours_but_the_pieces_of_one_are(memory: Memory, folder: Path) -> None:
    long = " ".join(f"Pier {number} is closed." for number in range(150))
    (folder / "boats.md").write_text(
        f"# Canoe\n\nIt is turquoise.\n\n# Tram\n\nIt is late.\n\n# Piers\n\n{long}\n"
    )
    memory.documents.add([folder])
    [found] = memory.search("turquoise canoe")
    assert found.text == "# Canoe\n\nIt is turquoise."
    ids = [item.passage_id for item in memory.search("pier closed", limit=50)]
    stored = memory._call(memory._components.passages.get, ids)
    chain = sorted(stored.values(), key=lambda item: item.id)
    assert [item.previous for item in chain] == [None, *(item.id for item in chain[:-1])]
    assert len(chain) > 2
