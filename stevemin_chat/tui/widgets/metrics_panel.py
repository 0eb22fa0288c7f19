"""The stats panel: engine and machine, with `n/a` for what cannot be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Sparkline, Static

from stevemin_chat.text import cell_len, duration, one_line, percent, rate, set_cell_size, shortened, size

if TYPE_CHECKING:
    from engine import EngineStats, RequestStats
    from engine.devices import DeviceReading
    from stevemin_chat.tui.status import Status

__all__ = ["MetricsPanel"]

_HISTORY = 120  # polls in the sparkline: one minute
_WIDTH = 30  # columns of text
_NO_VALUE = "n/a"


class _Rates(Sparkline):
    DEFAULT_CSS = """
    _Rates {
        height: 2;
        margin-bottom: 1;
        & > .sparkline--max-color { color: $primary; }
        & > .sparkline--min-color { color: $primary 25%; }
    }
    """


class MetricsPanel(VerticalScroll, can_focus=False):
    """Tokens per second with a sparkline, latency, batch, this chat, all chats, machine. Empty until it is
    shown, which is not in the first frame."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._rates: deque[float] = deque([0.0] * _HISTORY, maxlen=_HISTORY)

    def note(self, stats: EngineStats | None) -> None:
        """Record a poll for the sparkline, also while the panel is hidden."""
        self._rates.append(stats.tokens_per_second if stats else 0.0)

    def show(self, now: Status) -> None:
        """Draw the newest poll."""
        if not self.children:
            self.mount(
                Static("Tokens per second", classes="heading"),
                Static("", id="rate", markup=False),
                _Rates(list(self._rates), id="sparkline"),
                Static("", id="stats", markup=False),
            )
        self.query_one("#rate", Static).update(_headline(now.stats))
        self.query_one(Sparkline).data = list(self._rates)
        blocks = [_this_chat(now), _chats(now.stats, now.titles), _latency(now.stats), _batch(now.stats)]
        blocks.append(_machine(now.devices))
        self.query_one("#stats", Static).update(Content("\n\n").join(block for block in blocks if block))


def _headline(stats: EngineStats | None) -> Content:
    if stats is None:
        return Content.styled("no model", "$foreground 50%")
    reading = f"   reading {rate(stats.prefill_tokens_per_second)}" if stats.prefill_tokens_per_second else ""
    return Content.assemble((rate(stats.tokens_per_second), "bold $primary"), (reading, "$foreground 50%"))


def _latency(stats: EngineStats | None) -> Content:
    return _block(
        "Latency",
        _row("first token", duration(stats.ttft_p50_s if stats else None)),
        _row("between tokens", duration(stats.itl_p50_s if stats else None)),
        _row("p95 / p99", _pair(stats)),
    )


def _pair(stats: EngineStats | None) -> str:
    if stats is None or stats.itl_p95_s is None:
        return _NO_VALUE
    return f"{duration(stats.itl_p95_s)} / {duration(stats.itl_p99_s)}"


def _batch(stats: EngineStats | None) -> Content:
    if stats is None:
        return _block(
            "Batch", _row("sequences", _NO_VALUE), _row("KV cells", _NO_VALUE), _row("queue", _NO_VALUE)
        )
    share = stats.kv_cells_used / stats.kv_cells_total if stats.kv_cells_total else 0.0
    return _block(
        "Batch",
        _row("sequences", f"{stats.batch_sequences} of {stats.max_sessions}"),
        _row("batch tokens", f"{stats.batch_tokens:,} of {stats.batch_capacity:,}"),
        _row("queue", str(stats.waiting)),
        _row("requests", f"{stats.requests_per_second:.2f}/s"),
        _row("prefix hits", percent(stats.prefix_hit_rate)),
        *_seldom(stats),
        _row("KV cells", f"{stats.kv_cells_used:,} of {stats.kv_cells_total:,}"),
        _bar(share),
    )


def _seldom(stats: EngineStats) -> Iterator[Content]:
    """Rows shown only when they have a value worth showing."""
    if stats.drafted_tokens:
        yield _row("speculation hits", percent(stats.accepted_tokens / stats.drafted_tokens))
    if stats.steps:
        yield _row("engine overhead", percent(stats.overhead, 1))
    if stats.paused:
        yield _row("paused", str(stats.paused))
    if stats.parked:
        on_disk = f", {stats.parked_on_disk} on disk" if stats.parked_on_disk else ""
        yield _row("parked chats", f"{stats.parked}{on_disk}")


def _this_chat(now: Status) -> Content:
    rows = []
    if now.request is not None:
        speed = now.request.tokens_per_second
        rows.append(_row("tokens per second", rate(speed or None)))
        rows.append(_row("first token", duration(now.request.ttft_s)))
        rows.append(_row("between tokens", duration(1 / speed if speed else None)))
    elif now.last:
        rows.append(_row("tokens per second", rate(now.last.get("tokens_per_second"))))
        rows.append(_row("first token", duration(now.last.get("ttft_s"))))
        rows.append(_row("between tokens", duration(now.last.get("itl_p50_s"))))
    if now.context is not None:
        used, limit = now.context
        rows.append(_row("context", f"{used:,} of {limit:,}"))
        rows.append(_bar(used / limit if limit else 0.0))
    return _block("This chat", *rows) if rows else Content("")


def _chats(stats: EngineStats | None, titles: Mapping[str, str]) -> Content:
    if stats is None or not stats.requests:
        return Content("")
    return _block(
        "Answering",
        *(_row(one_line(titles.get(r.session_id or "", "a request")), _lane(r)) for r in stats.requests),
    )


def _lane(request: RequestStats) -> str:
    if request.phase == "waiting":
        return "queued"
    if request.phase == "prefill":
        share = request.computed_tokens / request.prompt_tokens if request.prompt_tokens else 0.0
        return f"reading {percent(share)}"
    return f"{rate(request.tokens_per_second)}/s"


def _machine(devices: DeviceReading | None) -> Content:
    rows = [
        _row("RAM", size(devices.ram_used, devices.ram_total) if devices else _NO_VALUE),
        _row("stevemin", size(devices.process_rss) if devices else _NO_VALUE),
        _row("CPU", _load(devices.cpu_percent if devices else None)),
    ]
    gpus = devices.gpus if devices else ()
    if not gpus:
        rows += [_row("VRAM", _NO_VALUE), _row("GPU", _NO_VALUE), _row("GPU temperature", _NO_VALUE)]
    for gpu in gpus:
        degrees = _NO_VALUE if gpu.temperature_c is None else f"{gpu.temperature_c:.0f} °C"
        rows.append(Content.styled(set_cell_size(one_line(gpu.name or "GPU"), _WIDTH), "$foreground 50%"))
        rows.append(_row("VRAM", size(gpu.vram_used, gpu.vram_total)))
        rows.append(_row("GPU", _load(gpu.load_percent)))
        rows.append(_row("GPU temperature", degrees))
    return _block("Machine", *rows)


def _load(value: float | None) -> str:
    return percent(None if value is None else value / 100)


def _block(heading: str, *rows: Content) -> Content:
    return Content("\n").join([Content.styled(heading, "bold $foreground 60%"), *rows])


def _row(label: str, value: str) -> Content:
    room = _WIDTH - cell_len(value) - 1
    shade = "$foreground 35%" if value == _NO_VALUE else "$foreground"
    return Content.assemble(
        (set_cell_size(shortened(label, room), room) + " ", "$foreground 60%"), (value, shade)
    )


def _bar(share: float) -> Content:
    filled = round(min(1.0, max(0.0, share)) * _WIDTH)
    colour = "$warning" if share > 0.85 else "$primary"
    return Content.assemble(("━" * filled, colour), ("━" * (_WIDTH - filled), "$foreground 12%"))
