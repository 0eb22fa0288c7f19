"""Whom and what a statement names: relatives and pets, tools, machines, projects, and other proper names.

It goes by capitals, which German gives to all nouns: there, a name is what follows "in" or "heißt", or what
no word looks like (RTX, PostgreSQL). It prefers missing a name to taking a word for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from memory.text.languages import language_in
from memory.types import Entity, EntityKind, FactKind

__all__ = ["HARDWARE", "TOOL_NAMES", "entities_in", "entity_key"]

_MOST = 8  # of one statement
TOOL_NAMES = (
    r"postgres(?:ql)?|mysql|sqlite|mongodb|redis|docker|kubernetes|podman|git|github|gitlab|neovim|vim|emacs|"
    r"vs ?code|typescript|javascript|python|django|flask|fastapi|numpy|pandas|pytorch|react|angular|svelte|"
    r"vue|linux|ubuntu|debian|fedora|nixos|macos|terraform|ansible|jenkins|jira|notion|obsidian|slack|figma|"
    r"photoshop|blender|excel|latex|kotlin|golang|bash|zsh|nginx|webpack|vite|pytest|ollama|llama\.cpp"
)
HARDWARE = (
    r"(?:rtx|gtx|rx)\s?\d{3,4}(?:\s?(?:ti|super|xtx?))?|geforce|radeon(?:\s\w*\d\w*)?|thinkpad(?:\s\w+)?|"
    r"macbook(?:\s(?:air|pro))?(?:\sm\d)?|imac|mac\s(?:mini|studio|pro)|raspberry\spi(?:\s\d)?|"
    r"iphone(?:\s\d+)?|ipad(?:\s(?:air|pro|mini))?|pixel\s\d\w?|chromebook|steam\sdeck|synology|ryzen(?:\s\d)?|"
    r"threadripper|xeon|core\si\d|[ahlv]100|h200|esp32|arduino|kindle"
)
_HARDWARE = re.compile(rf"\b(?:{HARDWARE})\b", re.IGNORECASE)
_TOOL = re.compile(rf"\b(?:{TOOL_NAMES})\b", re.IGNORECASE)
_KIN = re.compile(
    r"\b(?:my|our|an?|two|three|four|\d|meine?[nrm]?|eine?[nrm]?|unsere?[nrm]?|mon|ma|mes|mis?|nuestr[ao]s?|мо[йяие]|моя)\s+"
    r"(?:(?!is\b|name\b)[\w-]+\s+)?"
    r"(?P<kin>wife|husband|partner|fianc[eé]e?|girlfriend|boyfriend|mother|mum|mom|father|dad|parents?|sisters?|"
    r"brothers?|twins?|sons?|daughters?|kids?|child(?:ren)?|baby|grand(?:mother|father|ma|pa|parents|son|"
    r"daughter|kids|children)|aunt|uncle|cousins?|niece|nephew|dogs?|cats?|puppy|kitten|horses?|rabbits?|"
    r"hamsters?|parrots?|flatmate|roommate|"
    r"frau|mann|mutter|vater|eltern|schwester|bruder|tochter|sohn|kind(?:er)?|hund|katze|"
    r"femme|mari|mère|père|sœur|soeur|frère|fille|fils|chien|chatte?|"
    r"mujer|esposa|marido|madre|padre|hermana|hermano|hij[oa]s?|perr[oa]|gat[oa]|"
    r"жена|муж|мама|папа|сестра|брат|сын|дочь|собака|кошка)\b",
    re.IGNORECASE,
)
_PLURALS = {"children": "child", "grandchildren": "grandchild", "puppies": "puppy", "kinder": "Kind"}
_CAPITAL = "[A-ZÀ-ÖØ-ÞŁŚŠŽĐΑ-ΩА-ЯЁ]"
_NAME = re.compile(rf"\b{_CAPITAL}[\w+#'&.-]*(?:\s+(?:{_CAPITAL}[\w+#'&.-]*|\d[\w.]*))*")
_VERSION = re.compile(r"\s+v?\d+(?:\.\w+)*$")
_DOTTED = re.compile(r"\s+v?\d+\.\w+(?:\.\w+)*$")
_UNLIKE_A_WORD = re.compile(rf"{_CAPITAL}{{2}}|\w{_CAPITAL}|\d")
_AFTER = re.compile(r"(?:\b(?:in|aus|bei|nach|heißt|heisst|heiße|heisse|namens|bin|mit)\s+)$")
_NOT_NAMES = (
    "i i'm im i've i'd i'll my we we're we've our ours the a an it it's this that these those and but or "
    "so if please always never remember keep bear don't do call from going in on at by for to with of as "
    "is are was he she they you your his her their what when where who why how not no yes ok okay hi "
    "hello hey thanks everyone people everybody friends note fyi btw ps just also now currently dr mr mrs "
    "ms monday tuesday wednesday thursday friday saturday sunday january february march april may june "
    "july august september october november december monday's ram cpu gpu gb tb mb ghz montag dienstag "
    "mittwoch donnerstag freitag samstag sonntag januar februar märz mai juni juli oktober dezember je "
    "j'ai j'habite nous mon ma mes il elle le la les un une yo mi mis nuestro nuestra el los una hemos "
    "tengo vivo me trabajo uso ich wir mein meine unser unsere er sie es der die das ein eine merk dir я "
    "мы мой моя мои наш наша у он она это remind merke bitte retiens souviens-toi recuerda ricorda "
    "запомни "
)
_NO_NAMES = frozenset(_NOT_NAMES.split())


def entity_key(name: str) -> str:
    """Equal for spellings of one name."""
    return " ".join(name.casefold().split())


def entities_in(text: str, kind: FactKind) -> tuple[Entity, ...]:
    """Whom and what a statement of this kind names, each once."""
    text = text.replace("\u2019", "'")
    found: dict[str, Entity] = {}
    for entity in _all(text, kind):
        found.setdefault(entity_key(entity.name), entity)
    return tuple(found.values())[:_MOST]


def _all(text: str, kind: FactKind) -> Iterator[Entity]:
    for match in _KIN.finditer(text):
        yield Entity(_one(match["kin"]), "kin")
    rest, german = text, language_in(text) == "german"
    for match in _NAME.finditer(text):
        name = _trimmed(match.group(), kind)
        if not name or (match.start() == 0 and not _starts_with_name(text, match)):
            continue
        known = _HARDWARE.search(name) or _TOOL.search(name) or _UNLIKE_A_WORD.search(name)
        if german and not (known or _AFTER.search(text[: match.start()].lower())):
            continue
        rest = f"{rest[: match.start()]}{' ' * len(match.group())}{rest[match.end() :]}"
        yield Entity(name, _kind_of(name, kind))
    for pattern in (_HARDWARE, _TOOL):  # without capitals
        for match in pattern.finditer(rest):
            yield Entity(match.group(), _kind_of(match.group(), kind))


def _kind_of(name: str, kind: FactKind) -> EntityKind:
    if _HARDWARE.search(name):
        return "machine"
    if kind in ("tool", "version") or _TOOL.search(name):
        return "tool"
    return "machine" if kind == "machine" else "project" if kind == "project" else "name"


def _one(word: str) -> str:
    """What one of them is called: the sister of "two sisters"."""
    plural = word.endswith("s") and word.lower() != "fils"
    return _PLURALS.get(word.lower(), word[:-1] if plural else word)


def _trimmed(name: str, kind: FactKind) -> str:
    """Without words that only start a sentence, and without a version."""
    words = name.replace("'s ", " ").removesuffix("'s").rstrip(".,-&'").split()
    while words and _is_no_name(words[0]):
        words = words[1:]
    while words and _is_no_name(words[-1]):
        words = words[:-1]
    line = (_VERSION if kind == "version" else _DOTTED).sub("", " ".join(words))
    return line if len(line) > 1 else ""


def _is_no_name(word: str) -> bool:
    return not _NO_NAMES.isdisjoint((word.lower().rstrip("."), word.lower().removesuffix("s")))


def _starts_with_name(text: str, match: re.Match[str]) -> bool:
    """Whether a statement begins with a name and not with a word that has its capital from there."""
    first = match.group().split()[0]
    if _is_no_name(first) or _UNLIKE_A_WORD.search(first) or len(match.group().split()) > 1:
        return True
    return (
        re.match(r"\s+(?:is|was|has|lives|works|likes|ist|hat|wohnt|est|es|vive)\b", text[match.end() :])
        is not None
    )
