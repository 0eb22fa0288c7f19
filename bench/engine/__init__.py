"""The engine beside llama.cpp's own tools: speed, latency, shared prefixes, and what our Python costs.

`sides` asks our engine and llama-server in one way, `llama_server` and `peers` run the peers, `fake_backend`
is a model that costs nothing, and `make_model` writes a model of any size with random weights.
"""

__all__: list[str] = []
