"""Memory and load of the machine's CPU and GPUs. Every value may be missing.

NVML reads the GPUs. An absent driver, a GPU split into MIG instances, unified memory or a missing
permission each remove some values and never raise.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil

__all__ = ["DeviceMonitor", "DeviceReading", "GpuReading"]

_MIN_INTERVAL_S = 0.2  # over shorter windows the CPU load is noise
_NVML_TEMPERATURE_GPU = 0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU, or one MIG instance of it; None where the driver reports nothing.

    Args:
        vram_used, vram_total: bytes, all processes together.
        load_percent: share of the last sampling period in which a kernel ran.
        temperature_c: degrees Celsius.
    """

    name: str | None = None
    vram_used: int | None = None
    vram_total: int | None = None
    load_percent: float | None = None
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReading:
    """The machine at one moment; sizes in bytes, None where unknown.

    Args:
        process_rss: resident memory of this process, including a model's memory-mapped pages.
        cpu_percent: load of all cores together since the previous reading; None in the first.
    """

    ram_used: int | None = None
    ram_total: int | None = None
    process_rss: int | None = None
    cpu_percent: float | None = None
    gpus: tuple[GpuReading, ...] = ()


class DeviceMonitor:
    """Reads the devices, in a millisecond or less per GPU; thread-safe.

    Calls less than `min_interval_s` apart return the same reading.
    """

    def __init__(
        self, *, min_interval_s: float = _MIN_INTERVAL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._min_interval_s = min_interval_s
        self._last: tuple[float, DeviceReading] | None = None
        self._cpu_times: tuple[float, float] | None = None
        self._nvml: Any = None
        self._nvml_tried = False

    def read(self) -> DeviceReading:
        """The current reading. Never raises."""
        with self._lock:
            now = self._clock()
            if self._last is not None and now - self._last[0] < self._min_interval_s:
                return self._last[1]
            reading = self._read_now()
            self._last = (now, reading)
            return reading

    def _read_now(self) -> DeviceReading:
        memory = _attempt(psutil.virtual_memory)
        return DeviceReading(
            ram_used=None if memory is None else memory.total - memory.available,
            ram_total=None if memory is None else memory.total,
            process_rss=_attempt(lambda: psutil.Process().memory_info().rss),
            cpu_percent=self._cpu_percent(),
            gpus=tuple(self._gpus()),
        )

    def _cpu_percent(self) -> float | None:
        # psutil.cpu_percent keeps its state per thread; callers come from a pool of threads.
        times = _attempt(psutil.cpu_times)
        if times is None:
            return None
        fields: dict[str, float] = times._asdict()
        total = sum(value for name, value in fields.items() if not name.startswith("guest"))
        idle = fields.get("idle", 0.0) + fields.get("iowait", 0.0)
        before, self._cpu_times = self._cpu_times, (total, idle)
        if before is None or total <= before[0]:
            return None
        busy = 1.0 - (idle - before[1]) / (total - before[0])
        return 100.0 * min(1.0, max(0.0, busy))

    def _gpus(self) -> Iterator[GpuReading]:
        if not self._nvml_tried:
            self._nvml_tried = True
            self._nvml = _attempt(_load_nvml)
        if self._nvml is None:
            return
        for index in range(_ask(self._nvml, "DeviceGetCount") or 0):
            handle = _ask(self._nvml, "DeviceGetHandleByIndex", index)
            if handle is None:
                yield GpuReading()
                continue
            for part in _mig_instances(self._nvml, handle) or [handle]:
                yield _read_gpu(self._nvml, part, parent=handle)


def _read_gpu(nvml: Any, handle: Any, *, parent: Any) -> GpuReading:
    name = _ask(nvml, "DeviceGetName", handle) or _ask(nvml, "DeviceGetName", parent)
    memory = _ask(nvml, "DeviceGetMemoryInfo", handle)
    load = _ask(nvml, "DeviceGetUtilizationRates", handle)
    return GpuReading(
        name=name.decode(errors="replace") if isinstance(name, bytes) else name,
        vram_used=None if memory is None else int(memory.used),
        vram_total=None if memory is None else int(memory.total),
        load_percent=None if load is None else float(load.gpu),
        temperature_c=_ask(nvml, "DeviceGetTemperature", parent, _NVML_TEMPERATURE_GPU),
    )


def _mig_instances(nvml: Any, handle: Any) -> list[Any]:
    mode = _ask(nvml, "DeviceGetMigMode", handle)
    if not mode or mode[0] != 1:
        return []
    slots = _ask(nvml, "DeviceGetMaxMigDeviceCount", handle) or 0
    found = [_ask(nvml, "DeviceGetMigDeviceHandleByIndex", handle, index) for index in range(slots)]
    return [instance for instance in found if instance is not None]


def _load_nvml() -> Any:
    nvml = importlib.import_module("pynvml")
    nvml.nvmlInit()
    return nvml


def _ask(nvml: Any, function: str, *arguments: Any) -> Any:
    # NVML creates its error classes at run time, one per code, and old drivers lack whole functions.
    return _attempt(lambda: getattr(nvml, f"nvml{function}")(*arguments))


def _attempt(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Exception:
        return None
