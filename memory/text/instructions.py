"""Finds instructions to a model in text that somebody else wrote: a pasted page, a piped file.

Precise rather than broad: ordinary text about models, rules and users must pass. It is a warning sign for
the person and the model, never the only protection: such text is quoted as a source whatever it says.
"""

# ruff: noqa: RUF001
from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterator

__all__ = ["has_instructions"]

# Variation selectors, joiners inside emoji and the marks of right-to-left scripts are ordinary.
_HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\u3164\ufeff"
)
_UNSEEN = re.compile(f"[{_HIDDEN}\U000e0000-\U000e007f]")
_TAGS = re.compile("(\U0001f3f4)?[\U000e0020-\U000e007f]+")  # a black flag and tags: the flag of a region
_REVERSED = re.compile("[\u202e\u2067]([^\u202c\u2069\n]*)")
_NOISE = re.compile(r"[*_`~\"'\u201c\u201d\u2018\u2019\u00ab\u00bb]+")


_BLOB = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{24,}={0,2}(?![\w+/=-])")
_LONGEST_BLOB = 4096  # characters of it that are decoded


def has_instructions(text: str) -> bool:
    """Whether a text tells a model what to do, openly, encoded, or in characters that nobody sees."""
    return any(map(_commands, _versions(text)))


def _commands(text: str) -> bool:
    if _MARKS.search(text) or (_REPLY.search(text) and not _ASKED.search(text)):
        return True
    plain = _plain(text)
    return bool(_COMMANDS.search(plain) or (_DECODE.search(plain) and any(_blobs(text))))


def _versions(text: str) -> Iterator[str]:
    """The text as a model reads it, and what only a model reads in it."""
    yield _UNSEEN.sub("", text)
    for found in _TAGS.finditer(text):
        if found[1] is None:
            yield "".join(chr(ord(tag) - 0xE0000) for tag in found[0])
    for found in _REVERSED.finditer(text):
        yield _UNSEEN.sub("", found[1])[::-1]
    yield from map(_decoded, _blobs(text))


def _blobs(text: str) -> Iterator[str]:
    """Runs of characters that look like base64: no word, number, name or path."""
    for found in _BLOB.finditer(text):
        blob = found[0]
        if re.search("[a-z]", blob) and re.search("[A-Z]", blob) and re.search("[0-9+=]", blob):
            yield blob


def _decoded(blob: str) -> str:
    """The text that base64 stands for; nothing if it stands for none."""
    letters = blob.rstrip("=").replace("-", "+").replace("_", "/")[:_LONGEST_BLOB]
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4)).decode("utf-8", "ignore")
    except ValueError:
        return ""


def _plain(text: str) -> str:
    """Lower case, without emphasis and quotes, each run of blanks as one."""
    return " ".join(_NOISE.sub("", unicodedata.normalize("NFKC", text).casefold()).split())


# Marks that only a chat template, or an attack, writes.
_MARKS = re.compile(
    r"<\|(?:im_start|im_end|system|user|assistant|start_header_id|end_header_id|eot_id|endoftext|channel)\|>"
    r"|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>"
    r"|(?im:^[\W_]*(?:begin |new |updated? )?(?:system|developer|admin(?:istrator)?)"
    r"[ _-](?:prompt|message|override|instructions?|notice)[\W_]*[:\]>])"
    r"|(?m:^### (?:Instructions?|System|Assistant):\s*$)"
    r"|\[(?:system|assistant|user)\]\(#"
    r"|(?i:</(?:system|assistant|user|human)>\s*<(?:system|assistant|user|human)>)"
    r"|(?im:(?:^[^\w\n]*system[^\w\n]*:|<(?:system|instructions?|important)>)[^\w\n]*(?:you (?:are|must"
    r"|should|will|shall)\b"
    r"|ignore\b|disregard\b|from now on\b))"
)

# A reply that somebody made up for the model, where no conversation is quoted.
_REPLY = re.compile(
    r"(?im)^[ \t>#*_-]*(?:assistant|ai|model|chatgpt)[*_ ]*:[*_]*\s+"
    r"(?:sure|certainly|understood|of course|okay|ok|yes|as instructed|i will|i'll|i have|i am now|i'm now)\b"
)
_ASKED = re.compile(r"(?im)^[ \t>#*_-]*(?:user|human|you|me|question|q)[*_ ]*:")

_GAP = r"(?:\S+ ){0,%d}?"
_FEW, _SOME = _GAP % 3, _GAP % 5

_PATTERNS = (
    # Ignore what you were told.
    r"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget|overrid(?:e|es|ing)|overrule|bypass|stop following"
    r"|do not (?:follow|obey)"
    rf"|dont (?:follow|obey)) {_FEW}(?:previous|prior|earlier|above|preceding|foregoing|existing|original"
    rf"|initial|former|past|system|other|safety|your) {_FEW}(?:instructions?|prompts?|rules|directions"
    r"|guidelines|commands|directives|constraints|guardrails|programming|protocols?)\b",
    rf"\b(?:ignore|disregard|forget|override) {_FEW}(?:instructions?|prompts?|rules|directions|guidelines"
    r"|commands|directives)(?: that)?(?: you)? (?:above|before|given|so far|(?:were|have been"
    r"|had been) given)\b",
    r"\b(?:ignore|disregard|forget) (?:everything|all|anything)(?: that)?(?: you| youve)? (?:above"
    r"|before this|(?:were |have )?(?:been )?(?:told|given|instructed)|said (?:above|before|so far)"
    r"|written above)\b",
    r"\b(?:new|updated|additional|real|actual|hidden|secret) (?:system )?(?:instructions?|directives?"
    r"|system prompt)(?: for (?:you|the (?:ai|assistant|model|llm|agent)))? ?(?:: |are (?:as follows|to )"
    r"|follow)",
    r"\byour (?:new|real|actual|only|true) (?:task|instructions?|objective|directive|orders?) (?:is|are)\b",
    r"\b(?:ignore|disregard|forget) (?:everything |all )?(?:of )?(?:the )?above(?: and\b|[,;.!:]"
    r"| instead\b|$)",
    r"\b(?:ignore|disregard) (?:what the user (?:said|says|asked|asks|wants|wrote)|the users? (?:request"
    r"|question"
    r"|instructions?|wishes))\b",
    r"\b(?:previous|prior|earlier|above|your|existing) (?:instructions?|prompts?|guidelines"
    r"|directives) (?:are|is|were"
    r"|have been) (?:now |hereby )?(?:void|obsolete|cancel(?:l)?ed|invalid|superseded|revoked"
    r"|no longer valid)\b",
    r"\bfrom now on,? (?:you (?:will|must|shall|should) |always |only )?(?:respond|answer|reply|behave"
    r"|obey)\b",
    r"\bwhen summari[sz]ing this (?:page|document|text|article|e-?mail|file|content|website"
    r"|message),? (?:always|never"
    r"|you (?:must|should)|do not|mention|include|say|add|recommend|state)\b",
    # A new role.
    rf"\byou are now (?:(?:in|entering) {_FEW}mode\b|dan\b|free (?:from|of) {_FEW}(?:rules|restrictions"
    rf"|limits)"
    rf"|un(?:restricted|filtered|censored)|jailbroken|no longer (?:bound|restricted|an? (?:ai|assistant))"
    rf"|an? {_FEW}(?:ai|a\.i\.|assistant|chat ?bot|bot|language model|llm|agent|terminal|hacker)\b)",
    r"\b(?:enable|enter|activate|switch to) (?:developer|debug|god|dan|jailbreak|admin|unrestricted) mode\b"
    r"|\bdo anything now\b",
    r"\b(?:act|behave|respond) as (?:if you (?:are|were) )?(?:an? )?(?:unrestricted|unfiltered|uncensored"
    r"|jailbroken) ",
    r"\bif you are (?:an? )?(?:ai|llm|large language model|language model|ai (?:assistant|model|agent))\b"
    r"|\b(?:attention|note|message|instructions?|important)(?: to| for)? (?:all |any |the "
    r"|every )?(?:ais?|llms?"
    r"|language models?|ai (?:assistants?|models?|agents?)|chat ?bots?) ?(?::|,|reading|processing"
    r"|summari[sz]ing)",
    # Secrets.
    rf"\b(?:reveal|print|output|repeat|leak|disclose|show me|tell me|write out) {_FEW}(?:your"
    rf"|the) (?:entire |full "
    r"|complete |exact |whole )?(?:system|initial|hidden|secret|original|developer) (?:prompt"
    r"|instructions?|message)\b",
    r"\b(?:send|post|upload|forward|e-?mail|exfiltrate|transmit)\b[^.!?]{0,60}\b(?:conversation"
    r"|chat (?:history"
    r"|log)|passwords?|api keys?|credentials|secrets|private keys?|system prompt|memories)\b[^.!?]{0,40}"
    r"\bto\b[^!?]{0,30}(?:https?://|[\w.]+@[\w.]+)",
    # Behind the person's back.
    rf"\b(?:do not|dont|never|must not|should not) (?:tell|inform|mention|reveal|alert|warn|notify"
    rf"|disclose|ask|let|show)"
    rf" {_SOME}(?:the|your) user\b|\bwithout (?:telling|informing|asking|notifying|alerting) (?:the"
    rf"|your) user\b"
    r"|\bthe user (?:must|should) (?:not|never) (?:know|see|notice|be (?:told|informed|asked))\b",
    # Memories that the person did not state.
    r"\b(?:remember|memori[sz]e|save|store)(?: (?:it|permanently|forever|for later|always|in (?:your |the )?"
    r"(?:long-term )?memory))?,? that (?:the|this|your) user\b(?! (?:can|cannot|may|might|must|should"
    r"|will|needs to"
    r"|interface|experience|guide|manual|name|id|input|data|account|agent|base|stor(?:y|ies)|group)\b)",
    r"\b(?:save|store|add|write|record|put|commit) (?:this|the following|these|it)\b[^.!?]{0,30}\b(?:to"
    r"|in|into) "
    r"(?:your |the )(?:long-term |permanent )?memory\b|\bupdate your (?:long-term )?memory\b",
    # The same in other words.
    rf"\b(?:ignore|disregard|forget) {_FEW}(?:you|youve) (?:were|are|have been|had been|been) (?:asked|told"
    r"|instructed|given|ordered)\b(?! (?:about|regarding|as|at|by|in|on|when)\b)",
    r"\b(?:forget|abandon|drop) (?:about )?your (?:current |original |previous |old )?(?:task|role"
    r"|persona|training"
    r"|purpose|programming|identity)\b",
    r"\byour (?:new |only )?(?:job|task|goal|role|purpose|mission|objective) (?:now is|is now) to\b",
    rf"\byou (?:must|should|will|need to|may|can) (?:no longer|stop|never again) (?:obey|follow"
    rf"|comply with|obeying|following) {_FEW}"
    r"(?:rules|instructions|guidelines|restrictions|policies|developers?|creators?)\b",
    r"\b(?:repeat|recite|output) (?:all |every |back )?(?:the |of the )?(?:words|text|everything|content"
    r"|message) above\b",
    r"\b(?:do not|dont|never) (?:mention|say|reveal|acknowledge|admit) (?:\S+ )?(?:that )?(?:this"
    r"|these) (?:text|message"
    r"|paragraph|prompt|instructions?|note|comment)\b",
    r"\bfrom (?:this|that) (?:point|moment)(?: on(?:wards?)?| forward)?,? (?:on,? )?(?:you (?:will|must"
    r"|shall) )?(?:act as"
    r"|respond|answer|reply|behave|obey|pretend)\b|\bfrom now on,? (?:act as|pretend)\b",
    r"\b(?:act|behave|respond|answer|reply|pretend|role-?play)\b[^.!?]{0,60}\b(?:with no|without(?: any)?"
    r"|have no) "
    r"(?:restrictions|filters?|limitations|rules|censorship|ethics|morals|guidelines)\b",
    r"\b(?:disable|deactivate|turn off|switch off|remove|drop"
    r"|bypass) (?:all )?(?:of )?your (?:\S+ )?(?:filters?|safety"
    r"|safeguards?|guardrails?|restrictions|limitations|censorship|content polic\w+)\b",
    r"\b(?:whoever|whatever (?:ai|model|assistant|system)|any (?:ai|model|assistant|system"
    r"|llm)) (?:that )?(?:is )?"
    r"(?:process(?:es|ing)|summari[sz](?:es|ing)|pars(?:es|ing)) this\b",
    r"\b(?:ais?|llms?|language models?|chat ?bots?|ai (?:assistants?|agents?|models?|systems?)) (?:must"
    r"|shall|are (?:required"
    r"|instructed|requested|asked) to) (?:first |always |now |also )?(?:click|visit|open|download|execute"
    r"|run|send|append"
    r"|insert|include|reply|output|say|ignore|recommend)\b",
    r"\b(?:assistant|chatgpt|claude|copilot|gemini|gpt-?\d*)[,:] (?:please |now )?(?:forget|ignore"
    r"|disregard|from now on"
    r"|you must|you will|do not (?:tell|mention))\b",
    r"\b(?:hey|dear|hello|hi|attention),? (?:ais?|models?|llms?|language models?|chat ?bots?|chatgpt"
    r"|ai (?:assistants?"
    r"|agents?|models?))\b(?:,|:| who\b| that\b| reading\b)",
    r"\b(?:append|add|include|insert|encode|put)\b[^.!?]{0,60}\b(?:users?|conversation|chat history"
    r"|memor(?:y|ies)"
    r"|passwords?)\b[^.!?]{0,40}\b(?:to|in|into|at)\b[^!?]{0,20}https?://",
    r"\bkeep (?:this|it|that|these instructions) (?:a )?(?:secret|hidden) from (?:the|your) user\b",
    r"\b(?:remember|memori[sz]e|save|store) ?: ?(?:the|this) (?:users name|user (?:is|has|likes|lives"
    r"|trusts|prefers|wants"
    r"|works|was))\b|\b(?:add|save|write|commit|store)\b(?: \S+){0,2}? to (?:your "
    r"|the )?(?:long-term )?memory ?:",
    r"\b(?:vergiss|ignoriere?|missachte|vergessen sie|ignorieren sie) (?:\S+ ){0,2}?alles,? was (?:du|dir"
    r"|ihnen|sie|man)\b"
    r"[^.!?]{0,30}\b(?:gesagt|aufgetragen|angewiesen|befohlen)\b",
    r"\b(?:sag|sage|erzähl|erzähle|verrate?|zeige?|verraten sie|sagen sie) (?:es |das )?(?:dem"
    r"|der) (?:nutzer|benutzer|anwender"
    r"|user)(?:in)? (?:\S+ ){0,3}?(?:auf keinen fall|keinesfalls|nie|unter keinen umständen)\b",
    r"\b(?:antworte|antworten sie|sprich|schreibe?) (?:\S+ ){0,2}?(?:ab jetzt|ab sofort|von nun an)\b"
    r"|\b(?:ab jetzt|ab sofort|von nun an) (?:antwortest|sprichst|gehorchst|befolgst) du\b",
    r"\bn ?obéi(?:s|ssez) (?:plus|pas)\b|\bne (?:suis|suivez|respecte[rz]?) (?:plus"
    r"|pas) (?:\S+ ){0,3}?(?:instructions?"
    r"|règles|consignes)\b|\boublie[rz]? tout ce (?:qui|que|qu|quon) (?:\S+ ){0,3}?(?:dit|demandé|ordonné)\b",
    r"\b(?:olvida|olvide|ignora|ignore) todo (?:lo anterior|lo que (?:te|le|se te|se le) (?:han?|hayan?"
    r"|dij)\w*)",
    r"\b(?:dimentica|ignora) tutto (?:quello|ciò) che (?:ti|vi) (?:è|hanno|ha)\b"
    r"|\b(?:esqueça|ignore) tudo (?:o )?que (?:lhe|te|você|foi) \S+ ?(?:dito|disseram|instruíd\w+)",
    r"\b(?:vergeet|negeer) alles wat (?:je|jou|u) (?:\S+ ){0,3}?(?:verteld|gezegd|opgedragen)\b",
    r"\b(?:ignore|disregard|forget)(?: about)? (?:\S+ ){0,3}?(?:previous|prior|earlier|above"
    r"|preceding) (?:conversation|context|chat)\b",
    r"\bif the (?:reader|recipient|reviewer|one reading this) is (?:an? )?(?:ai|llm|language model|bot)\b",
    r"\b(?:note|message|instructions?|attention|memo)(?: to| for)? (?:chatgpt|claude|gemini|copilot"
    r"|gpt-?\d*)\b"
    r"|\b(?:llm|chatgpt|claude|copilot|gemini)[,:] (?:please|you|stop|write|say|answer|reply|output)\b",
    r"\byou (?:are no longer|no longer need to|do not have to|need not) (?:\S+ ){0,3}?(?:bound|restricted"
    r"|limited|respect|obey|follow)"
    r" (?:\S+ ){0,3}?(?:rules|policies|polic(?:y|ies)|guidelines|instructions)\b",
    r"\b(?:regardless of|despite|against|contrary to) your (?:guidelines|instructions|polic(?:y|ies)"
    r"|programming|system prompt)\b",
    r"\b(?:treat|consider|interpret|regard) (?:\S+ ){0,5}?as (?:\S+ ){0,2}?(?:instructions|commands"
    r"|orders) from (?:the|your)"
    r" (?:\S+ )?(?:system|user|administrator|admin|developer|operator)\b",
    r"\b(?:vergiss|vergessen sie|ignoriere?|ignorieren sie) (?:\S+ ){0,4}?(?:anweisungen|instruktionen"
    r"|regeln|vorgaben|befehle),? die (?:du|sie|dir|ihnen)\b"
    r"|\b(?:vergiss|vergessen sie|ignoriere?|ignorieren sie) (?:\S+ ){0,2}?(?:vorherig|bisherig|obig"
    r"|früher)\w* (?:kontext|konversation|gespräch|inhalt)\w*"
    r"|\binformier\w* (?:sie )?(?:den|die) (?:nutzer|benutzer|anwender"
    r"|user)(?:in)? (?:\S+ ){0,2}?(?:nicht|niemals|nie)\b",
    r"\b(?:ignora|ignore|olvida) (?:todo )?lo anterior y\b|\bdesde ahora eres (?:un|una)\b",
    r"\b(?:проигнорируй|игнорируй|забудь)(?:те)? (?:\S+ ){0,3}?(?:инструкц|указан|команд"
    r"|правил)\S* (?:выше|ранее|до этого)",
    # German
    rf"\b(?:ignorier\w*|vergiss|vergesst|vergessen sie|missacht\w*|überschreib\w*|übergeh\w*"
    rf"|umgeh\w*) {_SOME}"
    rf"(?:vorherig|vorig|früher|bisherig|obig|vorangegangen|vorangehend|vorausgehend|ursprünglich|oben"
    rf"|deine|ihre)\w* "
    rf"{_FEW}(?:anweisung|instruktion|vorgabe|regel|befehl|prompt|richtlinie|anordnung|systemprompt)\w*",
    r"\b(?:ignorier\w*|vergiss|missachte) (?:alles|die (?:anweisungen|regeln)) (?:obige|oben|vorherige"
    r"|davor|bisherige"
    r"|bisher|zuvor|vorher|was (?:dir|ihnen) (?:bisher|zuvor))",
    rf"\b(?:du bist|sie sind) (?:jetzt|nun|ab sofort|ab jetzt|von nun an) (?:im \S*modus|kein|nicht mehr"
    rf"|ein(?:e|en)? "
    rf"{_FEW}(?:ki|assistent|assistentin|bot|chatbot|modell|agent|hacker)\b)",
    rf"\b(?:sag|sage|sagt|sagen sie|erzähl|erzähle|erzählen sie|verrate?|verraten sie|erwähne?|zeige?"
    rf"|teile?) {_SOME}"
    r"(?:dem|der) (?:nutzer|benutzer|anwender|user)(?:in)? (?:\S+ ){0,3}?(?:nicht|nichts|niemals)\b"
    r"|\bohne (?:es )?(?:dem|den|der) (?:nutzer|benutzer|anwender"
    r"|user)(?:in)? (?:\S+ ){0,2}?(?:zu (?:sagen|fragen"
    r"|informieren|benachrichtigen)|mitzuteilen)",
    r"\b(?:merke? dir|behalte?|speicher\w*|notier\w*|erinnere? dich(?: daran)?"
    r"|denk daran)(?: \S+){0,3}?,? dass "
    r"(?:der|die) (?:nutzer|benutzer|anwender|user)(?:in)?\b",
    # French
    rf"\b(?:ignore[rz]?|oublie[rz]?|ne tiens pas compte de|ne tenez pas compte de"
    rf"|fais abstraction de) {_SOME}"
    rf"(?:instructions?|consignes?|directives?|règles?|ordres?) {_FEW}(?:précédent|antérieur|ci-dessus"
    rf"|initial|système"
    r"|plus haut)\w*",
    rf"\b(?:tu es|vous êtes) (?:maintenant|désormais) (?:en mode|une? {_FEW}(?:ia|assistant|assistante"
    rf"|bot|chatbot"
    r"|modèle|pirate)\b)",
    rf"\bne (?:le |lui )?(?:dis|dites|révèle|révélez|mentionne|mentionnez|parle|parlez|montre"
    rf"|montrez) (?:pas|rien|jamais)"
    rf" {_SOME}(?:à l.?|aux? )utilisat(?:eur|rice)s?|\bsans (?:en informer|le dire à|prévenir"
    rf"|avertir) l.?utilisat",
    r"\b(?:souviens-toi|souvenez-vous|rappelle-toi|retiens|retenez|mémorise[rz]?|note[rz]?"
    r"|enregistre[rz]?) que "
    r"l.?utilisat(?:eur|rice)\b",
    # Spanish
    rf"\b(?:ignora|ignore|ignorad|olvida|olvide|descarta|descarte|omite) {_SOME}(?:instrucciones|órdenes"
    rf"|indicaciones"
    rf"|reglas|directrices) {_FEW}(?:anteriores|previas|previos|de arriba|del sistema|originales)\b",
    rf"\b(?:ahora eres|eres ahora|a partir de ahora eres) (?:un|una) {_FEW}(?:ia|asistente|bot|chatbot"
    rf"|modelo|hacker)\b",
    rf"\bno (?:le |se lo )?(?:digas|diga|cuentes|cuente|menciones|mencione|reveles|revele|informes"
    rf"|informe|muestres) "
    rf"{_SOME}(?:al|a la) usuari[oa]\b|\bsin (?:informar|avisar|decírselo|preguntar) (?:al"
    rf"|a la) usuari[oa]\b",
    r"\b(?:recuerda|recuerde|memoriza|memorice|guarda|guarde|anota|anote) que (?:el|la) usuari[oa]\b",
    # Italian
    rf"\b(?:ignora|ignorate|ignori|dimentica|dimenticate|trascura) {_SOME}(?:istruzioni|regole"
    rf"|indicazioni|ordini"
    rf"|direttive) {_FEW}(?:precedenti|sopra|di sistema|originali|iniziali)\b",
    rf"\bnon (?:dire|dirlo|rivelare|menzionare|mostrare|comunicare) {_SOME}all.?utente\b"
    r"|\bsenza (?:dirlo|chiedere|informare) (?:al|l|all).?utente\b",
    r"\b(?:ricorda|ricordati|memorizza|annota|salva) che l.?utente\b",
    # Portuguese
    rf"\b(?:ignore|ignora|esqueça|esquece|desconsidere|desconsidera) {_SOME}(?:instruções|regras|ordens"
    rf"|diretrizes"
    rf"|orientações) {_FEW}(?:anteriores|prévias|acima|do sistema|originais)\b",
    rf"\bnão (?:diga|conte|revele|mencione|informe|mostre) {_SOME}(?:ao|à|o|a) (?:usuári[oa]|utilizador)\b",
    r"\b(?:lembre-se de|lembre-se|lembra-te|memorize|guarde|anote) que (?:o|a) (?:usuári[oa]|utilizador)\b",
    # Dutch
    rf"\b(?:negeer|vergeet) {_SOME}(?:vorige|eerdere|voorgaande|bovenstaande"
    rf"|oorspronkelijke) {_FEW}(?:instructies"
    r"|opdrachten|regels|aanwijzingen|prompts?)\b",
    r"\bvertel (?:\S+ ){0,3}?de gebruiker (?:\S+ ){0,2}?(?:niet|niets|nooit)\b|\bonthoud dat de gebruiker\b",
    # Russian
    r"\b(?:проигнорируй|игнорируй|забудь|отбрось)(?:те)? (?:\S+ ){0,4}?(?:предыдущ|прежн|вышеуказанн"
    r"|предшествующ|выше)\S* "
    r"(?:\S+ ){0,2}?(?:инструкц|указан|команд|правил)\S*",
    r"\bне (?:говори|сообщай|рассказывай|раскрывай|показывай)(?:те)? (?:\S+ ){0,4}?пользовател\S*"
    r"|\bзапомни(?:те)?,? что пользовател\S*",
    # Turkish, Arabic
    r"\b(?:önceki|yukarıdaki) (?:\S+ ){0,2}?(?:talimat|komut|yönerge)\S* (?:\S+ ){0,2}?(?:yok say"
    r"|görmezden gel|unut"
    r"|dikkate alma)",
    r"(?:تجاهل|انس)[^.؟!]{0,20}(?:التعليمات|الأوامر|التوجيهات)[^.؟!]{0,15}(?:السابقة|أعلاه)",
    # Chinese, Japanese, Korean
    r"(?:忽略|无视|忘记|忽視|無視|忘記)[^。!?]{0,10}(?:之前|以前|以上|上述|上面|先前|前面"
    r"|此前)[^。!?]{0,8}(?:指令|指示|命令|提示|规则|規則|内容|內容)"
    r"|(?:不要|切勿|别)(?:告诉|告訴|告知)[^。!?]{0,4}(?:用户|用戶|使用者)|(?:记住|記住)[,:]?(?:这个|該"
    r"|该)?(?:用户|用戶)"
    r"|你现在是[^。!?]{0,10}(?:ai|助手|模型|机器人|模式)",
    r"(?:以前|これまで|上記|前|先|今まで)の?[^。!?]{0,8}(?:指示|命令|プロンプト|ルール"
    r"|指令)[^。!?]{0,8}(?:無視|忘れ)"
    r"|ユーザーには?[^。!?]{0,10}(?:言わない|伝えない|知らせない|教えない|言うな|伝えるな)",
    r"(?:이전|위의|앞의|지금까지의)[^.!?]{0,8}(?:지시|명령|지침|프롬프트|규칙)[^.!?]{0,8}(?:무시|잊)",
)
# To look for those only where a word begins takes a third of the time.
_AT_WORDS = "|".join(f"(?:{pattern})" for pattern in _PATTERNS if pattern.startswith(r"\b"))
_ANYWHERE = "|".join(f"(?:{pattern})" for pattern in _PATTERNS if not pattern.startswith(r"\b"))
_COMMANDS = re.compile(rf"(?<!\w)(?=\w)(?:{_AT_WORDS})|{_ANYWHERE}")
_DECODE = re.compile(
    r"\b(?:decod(?:e|ing)|base64|dekodier\w*|entschlüssel\w*|décode[rz]?|decodifica\w*)\b[^.!?]{0,80}"
    r"\b(?:follow|execute|obey|carry out|do what|act on|comply|befolg\w*|führ\w*|tue?|exécute[rz]?|suis"
    r"|suivez|sigue|siga|ejecuta|segui|esegui)\b"
)
