"""Keeps the books of the KV cache: which tokens each llama.cpp sequence holds and what prompts may share
(`prefix`, over the tree in `radix`; `whole` for models whose memory cannot be cut), and the states of
sequences that had to leave it, in RAM (`parking`) or on disk (`spill`). It decides on moves and returns them;
`engine.llama` makes them."""

from __future__ import annotations

from engine.kv.parking import Parked, Parking
from engine.kv.prefix import PrefixCache, session_key
from engine.kv.radix import common_prefix
from engine.kv.whole import WholePrefixCache

__all__ = ["Parked", "Parking", "PrefixCache", "WholePrefixCache", "common_prefix", "session_key"]
