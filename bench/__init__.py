"""Benchmarks by subject: `engine`, `memory` and `chat`, each script runnable by itself.

`cli`, `rounds`, `ratios`, `machine` and `report` are what they share; `run` is `make bench`. Peers run in a
clean environment and in turns with us, so that load on the machine affects all equally. `ratios` has the one
way to report a comparison, and says how many rounds it takes.
"""

__all__: list[str] = []
