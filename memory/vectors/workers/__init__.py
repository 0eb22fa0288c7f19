"""The programs of the two worker processes: one embeds texts, one holds the vector index.

Each runs as a script, so it imports nothing of ours, and ends when the chat that started it is gone. They
keep PyTorch and Chroma, which stall or crash, out of the process that draws the screen.
"""
