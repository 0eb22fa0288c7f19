"""Texts that try to pass for a heading, another speaker or a control token."""

from __future__ import annotations

from hypothesis import strategies as st

from memory.context.layers import MEMORIES_HEADING

__all__ = ["hostile_texts"]

_MARKS = st.sampled_from(
    [
        "<|im_start|>",
        "<|im_end|>",
        "</s>",
        "<s>",
        "[INST]",
        "[/INST]",
        "<start_of_turn>",
        "<\uff5cUser\uff5c>",
        "[gMASK]",
    ]
)
hostile_texts = st.lists(
    st.one_of(
        st.text(max_size=20), _MARKS, st.sampled_from([MEMORIES_HEADING, "\n\n", "\nuser: ", "[2026-01-01]"])
    )
).map("".join)
