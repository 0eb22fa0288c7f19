"""llama.cpp's binding and its log: the only importer of the binding, from which the rest takes `lib`."""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from threading import Lock

import llama_cpp.llama_cpp as lib
from llama_cpp._ggml import libggml

__all__ = [
    "init_backend",
    "lib",
    "libggml",
    "logits_address",
    "logits_address_at_once",
    "recent_log",
    "supports_gpu_offload",
    "system_info",
]

_log = logging.getLogger(__name__)
_LEVELS = {2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}  # 1 is debug, 5 continues a line

recent_log: deque[str] = deque(maxlen=200)  # llama.cpp's log lines, which tell why a load failed


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    line = text.decode(errors="replace").rstrip()
    if level != 1:
        recent_log.append(line)
    _log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


# The binding's own function makes a pointer object per call; these are called after every forward pass. The
# second keeps the GIL, which is only right where there is no device to wait for.
logits_address = lib._lib["llama_get_logits"]
logits_address_at_once = ctypes.PyDLL(lib._lib._name)["llama_get_logits"]
for _function in (logits_address, logits_address_at_once):
    _function.argtypes = [ctypes.c_void_p]
    _function.restype = ctypes.c_void_p

_backend_lock = Lock()
_backend_ready = False


def init_backend() -> None:
    """Initialise llama.cpp, once per process."""
    global _backend_ready
    with _backend_lock:
        if not _backend_ready:
            lib.llama_log_set(_on_log, ctypes.c_void_p(0))
            lib.llama_backend_init()
            _backend_ready = True


def supports_gpu_offload() -> bool:
    """Whether this build of llama.cpp supports a GPU, and there is one."""
    init_backend()
    return bool(lib.llama_supports_gpu_offload())


def system_info() -> str:
    """llama.cpp's version and the CPU features it was compiled for."""
    init_backend()
    return f"{lib.llama_version().decode()} {lib.llama_print_system_info().decode()}".strip()
