"""Benchmarks by subject: `engine`, `memory` and `chat`, each script runnable by itself.

`cli`, `rounds`, `machine` and `report` are what they share; `run` is `make bench`. Peers run in a clean
environment and in turns with us, so that load on the machine affects both equally.
"""

__all__: list[str] = []
