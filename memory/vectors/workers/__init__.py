"""The programs of the two worker processes: one embeds texts, one owns the vector index.

Each ends when the chat that started it is gone. They keep PyTorch and Chroma, which stall or crash, out of
the process that draws the screen.
"""
