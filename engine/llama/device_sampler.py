"""Sampler chains that llama.cpp runs as part of the forward pass.

There the device returns a token for a row instead of its logits: a row of 128,256 is half a megabyte, which
has to cross the bus and be searched on the CPU. llama.cpp calls this backend sampling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from engine.llama.chains import SamplerStage, build_chain, chain_stages
from engine.llama.lib import lib
from engine.types import SamplingParams

__all__ = ["DeviceSampler"]

_STAGES = {"top_k", "top_p", "min_p", "temp", "dist", "greedy"}  # what llama.cpp can compute on a device

_Kind: TypeAlias = tuple[SamplerStage, ...]


@dataclass(slots=True)
class _Attached:
    """A chain that is part of the graph.

    Attributes:
        owner: the request it samples for, and that request's own chain; None when nobody uses it.
    """

    kind: _Kind
    chain: Any
    owner: tuple[int, Any] | None = None


class DeviceSampler:
    """A chain for each slot; the engine thread only.

    Attaching a chain makes llama.cpp plan its graph again, so a chain stays with its slot, and the next
    request that samples in the same way takes it over: only the state of its random numbers is copied. A
    request that leaves its slot takes that state back, and so draws the same numbers wherever it is sampled.
    It chooses the same tokens, too, where the chain has a top-p stage, which sorts; else a device may go
    through the candidates in another order.

    Args:
        context: a llama_context, made with `n_outputs_max_per_seq` rows for each sequence.
        vocab_size: logits in a row.
    """

    def __init__(self, context: Any, *, vocab_size: int) -> None:
        self._context = context
        self._vocab_size = vocab_size
        self._attached: dict[int, _Attached] = {}
        self._slots: dict[int, int] = {}  # of the requests that own a chain
        self._refused: set[_Kind] = set()

    def place(self, slot: int, request_id: int, params: SamplingParams, chain: Any) -> None:
        """Let the next forward passes sample a request in this slot, if a device can.

        Args:
            chain: the request's own; None where an argmax does.
        """
        if self._slots.get(request_id) == slot:
            return
        self.leave(request_id)
        kind = self._kind(params)
        if kind is None or kind in self._refused or not self._attach(slot, kind):
            self.clear(slot)
            return
        attached = self._attached[slot]
        self._take_back(attached)
        if chain is not None:
            lib.llama_sampler_copy(chain, attached.chain)
        attached.owner = request_id, chain
        self._slots[request_id] = slot

    def clear(self, slot: int) -> None:
        """Sample what comes in this slot on the CPU."""
        attached = self._attached.pop(slot, None)
        if attached is not None:
            self._take_back(attached)
            lib.llama_set_sampler(self._context, slot, None)
            lib.llama_sampler_free(attached.chain)

    def leave(self, request_id: int) -> None:
        """Before a request's own chain is used again, or freed."""
        slot = self._slots.get(request_id)
        if slot is not None:
            self._take_back(self._attached[slot])

    def samples(self, request_id: int) -> bool:
        """Whether a forward pass samples this request."""
        return request_id in self._slots

    def token(self, request_id: int, row: int) -> int:
        """The token for a row of the last forward pass; further rows only while each token is accepted.

        Args:
            row: counted from the end: -1 is the last.
        """
        chain = self._attached[self._slots[request_id]].chain
        return int(lib.llama_sampler_sample(chain, self._context, row))

    def close(self) -> None:
        """Free the chains, before the context."""
        for slot in [*self._attached]:
            self.clear(slot)

    def _kind(self, params: SamplingParams) -> _Kind | None:
        """The stages of a chain but for its seed; None if a device cannot compute them."""
        stages = chain_stages(params, seed=0, vocab_size=self._vocab_size)
        if any(stage.name not in _STAGES for stage in stages):
            return None
        return tuple(map(self._within_vocabulary, stages))

    def _within_vocabulary(self, stage: SamplerStage) -> SamplerStage:
        """llama.cpp aborts the process when a graph takes more tokens than there are."""
        if stage.name != "top_k":
            return stage
        return replace(stage, args=(min(int(stage.args[0]), self._vocab_size),))

    def _attach(self, slot: int, kind: _Kind) -> bool:
        old = self._attached.get(slot)
        if old is not None and old.kind == kind:
            return True
        self.clear(slot)
        chain = build_chain(kind)
        if not lib.llama_set_sampler(self._context, slot, chain):
            lib.llama_sampler_free(chain)
            self._refused.add(kind)
            return False
        self._attached[slot] = _Attached(kind, chain)
        return True

    def _take_back(self, attached: _Attached) -> None:
        """Return the random numbers to the request that used this chain."""
        owner, attached.owner = attached.owner, None
        if owner is None:
            return
        request_id, chain = owner
        del self._slots[request_id]
        if chain is not None:
            lib.llama_sampler_copy(attached.chain, chain)
