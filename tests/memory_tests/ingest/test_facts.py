"""What is learned about users from what they write, and above all what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.ingest.facts import STATEMENT_CHARACTERS, extract_statements, statements_in
from memory.types import FactKind, Message, Role

F: FactKind = "fact"
P: FactKind = "preference"

# Each with the fact to extract; None: the whole text.
TOLD: list[tuple[str, FactKind, str | None]] = [
    ("My name is Ana Lopes.", F, None),
    ("hi, my name's bob", F, "my name's bob"),
    ("Call me Al.", F, None),
    ("You can call me Maggie, what can I do here?", F, "You can call me Maggie"),
    ("I'm a nurse.", F, None),
    ("I am an electrical engineer at a small firm in Graz.", F, None),
    ("im a student from leeds", F, None),
    ("I\u2019m a bus driver.", F, None),
    ("I'm still a complete beginner in Python.", F, None),
    ("I'm German.", F, None),
    ("I'm 34 years old.", F, None),
    ("I live in Porto with my two cats.", F, None),
    ("i live in a small village near ghent", F, None),
    ("I live with my parents.", F, None),
    ("I'm originally from Naples.", F, None),
    ("I was born in 1985 in Oslo.", F, None),
    ("I recently moved to Lisbon.", F, None),
    ("I work at a bakery.", F, None),
    ("I currently work as a freelance translator.", F, None),
    ("I teach chemistry at a secondary school.", F, None),
    ("I speak Dutch and some French.", F, None),
    ("My sister is called Ines.", F, None),
    ("My dog's name is Rex.", F, None),
    ('My cat is named "Tofu".', F, None),
    ("My wife is a surgeon.", F, None),
    ("My daughter is allergic to eggs.", F, None),
    ("I have two kids and a dog.", F, None),
    ("I have a nut allergy.", F, None),
    ("Remember this: my locker code is 4711.", F, None),
    ("please remember that the spare key is under the pot", F, None),
    ("Merk dir, dass mein Code 4711 ist.", F, None),
    ("merk dir bitte: der Schlüssel liegt unter dem Topf", F, None),
    ("Merk dir bitte: der Code meines Schliessfachs ist 4711", F, None),
    ("Please remember this: the code is 4711", F, None),
    ("Retiens que mon code est 4711.", F, None),
    ("Recuerda que mi código es 4711.", F, None),
    ("запомни, что мой код 4711", F, None),
    ("记住：我的密码是4711", F, None),
    ("I use Arch Linux with an RTX 3060.", "tool", None),
    ("I run Debian on my server", "tool", None),
    ("I'm allergic to peanuts, what can I cook tonight?", F, "I'm allergic to peanuts"),
    ("Suggest a dinner for two, because I'm allergic to shellfish.", F, "I'm allergic to shellfish."),
    ("I'm vegetarian so what should I order?", F, "I'm vegetarian"),
    ("I'm left-handed.", F, None),
    ("My birthday is on 3 March.", F, None),
    ("I love hiking in the Alps.", P, None),
    ("I really like Italian food.", P, None),
    ("I hate mushrooms!", P, None),
    ("I prefer short answers.", P, None),
    ("In Python, I prefer tabs over spaces", P, "I prefer tabs over spaces"),
    ("I don't like spicy food.", P, None),
    ("I can't stand loud music.", P, None),
    ("I never eat meat.", P, None),
    ("My favourite colour is green.", P, None),
    ("My all-time favorite band is the Beatles.", P, None),
    ("Please always answer in French.", P, None),
    ("Never use emojis.", P, None),
    ("Please don't call me buddy.", P, None),
    ("From now on, give me metric units.", P, None),
    ("Remember that the rent is due on the 5th.", F, None),
    ("Please remember that I prefer trains to planes.", P, None),
    ("remember: my locker code is 4471", F, None),
    ("Keep in mind that my knee is injured.", F, None),
    ("My uncle Otto is diabetic.", F, None),
    ("We use Terraform and Ansible at work.", "tool", None),
    ("i use postgres for that", "tool", None),
    ("I do most of my notes in Obsidian, how do I link them?", "tool", "I do most of my notes in Obsidian"),
    ("Our team switched to Zulip last week.", "tool", None),
    ("My shell is Fish.", "tool", None),
    ("We're still on Java 17.", "version", None),
    ("I'm running Fedora 41 and the sound is gone", "version", None),
    ("My desktop has 64 GB of RAM.", "machine", None),
    ("I have a Raspberry Pi in the attic.", "machine", None),
    ("I'm building a boat-sharing service.", "project", None),
    ("Our app is called Heron.", "project", None),
    ("We decided to rewrite it in Rust.", "decision", None),
    ("I've decided against the surgery.", "decision", None),
    ("We went with the blue one in the end.", "decision", None),
    ("The deadline for the poster is next Tuesday.", "deadline", None),
    ("My dissertation is due on 12 June.", "deadline", None),
    ("I have to submit the form by Friday.", "deadline", None),
    ("By the way, I'm a vegan.", F, "I'm a vegan."),
    ("Note: I work at a hotel at weekends.", F, "I work at a hotel at weekends."),
]

NOT_TOLD = [
    # questions, requests
    "Do I live in Paris?",
    "What is my name?",
    "Is my sister called Ines?",
    "Am I a nurse?",
    "I live in Paris, right?",
    "Do you remember that I'm a nurse?",
    "Did you know my dog's name is Rex?",
    "How do you say I live in Berlin in German?",
    # hypotheses, wishes, role play
    "If I were a bird I would fly.",
    "If I live in Spain, do I pay tax there?",
    "Suppose I work at a bank.",
    "Imagine I'm a pirate. I live in a cave.",
    "Pretend you know me. My name is Jack.",
    "You are a detective. I'm a suspect.",
    "Let's say I'm allergic to nuts.",
    "In this story, I live in a castle.",
    "I live in a castle in this game.",
    "Act as a doctor. I have two kids.",
    "I wish I was a doctor.",
    "I would love a recipe for soup.",
    "I'd like a summary, please.",
    # somebody else's words
    'Translate "I live in Paris" into Dutch.',
    "She said I'm a genius.",
    'He wrote: "My name is Tom and I hate cats."',
    'The letter began "Hello. I live in Madrid. Bye." and no more.',
    "> I live in Madrid",
    "Translate this to German: I love my cat.",
    "Fix the grammar: my name are John and I works in bank",
    "Rewrite this.\nI'm a nurse with ten years of experience.",
    "Write a poem about a girl. My name is Lily and I live in a castle.",
    "Give me an example sentence, such as: I like apples.",
    "Ana: I live in Porto.\nTom: I work at a bank.",
    "[2024-05-01] user: I live in Bergen",
    "User: I'm a nurse.",
    "The lyrics go like, I love rock and roll.",
    "My friend thinks I'm a bad driver.",
    "Dear Ms Smith, I am a teacher at Hill School. I live in York.",
    "I have two cats and three dogs. How many legs do they have?",
    # code
    "```\nI live in code\nmy name is x\n```",
    "    I like indented code",
    "My function is called twice, is that right?",
    "My variable is called Foo.",
    "I have a parent component and two child nodes.",
    "`I'm a comment`",
    "I am a string.",
    # no tools, versions, machines, projects, decisions, deadlines
    "We use Roman numerals for that.",
    "Do we use Terraform?",
    "I'm on Chapter 3 now.",
    "I'm using Method 2.",
    "My laptop is a mess.",
    "My phone has 3% left.",
    "I have an iPhone question.",
    "I'm building a list of numbers.",
    "I'm writing an email to my boss.",
    "I'm working on it.",
    "I decided to ask you.",
    "I picked up a book.",
    "If we decided to use Rust, what would change?",
    "They decided to sell.",
    "When is the deadline?",
    "The deadline is too tight.",
    "Is my essay due on Friday?",
    # passing states, idioms, remarks on an answer
    "I'm a bit tired.",
    "I'm a little confused by step three.",
    "I am a mess today.",
    "I'm a few minutes late.",
    "I'm sorry, I made a mistake.",
    "I'm Sorry.",
    "I'm happy with it.",
    "I like it.",
    "I love you.",
    "I like the second option.",
    "I like your answer.",
    "I love how you explained that.",
    "I hate to ask, but can you help?",
    "I like to think so.",
    "I prefer not to say.",
    "I prefer option B.",
    "I live in constant fear of bugs.",
    "I work as hard as I can.",
    "I work in general on weekdays.",
    "Call me crazy, but that looks wrong.",
    "Call me when you are done.",
    "My name is not important.",
    "My name is shown in the corner.",
    "My project is called daily by a timer.",
    "Never mind.",
    "Never give up!",
    "Remember that time we broke the build?",
    "Remember to add tests.",
    "I remember that day.",
    "Remember, I'm always here for you.",
    "Remember that resting is important.",
    "I love to.",
    "I'm a mix of excited and scared.",
    "I'm an expert at breaking things, lol.",
    "I'm from the support team and need access.",
    "My favourite part is the ending.",
    "My birthday is tomorrow.",
    # negations, what was
    "I'm not a doctor.",
    "I don't live in Paris.",
    "I am no longer a student.",
    "I used to live in Rome.",
    "I wasn't born in Spain.",
    "My name isn't Bob.",
    # nothing about the user at all
    "Write a function that sorts a list.",
    "The weather is nice today.",
    "Thanks, that works!",
    "You live in the cloud.",
    "He works at a bakery.",
    "",
    "👍",
]


@pytest.mark.parametrize(("text", "kind", "kept"), TOLD, ids=[text for text, _, _ in TOLD])
def test_plain_statements_are_kept_in_the_same_words(text: str, kind: FactKind, kept: str | None) -> None:
    assert [(item.text, item.kind) for item in statements_in(text)] == [(kept or text, kind)]


@pytest.mark.parametrize("text", NOT_TOLD)
def test_anything_else_yields_no_fact(text: str) -> None:
    assert statements_in(text) == ()


def test_the_lists_are_long_and_balanced() -> None:
    assert len(TOLD) >= 40
    assert len(NOT_TOLD) >= len(TOLD)
    assert len({text for text, _, _ in TOLD} | set(NOT_TOLD)) == len(TOLD) + len(NOT_TOLD)


def message(role: Role, content: str) -> Message:
    return Message(
        id="m", session_id="s", parent_id=None, role=role, content=content, status="complete", created_at=""
    )


def test_only_user_messages_yield_facts() -> None:
    assert len(extract_statements(message("user", "I'm a nurse."))) == 1
    assert extract_statements(message("assistant", "I'm a nurse.")) == ()
    assert extract_statements(message("system", "My name is Helper.")) == ()


def test_sentence_by_sentence() -> None:
    text = "Hello! I'm a nurse and I live in Leeds. What is 2+2? My dog is called Rex.\n- I love tea\nThanks."
    assert [(item.text, item.kind) for item in statements_in(text)] == [
        ("I'm a nurse and I live in Leeds.", "fact"),
        ("My dog is called Rex.", "fact"),
        ("I love tea", "preference"),
    ]


def test_a_statement_is_kept_once() -> None:
    assert len(statements_in("I love tea. i love TEA.")) == 1


def test_an_abbreviation_ends_no_sentence() -> None:
    assert [item.text for item in statements_in("I work for Dr. Silva in St. Ives. Bye.")] == [
        "I work for Dr. Silva in St. Ives."
    ]


def test_long_statements_are_clipped_and_long_messages_count_as_pasted() -> None:
    long = "I love " + "mountains and lakes and " * 20 + "the sea."
    (found,) = statements_in(long)
    assert len(found.text) <= STATEMENT_CHARACTERS
    assert found.text.endswith("…")
    assert long.startswith(found.text[:-1])
    assert statements_in("I love tea. " + "Once upon a time there was a king. " * 100) == ()


@given(st.text(max_size=400))
def test_any_text_can_be_read(text: str) -> None:
    for item in statements_in(text):
        assert item.text.strip()
        assert len(item.text) <= STATEMENT_CHARACTERS
        assert "\n" not in item.text


@given(st.lists(st.sampled_from([*[told[0] for told in TOLD], *NOT_TOLD]), max_size=6))
def test_facts_are_the_users_own_words(parts: list[str]) -> None:
    text = " ".join(parts)
    flat = " ".join(text.split())
    for item in statements_in(text):
        assert item.text.rstrip("…") in flat
