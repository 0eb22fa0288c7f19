"""The memory: what recall finds, what a long chat costs with each context strategy, and how both scale.

`locomo` reads the evaluation data, `synthetic` invents chats of any length, `store` fills a memory.
"""

__all__: list[str] = []
