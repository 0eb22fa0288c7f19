"""The memory: what recall finds, what a long chat costs with each context strategy, and how both scale.

`locomo` reads the evaluation data, `synthetic` makes chats of any length up, `store` fills a memory.
"""

__all__: list[str] = []
