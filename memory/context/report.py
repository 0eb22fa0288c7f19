"""The report on a prompt: its layers, what was dropped and why, and a notice for the user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memory.context.base import ContextInput
from memory.context.render import Branch, Draft, flatten, render
from memory.reports import AssembledContext, ContextReport, Dropped, LayerReport
from memory.types import Message

__all__ = ["DOES_NOT_FIT", "report_context"]

DOES_NOT_FIT = "does not fit"


def report_context(
    strategy: str,
    given: ContextInput,
    branch: Branch,
    draft: Draft,
    tokens: int,
    *,
    target: int | None = None,
    focus: str | None = None,
) -> AssembledContext:
    """Render a draft that was measured as `tokens`, and report on it.

    Args:
        target: how many tokens the prompt was to take, if less than the budget.
        focus: see `ContextReport`.
    """
    sent = branch.sent(draft.first)
    dropped = _dropped(given, branch, draft)
    report = ContextReport(
        strategy=strategy,
        budget_tokens=given.budget.tokens,
        reply_tokens=given.budget.reply_tokens,
        tokens=tokens,
        layers=_layers(given, branch, draft, tokens),
        sent=tuple(message.id for message in given.messages if message.id in sent),
        dropped=dropped,
        recalls=draft.memories.used,
        notice=_notice(dropped, draft, given.budget.tokens if target is None else target),
        dropped_recalls=draft.memories.dropped,
        facts=draft.profile.shown,
        dropped_facts=draft.profile.dropped,
        summaries=draft.summary.shown,
        dropped_summaries=draft.summary.dropped,
        focus=focus,
        reordered=given.reordered,
    )
    return AssembledContext(render(branch, draft), report)


def _layers(given: ContextInput, branch: Branch, draft: Draft, tokens: int) -> tuple[LayerReport, ...]:
    """The layers in the order of the prompt; the remaining tokens come from the template."""
    count = given.counter.count_text

    def messages(name: str, items: Sequence[Message]) -> LayerReport:
        return LayerReport(name, sum(count(item.content) for item in items), len(items))

    layers = (
        LayerReport("system", sum(map(count, branch.system_texts)), len(branch.system_texts)),
        LayerReport("profile", draft.profile.tokens, len(draft.profile.shown)),
        LayerReport("summary", draft.summary.tokens, len(draft.summary.messages)),
        messages("history", flatten(branch.exchanges[draft.first : -1])),
        LayerReport("memories", draft.memories.tokens, len(draft.memories.used)),
        messages("question", flatten(branch.exchanges[-1:])),
    )
    return (*layers, LayerReport("template", tokens - sum(layer.tokens for layer in layers), 0))


def _dropped(given: ContextInput, branch: Branch, draft: Draft) -> tuple[Dropped, ...]:
    reasons = {message.id: DOES_NOT_FIT for message in branch.evicted(draft.first)}
    reasons |= dict.fromkeys(draft.summary.messages & reasons.keys(), "summarised")
    reasons |= {item.message_id: "recalled" for item in draft.memories.used if item.message_id in reasons}
    reasons |= {item.id: "forgotten" if item.forgotten else "empty reply" for item in branch.empty}
    return tuple(
        Dropped(message.id, message.role, given.counter.count_text(message.content), reasons[message.id])
        for message in given.messages
        if message.id in reasons
    )


def _notice(dropped: Iterable[Dropped], draft: Draft, budget_tokens: int) -> str | None:
    """Tells the user what the model does not see."""
    sentences = []
    evicted = [item for item in dropped if item.reason == DOES_NOT_FIT]
    if evicted:
        tokens = sum(item.tokens for item in evicted)
        noun = "message" if len(evicted) == 1 else "messages"
        sentences.append(
            f"{len(evicted):,} older {noun} left out, {tokens:,} tokens "
            f"(prompt limit {budget_tokens:,} tokens)."
        )
    facts = len(draft.profile.dropped)
    if facts:
        noun = "fact" if facts == 1 else "facts"
        sentences.append(f"{facts:,} profile {noun} did not fit.")
    return " ".join(sentences) or None
