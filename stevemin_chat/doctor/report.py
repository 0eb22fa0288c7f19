"""What stevemin needs from this machine, looked at one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stevemin_chat.base import Paths
from stevemin_chat.doctor import checks as doctor_data
from stevemin_chat.doctor import checks as doctor_install
from stevemin_chat.doctor.finding import Check
from stevemin_chat.notices import describe

__all__ = ["examine"]

Look = Callable[[Paths], Iterator[Check]]

_LOOKS: tuple[Look, ...] = (
    doctor_install.python,
    doctor_install.packages,
    doctor_install.llama,
    doctor_install.devices,
    doctor_install.compilers,
    doctor_data.settings,
    doctor_data.catalogue,
    doctor_data.starter,
    doctor_data.data_folder,
    doctor_data.disk,
    doctor_data.database,
)


def examine(paths: Paths) -> list[Check]:
    """Look at everything. Never raises: a check that cannot be made is one that failed."""
    return [check for look in _LOOKS for check in _safely(look, paths)]


def _safely(look: Look, paths: Paths) -> Iterator[Check]:
    try:
        yield from look(paths)
    except Exception as error:
        name = look.__name__
        yield Check(id=name, title=name.replace("_", " "), status="fail", found=describe(error).text)
