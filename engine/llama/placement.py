"""Where the weights of a model go: which GPUs share them, which tensors stay elsewhere, how the file is
read."""

from __future__ import annotations

import ctypes
from typing import Any

from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.llama.lib import lib, libggml

__all__ = ["Placement", "buffer_types"]

_SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}  # enum llama_split_mode
_LOAD_MODES = {"auto": -1, "none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "direct_io": 4}
# The weights of a mixture's experts, by llama.cpp's own pattern for --n-cpu-moe.
_EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"

for _name, _result, _arguments in (
    ("ggml_backend_dev_count", ctypes.c_size_t, []),
    ("ggml_backend_dev_get", ctypes.c_void_p, [ctypes.c_size_t]),
    ("ggml_backend_dev_buffer_type", ctypes.c_void_p, [ctypes.c_void_p]),
    ("ggml_backend_buft_name", ctypes.c_char_p, [ctypes.c_void_p]),
    ("ggml_backend_cpu_buffer_type", ctypes.c_void_p, []),
):
    getattr(libggml, _name).restype = _result
    getattr(libggml, _name).argtypes = _arguments


class _Override(ctypes.Structure):
    """struct llama_model_tensor_buft_override"""

    _fields_ = (("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p))


class Placement:
    """What `llama_model_params` is told about the devices. Must outlive the load.

    Raises:
        ConfigError: the machine has no such buffer, or fewer devices.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._overrides = self._make_overrides()
        self._shares = self._make_shares()

    def apply(self, params: Any) -> None:
        """Write it into the parameters of a load."""
        config = self._config
        params.n_gpu_layers = config.gpu_layers
        params.split_mode = _SPLIT_MODES[config.split_mode]
        params.main_gpu = config.main_gpu
        params.load_mode = _LOAD_MODES[config.load_mode]
        if self._shares is not None:
            params.tensor_split = self._shares
        if self._overrides is not None:
            params.tensor_buft_overrides = ctypes.cast(self._overrides, ctypes.c_void_p)

    def _make_overrides(self) -> Any:
        """The overrides, with an empty one at their end; None without any."""
        known = {name.lower(): address for name, address in buffer_types().items()}
        pairs: list[tuple[str, int]] = []
        for override in self._config.tensor_overrides:
            pattern, _, name = override.rpartition("=")
            if (address := known.get(name.strip().lower())) is None:
                names = ", ".join(buffer_types())
                raise ConfigError(
                    f"tensor_overrides: there is no buffer {name.strip()!r} here; there are {names}."
                )
            pairs.append((pattern, address))
        count = self._config.cpu_experts
        layers = "" if count < 0 else f"blk\\.({'|'.join(map(str, range(count)))})"
        if count:
            pairs.append((layers + _EXPERTS, int(libggml.ggml_backend_cpu_buffer_type())))
        if not pairs:
            return None
        overrides = (_Override * (len(pairs) + 1))()
        for override, (pattern, address) in zip(overrides, pairs, strict=False):
            override.pattern, override.buft = pattern.encode(), address
        return overrides

    def _make_shares(self) -> Any:
        shares = self._config.tensor_split
        most = int(lib.llama_max_devices())
        if len(shares) > most:
            raise ConfigError(f"tensor_split has {len(shares)} shares, and llama.cpp at most {most} devices.")
        return (ctypes.c_float * most)(*shares) if shares else None


def buffer_types() -> dict[str, int]:
    """The memories of the devices that can hold weights: addresses by the names that llama.cpp gives them."""
    found: dict[str, int] = {}
    for number in range(libggml.ggml_backend_dev_count()):
        address = libggml.ggml_backend_dev_buffer_type(libggml.ggml_backend_dev_get(number))
        if address:
            found[libggml.ggml_backend_buft_name(address).decode()] = address
    return found
