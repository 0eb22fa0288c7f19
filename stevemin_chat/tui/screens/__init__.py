"""The screens above the chat: dialogs, help, the report of a prompt, memory, and the origin of a memory.

A folder inside `tui`, not a room: it has no door. The handlers in `actions`, the chat screen and the actions
on models and memory open them; most close with a result.
"""
