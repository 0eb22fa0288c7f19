"""The screens above the chat: dialogs, help, the account of a prompt, memory, and the origin of a memory.

Each is imported when it is first opened, and closes with a result. Other rooms open them through actions.
"""

__all__: list[str] = []
