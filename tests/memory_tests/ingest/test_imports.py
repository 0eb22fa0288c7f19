"""An export of the memory, read again: nothing is lost, nothing comes twice, and bad files change nothing."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_tests.template import copy_template

from memory import InvalidImport, Memory, PromptSources, UnknownStrategy, long_term
from memory.ingest import import_file
from memory.storage import Facts, Passages, Readings

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Memory]:
    with Memory(copy_template(tmp_path / "empty" / "stevemin.db")) as memory:
        yield memory


@pytest.fixture
def filled(memory: Memory) -> Memory:
    """Two chats with branches, a cancelled reply, a message off memory, facts of every kind, summaries."""
    keep = memory.long_term
    rome = memory.create_session("Trip to Rome", strategy="sliding", project="/home/ana/travel")
    memory.set_session(rome.id, system_prompt="Be brief.\n\x1b[31m", scope="project", model="starter")
    told = memory.add_message(rome.id, "user", "I live in Porto. I prefer short answers.")
    reply = memory.begin_reply(
        rome.id,
        model="starter",
        sources=PromptSources(
            strategy="sliding",
            memories=(told.id,),
            facts=(1,),
            summaries=(7,),
            documents=("notes/Übung.md:1-3",),
            instructions=(told.id, "notes/Übung.md:1-3"),
        ),
    )
    memory.finish_reply(
        reply.id, "Noted\x00.", status="cancelled", finish_reason="cancel", timings={"ttft_s": 0.25}
    )
    memory.add_message(rome.id, "user", "And in Rome?", parent_id=reply.id)
    empty_reply = memory.begin_reply(rome.id)
    memory.finish_reply(empty_reply.id, "", status="failed", error="No room.")
    again = memory.add_message(rome.id, "user", "I live in Rome now.")
    keep.switch(False)
    memory.add_message(rome.id, "user", "Nobody shall find the zeppelin.")
    keep.switch(True)
    last = memory.add_message(rome.id, "assistant", "Lovely 🛤️.")
    memory.add_message(rome.id, "user", "Another start.", parent_id=None, at="2026-03-02T10:15:00Z")
    memory.select_branch(again.id)
    garden = memory.create_session()
    memory.add_message(garden.id, "user", "I prefer short answers.")
    memory.add_message(garden.id, "user", "x" * 5000)
    hidden = memory.create_session("Secret")
    memory.add_message(hidden.id, "user", "My name is Nobody.")
    memory.set_session(hidden.id, off_record=True)
    gone = memory.add_message(garden.id, "user", "I love quicksilver.")
    keep.forget([gone.id])
    written = keep.add_fact("I work at night.", "preference")
    keep.pin_fact(written.id)
    keep.add_fact("I live in Porto.")
    (short,) = [fact for fact in keep.facts() if fact.text == "I prefer short answers."]
    keep.edit_fact(short.id, "Short answers, please.")
    add = memory._components.summaries.add
    memory._call(add, rome.id, 0, "The person\nlives in Porto.", [told.id, reply.id])
    memory._call(add, rome.id, 1, "All of it.", [told.id, reply.id])
    assert last.content
    return memory


def as_bytes(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def load(memory: Memory, document: dict[str, Any]) -> dict[str, int]:
    added = memory.long_term.import_export(as_bytes(document))
    return {name: getattr(added, name) for name in type(added).__dataclass_fields__}


def test_an_export_comes_back_the_same_from_an_empty_store(filled: Memory, empty: Memory) -> None:
    document = filled.long_term.export()
    assert document["format"] == 2
    assert len(document["facts"]) == 4
    assert any(fact["until"] for fact in document["facts"])
    added = load(empty, document)
    assert empty.long_term.export() == document
    assert added == {
        "sessions": 2, "messages": 8, "facts": 4, "summaries": 2, "known": 0, "left_out": 0
    }  # fmt: skip


def test_days_names_and_what_a_model_has_read_come_back(memory: Memory, empty: Memory) -> None:
    chat = memory.create_session("Talks").id
    due = "My talk for the Ghent club is tomorrow."
    first = memory.add_message(chat, "user", due, at="2026-03-03T10:15:00+00:00")
    memory.add_message(chat, "user", due, at="2026-04-03T10:15:00+00:00")
    memory._call(Readings(memory._database).mark, first.id, "0123abcd")
    memory.long_term.add_fact("Ghent is where my sister was born yesterday")
    document = memory.long_term.export()
    talk = next(fact for fact in document["facts"] if fact["kind"] == "deadline")
    assert (talk["day"], sorted(talk["days"].values())) == ("2026-04-04", ["2026-03-04", "2026-04-04"])
    load(empty, document)
    assert empty.long_term.export() == document
    assert [message["read_by"] for message in document["messages"]] == [["0123abcd"], []]
    (own,) = [fact for fact in empty.long_term.facts() if not fact.sources]
    assert [fact.text for fact in empty.long_term.why(str(own.id)).related] == [due]


def test_an_export_without_names_gets_them(filled: Memory, empty: Memory) -> None:
    document = filled.long_term.export()
    for fact in document["facts"]:
        for name in ("entities", "day", "days", "written_day"):
            del fact[name]
    for message in document["messages"]:
        del message["read_by"]
    load(empty, document)
    assert empty.long_term.export() == filled.long_term.export()


def test_what_is_not_remembered_is_not_exported(filled: Memory) -> None:
    text = json.dumps(filled.long_term.export())
    for word in ("zeppelin", "Nobody", "quicksilver", "Secret"):
        assert word not in text


def test_what_came_back_is_found_and_can_be_continued(filled: Memory, empty: Memory) -> None:
    load(empty, filled.long_term.export())
    assert empty.search("lovely")[0].text == "Lovely 🛤️."
    assert empty.long_term.stats().passages == filled.long_term.stats().passages
    rome = empty.session("Trip to Rome")
    assert (rome.system_prompt, rome.scope, rome.model) == ("Be brief.\n\x1b[31m", "project", "starter")
    branch = [message.content for message in empty.messages(rome.id)]
    assert branch == [
        "I live in Porto. I prefer short answers.", "Noted\x00.", "And in Rome?", "I live in Rome now.",
        "Lovely 🛤️.",
    ]  # fmt: skip
    assert empty.add_message(rome.id, "user", "Go on.").parent_id == rome.head_id


def test_a_second_import_adds_nothing(filled: Memory, empty: Memory) -> None:
    document = filled.long_term.export()
    load(empty, document)
    again = load(empty, document)
    assert again == {"sessions": 0, "messages": 0, "facts": 0, "summaries": 0, "known": 14, "left_out": 0}
    assert empty.long_term.export() == document
    assert load(filled, document) == again
    assert filled.long_term.export() == document


def test_a_store_that_has_something_keeps_it_and_gets_the_rest(filled: Memory, empty: Memory) -> None:
    """Numbers that name other things here are not taken."""
    mine = empty.create_session("Mine")
    asked = empty.add_message(mine.id, "user", "I like tea. I live in Oslo.")
    empty.long_term.add_fact("i work at NIGHT")
    before = {fact.id: fact.text for fact in empty.long_term.facts()}
    document = filled.long_term.export()
    added = load(empty, document)
    assert (added["facts"], added["known"]) == (3, 1)
    facts = {fact.id: fact for fact in empty.long_term.facts()}
    assert {number: facts[number].text for number in before} == before
    assert len(facts) == len(before) + 3
    assert next(fact for fact in facts.values() if fact.text == "i work at NIGHT").pinned
    homes = [fact.text for fact in facts.values() if "I live in" in fact.text and fact.until is None]
    assert homes == ["I live in Oslo."], "what was said last closes the imported ones"
    assert empty.message(asked.id).content == "I like tea. I live in Oslo."
    assert load(empty, document)["facts"] == 0
    assert len(empty.long_term.facts()) == len(facts)


def test_the_records_of_replies_name_facts_by_their_new_numbers(filled: Memory, empty: Memory) -> None:
    document = filled.long_term.export()
    empty.long_term.add_fact("Something else")
    load(empty, document)
    (reply,) = [item for item in document["messages"] if item["sources"]]
    name = {fact["id"]: fact["text"] for fact in document["facts"]}
    here = {fact.id: fact.text for fact in empty.long_term.facts()}
    sources = empty.message(reply["id"]).sources
    assert sources is not None
    assert [here[number] for number in sources.learned] == [name[n] for n in reply["sources"]["learned"]]
    assert len(sources.learned) == 2
    assert [here[number] for number in sources.facts] == [name[1]]


def test_a_record_from_before_there_was_a_flag_comes_back_as_it_is(filled: Memory, empty: Memory) -> None:
    document = filled.long_term.export()
    (reply,) = [item for item in document["messages"] if item["sources"]]
    del reply["sources"]["instructions"], reply["sources"]["documents"]
    load(empty, document)
    assert empty.long_term.export() == document
    sources = empty.message(reply["id"]).sources
    assert sources is not None
    assert sources.instructions == ()


def test_a_number_that_a_reply_names_is_never_given_to_something_new(filled: Memory, empty: Memory) -> None:
    document = filled.long_term.export()
    (reply,) = [item for item in document["messages"] if item["sources"]]
    reply["sources"]["facts"] = [900]  # forgotten since
    load(empty, document)
    assert empty.long_term.add_fact("Something new").id == 901


def test_what_the_person_changed_here_stays(filled: Memory) -> None:
    document = filled.long_term.export()
    (fact,) = [fact for fact in filled.long_term.facts() if fact.text == "I work at night."]
    filled.long_term.edit_fact(fact.id, "I work by day.")
    filled.rename_session(filled.session("Trip to Rome").id, "Rome")
    assert load(filled, document)["facts"] == 0
    assert filled.long_term.find(str(fact.id)).text == "I work by day."  # type: ignore[union-attr]
    assert filled.find_session("Trip to Rome") is None


def test_what_was_forgotten_or_is_off_the_record_here_stays_so(filled: Memory) -> None:
    document = filled.long_term.export()
    told = next(item for item in document["messages"] if item["text"].startswith("I live in Porto"))
    filled.long_term.forget([told["id"]])
    filled.set_session(document["messages"][-1]["session_id"], off_record=True)
    added = load(filled, document)
    assert (added["messages"], added["left_out"]) == (0, 7)
    assert "Porto. I prefer" not in json.dumps(filled.long_term.export())


def test_an_export_of_format_1_is_read(empty: Memory) -> None:
    told, reply = "a" * 32, "b" * 32
    document = {
        "format": 1,
        "facts": [
            {
                "id": 4, "text": "I live in Porto.", "kind": "fact", "sources": [told], "pinned": True,
                "edited": False, "created_at": "2026-03-02T10:15:00+00:00", "message_id": told,
                "stated_at": "2026-03-02T10:15:00+00:00", "until": None,
            },
            {
                "id": 2, "text": "Tea, not coffee", "kind": "preference", "sources": [], "pinned": False,
                "edited": True, "created_at": "2026-03-01T10:15:00+00:00", "message_id": None,
                "stated_at": "2026-03-01T10:15:00+00:00", "until": None,
            },
        ],
        "summaries": [
            {
                "id": 1, "session_id": "0123abcd", "level": 0, "text": "Porto.", "sources": [told, reply],
                "created_at": "2026-03-02T10:17:00+00:00",
            }
        ],
        "messages": [
            {
                "id": told, "session_id": "0123abcd", "session_title": "Trip", "role": "user",
                "text": "I live in Porto.", "at": "2026-03-02T10:15:00+00:00",
            },
            {
                "id": reply, "session_id": "0123abcd", "session_title": "Trip", "role": "assistant",
                "text": "Nice.", "at": "2026-03-02T10:16:00+00:00",
            },
        ],
    }  # fmt: skip
    load(empty, document)
    exported = empty.long_term.export()
    for name in ("facts", "summaries", "messages"):
        for old, new in zip(document[name], exported[name], strict=True):  # type: ignore[call-overload]
            assert old.items() <= new.items()
    assert [message.id for message in empty.messages("0123abcd")] == [told, reply]
    assert load(empty, document)["known"] == 5


def test_a_newer_statement_closes_an_imported_fact(filled: Memory, empty: Memory) -> None:
    load(empty, filled.long_term.export())
    session = empty.create_session()
    empty.add_message(session.id, "user", "I live in Oslo.")
    open_ones = [fact.text for fact in empty.long_term.facts() if "I live" in fact.text and not fact.until]
    assert open_ones == ["I live in Oslo."]


def test_an_import_wakes_the_indexing(filled: Memory, empty: Memory) -> None:
    woken: list[int] = []
    vectors = type(empty._components.vectors)
    with pytest.MonkeyPatch.context() as patch:  # closing wakes it, too
        patch.setattr(vectors, "wake", lambda self: woken.append(empty.long_term.stats().passages))
        load(empty, filled.long_term.export())
    assert woken == [filled.long_term.stats().passages], "once, when the passages are there"


# Bad files


def put(path: str, value: object) -> Change:
    """`put("facts.0.text", 5)`: replaces a value of the document."""

    def change(document: dict[str, Any]) -> None:
        *parts, last = (int(part) if part.isdigit() else part for part in path.split("."))
        place: Any = document
        for part in parts:
            place = place[part]
        place[last] = value

    return change


LONG = "f" * 32
WRONG: list[tuple[Change, str]] = [
    (put("format", 3), "Its format is 3; this version of stevemin reads 1 to 2."),
    (put("format", 0), "Its format is 0"),
    (put("format", "2"), '"format" must be a number'),
    (put("format", True), '"format" must be a number'),
    (put("facts", None), "facts must be a list."),
    (put("messages", {}), "messages must be a list."),
    (put("sessions", 1), "sessions must be a list."),
    (put("facts.3", 1), "facts[3] must be an object."),
    (put("facts.3.text", 5), "facts[3].text must be a string."),
    (put("facts.3.text", "a\nb"), "facts[3].text must be one line of text without control characters."),
    (put("facts.3.text", "a\x1b[0m"), "facts[3].text must be one line"),
    (put("facts.3.text", ""), "facts[3].text must be one line"),
    (put("facts.3.text", "\ud800"), "facts[3].text has half of a character."),
    (put("facts.0.kind", "rumour"), "facts[0].kind must be one of: fact, preference, tool,"),
    (put("facts.0.pinned", 1), "facts[0].pinned must be true or false."),
    (put("facts.0.id", 2**60), "facts[0].id must be a whole number"),
    (put("facts.0.id", 1.0), "facts[0].id must be a whole number"),
    (put("facts.0.id", True), "facts[0].id must be a whole number"),
    (put("facts.0.until", "soon"), "facts[0].until must be a time in ISO 8601."),
    (put("facts.0.created_at", None), "facts[0].created_at must be a string."),
    (put("facts.0.sources", "x"), "facts[0].sources must be a list."),
    (put("facts.0.sources", ["x"]), "facts[0].sources must be a list of ids."),
    (put("facts.1.sources", [LONG]), "facts[1].sources names a message that is not in the file."),
    (put("facts.1.sources", []), "facts[1].sources must name a message"),
    (lambda document: document["facts"][1].update(id=document["facts"][0]["id"]),
     "facts[1].id is in the file twice."),
    (put("messages.1.role", "tool"), "messages[1].role must be one of: system, user, assistant."),
    (put("messages.1.status", "streaming"), "messages[1].status must be one of"),
    (put("messages.1.id", "../x"), "messages[1].id is not an id."),
    (put("messages.1.parent_id", LONG), "messages[1].parent_id names no earlier message of its chat."),
    (put("messages.0.session_id", "ffffffff"), "messages[0].session_id names no chat of the file."),
    (put("messages.0.text", "\udfff"), "messages[0].text has half of a character."),
    (put("messages.0.at", "yesterday"), "messages[0].at must be a time in ISO 8601."),
    (put("messages.1.timings", []), "messages[1].timings must be an object."),
    (put("messages.1.sources", []), "messages[1].sources must be an object."),
    (put("messages.1.sources.learned", ["x"]), "messages[1].sources.learned must be a whole number"),
    (put("messages.1.quoted", None), "messages[1].quoted must be a list."),
    (put("messages.1.quoted", [[0, 99, "pasted"]]), "messages[1].quoted must be a list of [start,"),
    (put("messages.1.quoted", [[0, 1, "heard"]]), "messages[1].quoted must be a list of [start,"),
    (put("messages.1.quoted", [[0, 1.5, "pasted"]]), "messages[1].quoted must be a list of"),
    (put("messages.1.quoted", [[0, "1", "pasted"]]), "messages[1].quoted must be a list of"),
    (put("messages.1.quoted", [5]), "messages[1].quoted must be a list of"),
    (put("messages.1.quoted", [[0, 1, []]]), "messages[1].quoted must be a list of"),
    (put("messages.1.recorded", None), "messages[1].recorded must be true or false."),
    (put("sessions.0.scope", "moon"), "sessions[0].scope must be one of"),
    (put("sessions.0.title", ""), "sessions[0].title must be one line"),
    (put("sessions.0.head_id", LONG), "sessions[0].head_id names no message of this chat."),
    (put("summaries.0.level", -1), "summaries[0].level must be a whole number from 0."),
    (put("summaries.0.text", " "), "summaries[0].text must not be empty."),
    (put("summaries.0.sources", []), "summaries[0].sources must name a message."),
    (put("summaries.0.session_id", "ffffffff"), "summaries[0].sources names a message of another chat."),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_value_is_named_and_nothing_is_imported(
    filled: Memory, empty: Memory, change: Change, said: str
) -> None:
    document = filled.long_term.export()
    before = empty.long_term.export()
    change(document)
    with pytest.raises(InvalidImport) as caught:
        load(empty, document)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert empty.long_term.export() == before
    assert empty.sessions() == []


def test_every_way_to_cut_a_file_short_is_refused(filled: Memory, empty: Memory) -> None:
    data = as_bytes(filled.long_term.export())
    for end in range(0, len(data), 97):
        with pytest.raises(InvalidImport, match="It is not JSON: line 1, column "):
            empty.long_term.import_export(data[:end])
    assert empty.sessions() == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "It is not JSON"),
        (b"\xff\xfe{}", "It is not UTF-8 text."),
        (b"[]", "it must be a JSON object"),
        (b"{}", '"format" must be a number'),
        (b'{"format": NaN}', "It is not JSON"),
        (b'{"format": 2, "facts": [{"text": "a\x01"}]}', "It is not JSON: line 1, column"),
        (b"[" * 200_000, "It is not JSON"),
        (b'{"format": ' + b"9" * 5000 + b"}", "It is not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_export_is_refused(empty: Memory, data: bytes, said: str) -> None:
    with pytest.raises(InvalidImport) as caught:
        empty.long_term.import_export(data)
    assert said in str(caught.value)


def test_an_id_that_is_something_else_here_is_refused(filled: Memory, empty: Memory) -> None:
    document = filled.long_term.export()
    load(empty, document)
    for path, said in (
        ("messages.3.text", r"messages\[3\]\.id is the id of another message here\."),
        ("sessions.1.created_at", r"sessions\[1\]\.id is the id of another chat here\."),
    ):
        other = json.loads(as_bytes(document))
        put(path, "2020-01-01T00:00:00+00:00")(other)
        other["facts"].append(other["facts"][0] | {"id": 99, "text": "New", "written": True})
        with pytest.raises(InvalidImport, match=said):
            load(empty, other)
        assert empty.long_term.export() == document


def test_a_strategy_that_does_not_exist_is_refused(filled: Memory, empty: Memory) -> None:
    document = filled.long_term.export()
    put("sessions.0.strategy", "psychic")(document)
    with pytest.raises(UnknownStrategy):
        load(empty, document)
    assert empty.sessions() == []


def stop(*_: object) -> None:
    raise OSError("stop")


def test_a_failure_in_the_middle_leaves_nothing(filled: Memory, empty: Memory, tmp_path: Path) -> None:
    """Also in the file: what is not committed is not there for another reader."""
    document = filled.long_term.export()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Facts, "settle", stop)
        with pytest.raises(OSError, match="stop"):
            load(empty, document)
    with sqlite3.connect(tmp_path / "empty" / "stevemin.db") as reader:
        assert reader.execute(
            "SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM messages)"
        ).fetchone() == (0, 0)
    assert load(empty, document)["messages"] == 8


def test_messages_that_are_not_findable_yet_are_so_after_another_import(
    filled: Memory, empty: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ended when everything was stored, and some of it was in the search index."""
    document = filled.long_term.export()
    monkeypatch.setattr(long_term, "_STEP", 3)
    steps = Passages.add, iter(range(4))

    def add(self: Passages, message_id: str) -> None:
        if next(steps[1], None) is None:
            stop()
        steps[0](self, message_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Passages, "add", add)
        with pytest.raises(OSError, match="stop"):
            load(empty, document)
    assert len(empty.messages(document["sessions"][0]["id"])) > 0
    assert empty.long_term.stats().messages == 3, "one whole step"
    assert load(empty, document)["messages"] == 0
    assert empty.long_term.stats() == replace(filled.long_term.stats(), **what_only_the_first_has(empty))
    assert empty.long_term.export() == document


def what_only_the_first_has(empty: Memory) -> dict[str, Any]:
    stats = empty.long_term.stats()
    return {
        name: getattr(stats, name)
        for name in ("sessions", "off_record", "forgotten", "database_bytes", "index_bytes", "index")
    }


def test_others_write_while_messages_are_made_findable(
    filled: Memory, empty: Memory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = filled.long_term.export()
    monkeypatch.setattr(long_term, "_STEP", 3)
    shares: list[float] = []
    with Memory(tmp_path / "empty" / "stevemin.db") as other:
        chat = other.create_session("Meanwhile")

        def show(done: float) -> None:
            shares.append(done)
            other.add_message(chat.id, "user", "I was written during an import.")

        empty.long_term.import_export(as_bytes(document), show)
    assert shares == [0, 3 / 8, 6 / 8]
    assert [item.content for item in empty.messages(chat.id)] == ["I was written during an import."] * 3


def test_a_fact_is_known_by_its_time_whatever_its_number_and_words_are_now(
    filled: Memory, empty: Memory
) -> None:
    document = filled.long_term.export()
    for number in range(8):
        empty.long_term.add_fact(f"fact {number}")
    load(empty, document)
    (night,) = [fact for fact in empty.long_term.facts() if fact.text == "I work at night."]
    assert night.pinned
    assert night.id not in {fact["id"] for fact in document["facts"]}
    empty.long_term.edit_fact(night.id, "I work by day.")
    empty.long_term.pin_fact(night.id, False)
    before = empty.long_term.facts()
    assert load(empty, document)["facts"] == 0
    assert empty.long_term.facts() == before


def test_whatever_is_exported_is_read_before_it_is_stored(filled: Memory) -> None:
    document = import_file.read_document(as_bytes(filled.long_term.export()))
    assert [len(document.messages), len(document.facts), len(document.summaries)] == [8, 4, 2]


STRANGE: list[Any] = [
    None, True, -1, 2**70, 1.5, "", "x", "\ud800", "\x00", "a\nb", [], [[]], [None], {}, {"a": 1}, [["a"]],
    LONG, [LONG], "2026-01-01T00:00:00+00:00", ["0" * 32, "0" * 32], [[0, 1, "pasted"]],
    [[0, 1, "pasted"], [0, 1, "piped"]],
]  # fmt: skip


def places(value: Any, path: str = "") -> Iterator[str]:
    """Every place in a document, in the notation of `put`."""
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict | list):
        children = value.items() if isinstance(value, dict) else enumerate(value)
    for name, child in children:
        yield f"{path}{name}"
        yield from places(child, f"{path}{name}.")


def test_whatever_stands_anywhere_is_read_or_refused(filled: Memory, empty: Memory) -> None:
    """Never another error; and what was refused left nothing behind."""
    document = filled.long_term.export()
    before = empty.long_term.export()
    rng = random.Random(7)
    refused = 0
    for place in list(places(document)):
        for value in rng.sample(STRANGE, 3):
            changed = json.loads(as_bytes(document))
            put(place, value)(changed)
            try:
                load(empty, changed)
            except (InvalidImport, UnknownStrategy):
                refused += 1
                assert empty.long_term.export() == before
            before = empty.long_term.export()
    assert refused > 300
