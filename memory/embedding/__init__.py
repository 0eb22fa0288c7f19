"""What `memory.embedder` is made of: a worker process, and the thread that feeds it."""
