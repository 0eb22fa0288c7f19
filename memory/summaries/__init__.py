"""Summaries of what has left the prompt: what to summarise next, by whom, and which answers to believe.

Owns the plan, the background work and the check of a small model's answer. Where they are kept, and which
of them hold for a branch, is the storage's business.
"""

from memory.summaries.check import prompt_for_summary
from memory.summaries.make import Consolidator

__all__ = ["Consolidator", "prompt_for_summary"]
