"""The phrasings in which people tell what they work with and on, in English: tools and their versions,
machines, projects, decisions, deadlines."""

from __future__ import annotations

from memory.ingest.phrasing import ADVERB, CODE, I_AM, I_DO, MONTH, one_of, rule
from memory.text import HARDWARE, TOOL_NAMES

__all__ = ["RULES"]

_WE = rf"(?:we|(?:our|my)\s+(?:whole\s+|entire\s+)?(?:team|company|lab|department|group))\s+(?:{ADVERB}\s+)*?"
_I_OR_WE = rf"(?:{I_DO}|{_WE})"
_HAVE = rf"(?:(?:i|we)(?:'ve|\s+have)?\s+(?:(?:finally|already|{ADVERB})\s+)*?)"
_ARE = rf"(?:{I_AM}|(?:we're|we\s+are)\s+(?:{ADVERB}\s+)*?)"
_TOOL = rf"(?:{TOOL_NAMES})\b"
_NAMED = r"(?-i:[A-Z])[\w.+#-]*(?:\s+(?:(?-i:[A-Z])[\w.+#-]*|\d[\w.]*))*"
# What may follow a name: after another word, the name only begins something ("Roman numerals").
_ENDS = (
    r"(?=\s*(?:[,.;:!)]|$)|\s+"
    + one_of(
        "for at in on with and as to because since everywhere now here instead but from via or last this by "
        "which so over every all when throughout"
    )
    + ")"
)
_USED = rf"(?:(?:an?|the|my|our)\s+)?(?:{_NAMED}{_ENDS}|{_TOOL})"
_VERSION = r"v?\d+(?:\.\w+)*(?![\w%/:])"
_COUNTED = one_of(  # "on Page 12", "using Method 3"
    "chapter page level step part section question day week line platform floor room flight exercise lesson "
    "episode season task problem figure table method formula option approach theorem equation case form "
    "unit module volume gate seat lane round phase stage number grade year highway route bus"
)
_SIZE = r"\d+(?:\.\d+)?\s*(?:gb|tb|gib|mb|ghz|cores?|cpus?|gpus?|threads?|inch(?:es)?|monitors?|screens?)\b"
_MACHINE = one_of(
    "laptop desktop pc computer machine server workstation phone nas gpu graphics_card cpu router tablet "
    "homelab gaming_rig rig notebook"
)
_THING = one_of(
    "projects? app application product startup library package game company website site tool service band "
    "podcast channel newsletter blog framework plugin extension bot side_project open-source_project"
)
_NO_PROJECT = one_of(
    "an?_(?:\\w+_)?(?:e?mail letter message text reply response function query script test class method "
    "report list problem bug question exercise ticket issue homework assignment response sentence regex "
    "formula table function loop diet joke case bit few lot new_one)".replace(" ", "|")
)
_TIME = (
    rf"(?:(?:on\s+|by\s+|in\s+|at\s+|before\s+)?(?:the\s+)?(?:\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{MONTH}\w*"
    rf"|{MONTH}\w*\s+\d{{1,2}}|\d{{4}}-\d\d-\d\d|\d{{1,2}}(?:st|nd|rd|th)\b"
    r"|end\s+of\s+(?:the\s+|this\s+|next\s+)?(?:day|week|month|quarter|year|term|january|february|march|april"
    r"|may|june|july|august|september|october|november|december)"
    r"|(?:(?:next|this|coming)\s+)?(?:mon|tues|wednes|thurs|fri|satur|sun)day\b"
    r"|tomorrow\b|tonight\b|next\s+(?:week|month|year)\b"
    r"|(?:\d+|an?|two|three|four|five|six|seven|eight|nine|ten)\s+(?:days?|weeks?|months?)\b(?!\s+ago)))"
)
_DUE = one_of(
    "thesis dissertation paper essay report assignment homework project application proposal manuscript "
    "article submission exam final midterm test presentation talk rent invoice tax_return taxes deadline "
    "due_date interview flight appointment defen[cs]e viva launch release move wedding surgery "
    "coursework portfolio grant_application pull_request demo review contract lease"
)

RULES = (
    # Deadlines
    rule(
        "deadline",
        rf"(?:my|our|the)\s+(?:[\w'-]+\s+){{0,2}}?{_DUE}(?:\s+for\s+[\w' -]{{1,40}}?)?\s+(?:is|are)\s+"
        rf"(?:{ADVERB}\s+)*(?:due\s+|scheduled\s+(?:for\s+)?)?(?={_TIME})",
    ),
    rule(
        "deadline",
        rf"(?:(?:i|we)\s+(?:still\s+)?(?:have|need)\s+to|(?:i|we)\s+must|i've\s+got\s+to|we've\s+got\s+to)\s+"
        rf"(?:submit|hand\s+in|turn\s+in|deliver|finish|send|pay|renew|ship|file|present)\s+(?=\S.{{0,60}}?\b"
        rf"(?:by|before|until|on|no\s+later\s+than)\s+{_TIME})",
    ),
    # Decisions
    rule(
        "decision",
        rf"{_HAVE}(?:decided|agreed|chosen|opted)\s+(?=(?:to|on|against|not|for|that)\s+\w)",
        one_of("to_(?:ask|give|come|contact|let|see|look|share|post|tell|write_to|reach|turn)"),
    ),
    rule(
        "decision",
        rf"{_HAVE}(?:settled\s+on|went\s+with|chose|picked)\s+(?=\w)",
        one_of("the_wrong to up out off on"),
    ),
    rule("decision", rf"{_ARE}going\s+with\s+(?=\w)", one_of("the_flow my")),
    rule(
        "decision",
        r"(?:i'm|i\s+am|we're|we\s+are)\s+going\s+to\s+(?="
        + one_of("drop use switch migrate move_to adopt replace rewrite deprecate launch release ship quit")
        + ")",
    ),
    # Projects
    rule(
        "project",
        rf"(?:my|our|the)\s+(?:(?!{CODE})[\w-]+\s+){{0,2}}?{_THING}(?:'s\s+name\s+is|\s+name\s+is"
        r"|\s+is\s+(?:called|named))\s+",
        named=True,
    ),
    rule(
        "project",
        rf"{_ARE}(?:working\s+on|building|developing|writing|creating|designing|maintaining|making)\s+"
        rf"(?=(?:an?|my|our)\s+(?!(?:[\w-]+\s+)?{CODE})(?:[\w'-]+\s*){{2}})",
        _NO_PROJECT,
    ),
    rule(
        "project",
        rf"{_I_OR_WE}(?:maintain|run|host|publish|own|founded|started)\s+(?=(?:an?|the)\s+(?:[\w'-]+\s+){{0,3}}?{_THING})",
    ),
    # Machines
    rule(
        "machine",
        rf"my\s+(?:[\w'-]+\s+){{0,2}}?{_MACHINE}\s+(?:is|has)\s+(?=(?:(?:an?|only|about|the)\s+)*"
        rf"(?:(?:new|old|used|refurbished|\d+\s+year\s+old)\s+)?(?:{_SIZE}|(?:{HARDWARE})\b|(?-i:[A-Z]\w+\s+\w*\d)))",
    ),
    rule(
        "machine",
        rf"(?:{_I_OR_WE}(?:have|own|bought|got|use|run)|(?:i|we)'ve\s+got|{_ARE}(?:on|using))\s+(?=(?:an?|the|my|two|three|\d+)\s+"
        rf"(?:[\w'-]+\s+){{0,3}}?(?:{HARDWARE})\b(?!\s+(?:question|problem|issue|error|app|review)))",
    ),
    # Versions
    rule(
        "version",
        rf"(?:{_ARE}(?:on|using|running|stuck\s+on)|{_I_OR_WE}(?:use|run|have)|(?:my|our)\s+(?:[\w-]+\s+){{1,2}}?(?:runs?\s+on|uses?|is\s+on))"
        rf"\s+(?=(?!{_COUNTED})(?:{_NAMED}|{_TOOL}(?:\s+{_VERSION})?)(?<=[\d])(?:{_ENDS}|\s+installed))",
    ),
    rule(
        "version",
        rf"(?:my|our|the)\s+(?:installed\s+)?(?:{_NAMED}|{_TOOL})\s+version\s+is\s+(?={_VERSION})",
    ),
    # Tools
    rule("tool", rf"{I_DO}(?:use|run)\s+(?=(?:(?:an?|the|my)\s+)?(?-i:[A-Z])\w)(?!{_COUNTED})"),
    rule("tool", rf"{_I_OR_WE}(?:use|run)\s+(?={_USED})(?!{_COUNTED})"),
    rule(
        "tool",
        rf"(?:{_I_OR_WE}|(?:i|we)'ve\s+(?:{ADVERB}\s+)*)(?:switched|migrated|moved\s+everything)\s+to\s+(?={_USED})",
    ),
    rule(
        "tool",
        rf"{_I_OR_WE}(?:code|program|develop|write|build|do|keep|manage|track|edit|draw|host|deploy)\s+"
        rf"(?:(?:everything|all\s+(?:of\s+)?(?:my|our|the)\s+\w+|(?:most\s+of\s+)?(?:my|our)\s+\w+|mostly|mainly)\s+)?"
        rf"(?:in|with|on)\s+(?={_USED})",
        one_of("english german french spanish italian dutch portuguese russian chinese japanese " + MONTH),
    ),
    rule("tool", rf"{_ARE}using\s+(?={_USED})(?!{_COUNTED})"),
    rule(
        "tool",
        r"my\s+(?:main\s+|usual\s+|daily\s+)?"
        + one_of("editor ide shell distro operating_system browser language note-taking_app terminal stack")
        + rf"\s+(?:of\s+choice\s+)?is\s+(?={_USED})",
    ),
)
