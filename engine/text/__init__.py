"""The border between text and tokens: chat messages become a prompt's tokens (`prompt`; `template` renders
them in a process of its own, `template_worker`, since a chat template is untrusted code; `marks` keeps
control tokens out of what messages say), texts become the input of an embedding model (`inputs`), and
sampled tokens become the text of an answer (`output`: UTF-8 split across tokens, stop strings, timings), of
which `reply` tells thinking and tool calls apart, in the formats that `calls` knows."""

from __future__ import annotations

from engine.text.inputs import InputEncoder, InputFormat
from engine.text.marks import SpecialMarks, literals_of
from engine.text.output import RequestOutput, percentiles
from engine.text.prompt import EncodedPrompt, PromptEncoder
from engine.text.reply import ReplyParser, reply_format
from engine.text.template import ChosenTemplate, TemplateProcess, choose_template

__all__ = [
    "ChosenTemplate",
    "EncodedPrompt",
    "InputEncoder",
    "InputFormat",
    "PromptEncoder",
    "ReplyParser",
    "RequestOutput",
    "SpecialMarks",
    "TemplateProcess",
    "choose_template",
    "literals_of",
    "percentiles",
    "reply_format",
]
