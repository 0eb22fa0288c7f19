"""Constrained output: a JSON schema or a GBNF grammar becomes a `Constraint` on the next token (`compiler`,
on llguidance; `gbnf` translates llama.cpp's grammars). Grammars are untrusted: a child process tries each one
first."""

from __future__ import annotations

from engine.grammar.compiler import GrammarCompiler

__all__ = ["GrammarCompiler"]
