from __future__ import annotations

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from engine.devices import DeviceMonitor, DeviceReading, GpuReading

GIB = 1024**3


class NvmlError(Exception):
    """Stands for pynvml.NVMLError."""


class FakeNvml(ModuleType):
    """A driver with the given GPUs; names in `refused` raise, names in `absent` do not exist."""

    def __init__(
        self, gpus: list[dict[str, Any]], *, refused: tuple[str, ...] = (), absent: tuple[str, ...] = ()
    ) -> None:
        super().__init__("pynvml")
        self.gpus = gpus
        self.refused = refused
        self.absent = absent
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in self.absent or not name.startswith("nvml"):
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if name in self.refused:
                raise NvmlError(name)
            return self.answer(name, *arguments)

        return call

    def answer(self, name: str, *arguments: Any) -> Any:
        match name:
            case "nvmlInit":
                return None
            case "nvmlDeviceGetCount":
                return len(self.gpus)
            case "nvmlDeviceGetHandleByIndex":
                return self.gpus[arguments[0]]
            case "nvmlDeviceGetMaxMigDeviceCount":
                return 7
            case "nvmlDeviceGetMigDeviceHandleByIndex":
                instances = arguments[0]["instances"]
                if arguments[1] >= len(instances):
                    raise NvmlError("not found")
                return instances[arguments[1]]
        fields = {
            "nvmlDeviceGetName": "name",
            "nvmlDeviceGetMemoryInfo": "memory",
            "nvmlDeviceGetUtilizationRates": "load",
            "nvmlDeviceGetTemperature": "temperature",
            "nvmlDeviceGetMigMode": "mig",
        }
        if fields[name] not in arguments[0]:
            raise NvmlError("not supported")
        return arguments[0][fields[name]]


def gpu(**changes: Any) -> dict[str, Any]:
    return {
        "name": "RTX",
        "memory": SimpleNamespace(used=3 * GIB, total=24 * GIB),
        "load": SimpleNamespace(gpu=87),
        "temperature": 61,
        **changes,
    }


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(nvml: Any) -> Any:
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return nvml

    return put


def monitor() -> DeviceMonitor:
    return DeviceMonitor(min_interval_s=0)


def test_reads_this_machine(install: Any) -> None:
    install(None)  # import pynvml raises ImportError
    reading = monitor().read()
    assert reading.gpus == ()
    assert reading.ram_total == psutil.virtual_memory().total
    assert reading.ram_used is not None
    assert 0 < reading.ram_used < psutil.virtual_memory().total
    assert reading.process_rss is not None
    assert 1_000_000 < reading.process_rss < psutil.virtual_memory().total


def test_reads_every_gpu(install: Any) -> None:
    install(FakeNvml([gpu(), gpu(name=b"Tesla", load=SimpleNamespace(gpu=0))]))
    assert monitor().read().gpus == (
        GpuReading(name="RTX", vram_used=3 * GIB, vram_total=24 * GIB, load_percent=87.0, temperature_c=61.0),
        GpuReading(
            name="Tesla", vram_used=3 * GIB, vram_total=24 * GIB, load_percent=0.0, temperature_c=61.0
        ),
    )


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetName", "name"),
        ("nvmlDeviceGetMemoryInfo", "vram_used"),
        ("nvmlDeviceGetMemoryInfo", "vram_total"),
        ("nvmlDeviceGetUtilizationRates", "load_percent"),
        ("nvmlDeviceGetTemperature", "temperature_c"),
    ],
)
@pytest.mark.parametrize("how", ["refused", "absent"])
def test_one_missing_value_leaves_the_others(install: Any, function: str, field: str, how: str) -> None:
    install(FakeNvml([gpu()], **{how: (function,)}))
    (reading,) = monitor().read().gpus
    assert getattr(reading, field) is None
    others = {"name", "load_percent", "temperature_c"} - {field}
    assert all(getattr(reading, other) is not None for other in others)


def test_a_mig_instance_is_a_gpu_of_its_own(install: Any) -> None:
    part = {"name": "H100 MIG 1g.10gb", "memory": SimpleNamespace(used=GIB, total=10 * GIB)}
    install(FakeNvml([gpu(name="H100", mig=(1, 1), instances=[part, {"memory": part["memory"]}])]))
    first, second = monitor().read().gpus
    assert first == GpuReading(
        name="H100 MIG 1g.10gb", vram_used=GIB, vram_total=10 * GIB, temperature_c=61.0
    )
    assert second.name == "H100"  # an instance without a name goes by its GPU's
    assert second.load_percent is None


def test_mig_without_visible_instances_shows_the_gpu(install: Any) -> None:
    install(FakeNvml([{"name": "H100", "mig": (1, 1), "instances": []}]))
    assert monitor().read().gpus == (GpuReading(name="H100"),)


def test_a_gpu_that_fell_off_the_bus_keeps_its_row(install: Any) -> None:
    install(FakeNvml([gpu()], refused=("nvmlDeviceGetHandleByIndex",)))
    assert monitor().read().gpus == (GpuReading(),)


def test_a_missing_driver_is_asked_for_once(install: Any) -> None:
    nvml = install(FakeNvml([gpu()], refused=("nvmlInit",)))
    devices = monitor()
    assert devices.read().gpus == ()
    assert devices.read().gpus == ()
    assert nvml.calls == ["nvmlInit"]


def test_nothing_is_touched_before_the_first_reading(install: Any) -> None:
    nvml = install(FakeNvml([gpu()]))
    monitor()
    assert nvml.calls == []


def test_readings_close_together_are_one(install: Any) -> None:
    nvml = install(FakeNvml([gpu()]))
    now = [10.0]
    devices = DeviceMonitor(min_interval_s=0.5, clock=lambda: now[0])
    first = devices.read()
    now[0] += 0.4
    assert devices.read() is first
    now[0] += 0.2
    assert devices.read() is not first
    assert nvml.calls.count("nvmlInit") == 1


def test_the_cpu_load_is_of_the_time_since_the_last_reading(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(None)
    cpu_times = psutil.cpu_times()
    idle = dict.fromkeys(cpu_times._fields, 0.0)
    samples = iter([{**idle, "user": 10.0, "idle": 90.0}, {**idle, "user": 13.0, "idle": 91.0}])
    monkeypatch.setattr(psutil, "cpu_times", lambda: type(cpu_times)(**next(samples)))
    devices = monitor()
    assert devices.read().cpu_percent is None
    assert devices.read().cpu_percent == pytest.approx(75.0)


def test_psutil_may_fail_too(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install(None)

    def refuse() -> None:
        raise PermissionError("/proc is not mounted")

    for name in ("virtual_memory", "cpu_times", "Process"):
        monkeypatch.setattr(psutil, name, refuse)
    assert monitor().read() == DeviceReading()


def test_many_threads_may_read(install: Any) -> None:
    install(FakeNvml([gpu()]))
    devices = monitor()
    readings: list[DeviceReading] = []
    threads = [
        threading.Thread(target=lambda: readings.extend(devices.read() for _ in range(20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(readings) == 80
    assert all(len(reading.gpus) == 1 for reading in readings)
