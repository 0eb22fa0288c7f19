"""The models to choose from: those that are here, then those that can be pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.models.catalogue import is_installed
from stevemin_chat.tui.screens.dialogs import Choice

if TYPE_CHECKING:
    from stevemin_chat.models.catalogue import ModelSpec
    from stevemin_chat.runtime import Runtime

__all__ = ["model_choices"]


def model_choices(runtime: Runtime) -> list[Choice]:
    """Rows for the picker; reads the disk, so keep it off the event loop."""
    specs = list(runtime.catalogue)
    here = {spec.name for spec in specs if is_installed(spec, runtime.paths.models_dir)}
    rows = [_row(spec, installed=True) for spec in specs if spec.name in here]
    known = {row.value for row in rows}
    for name in (runtime.model_name, runtime.model.last_name):
        if name and name not in known and name not in runtime.catalogue:
            known.add(name)
            rows.append(Choice(name, name, "used in this run"))
    return rows + [_row(spec, installed=False) for spec in specs if spec.name not in here]


def _row(spec: ModelSpec, *, installed: bool) -> Choice:
    facts = [spec.parameters, spec.quantization]
    if spec.context_length:
        facts.append(f"{spec.context_length:,} tokens")
    if spec.vram_gib:
        facts.append(f"{spec.vram_gib:g} GiB")
    mark = " · ".join(fact for fact in facts if fact)
    get = f"to get it: stevemin models pull {spec.name}" + (f"   ({spec.licence})" if spec.licence else "")
    return Choice(spec.name, spec.name, spec.description if installed else get, enabled=installed, mark=mark)
