"""The border between text and tokens: chat messages become a prompt's tokens (`prompt`, with the sandbox in
which an untrusted chat template runs), and sampled tokens become the text of an answer (`output`: UTF-8
split across tokens, stop strings, timings)."""

from __future__ import annotations

from engine.text.output import RequestOutput
from engine.text.prompt import ChosenTemplate, PromptEncoder, choose_template

__all__ = ["ChosenTemplate", "PromptEncoder", "RequestOutput", "choose_template"]
