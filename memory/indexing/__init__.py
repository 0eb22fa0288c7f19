"""The parts of the vector index: its process, its folder, its shards, Chroma."""
