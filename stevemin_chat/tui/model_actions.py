"""Choosing and loading a model from the chat."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from stevemin_chat.models import is_installed, vram_words
from stevemin_chat.text import model_label
from stevemin_chat.tui.screens.dialogs import Choice, Choose, Confirm

if TYPE_CHECKING:
    from stevemin_chat.chats import Chats
    from stevemin_chat.models import ModelLoader, ModelSpec
    from stevemin_chat.runtime import Runtime
    from stevemin_chat.tui.view import Dialogue

__all__ = ["ModelActions", "model_choices"]


class ModelActions:
    """Loads one model at a time; the screen stays usable meanwhile.

    Args:
        first: the model to load at the start.
    """

    def __init__(
        self,
        runtime: Runtime,
        chats: Chats,
        loader: ModelLoader,
        dialogue: Dialogue,
        *,
        first: str,
    ) -> None:
        self._runtime = runtime
        self._chats = chats
        self._dialogue = dialogue
        self._first = first
        self._loader = loader

    @property
    def loading(self) -> str | None:
        """The model being loaded."""
        return self._loader.name

    @property
    def progress(self) -> float:
        """Of the load, 0 to 1."""
        return self._loader.progress

    @property
    def label(self) -> str:
        """The loaded model, or the one that will be."""
        return model_label(self._runtime.model_name or self._loader.name or self._first)

    @property
    def line(self) -> str:
        """The state of the model in a few words, for the status line."""
        if self._loader.name is not None:
            return f"loading {model_label(self._loader.name)}"
        return model_label(self._runtime.model_name) if self._runtime.model_name else "no model: /model"

    @property
    def known(self) -> list[str]:
        """Names in the catalogue."""
        return [spec.name for spec in self._runtime.catalogue]

    def begin(self) -> None:
        """Load the first model, unless one is loaded."""
        if self._runtime.engine is None:
            self._dialogue.run(partial(self._load, self._first))

    async def choose(self, name: str = "") -> None:
        """Load a model; without a name, ask which."""
        wanted: str | None = name
        if not wanted:
            choices = await asyncio.to_thread(model_choices, self._runtime)
            title = "Models on this machine, and models to download"
            wanted = await self._dialogue.ask(Choose(title, choices, chosen=self._runtime.model_name))
        if not wanted:
            return
        try:  # before anyone is asked to give up an answer for it
            await self._runtime.model.check(wanted)
        except Exception as error:
            self._dialogue.tell(error)
            return
        if await self._may_stop_answers():
            await self._load(wanted)

    async def cancel(self) -> None:
        """Stop loading."""
        if not await self._loader.cancel():
            self._dialogue.say("No model is being loaded.")

    async def stop(self) -> None:
        """Stop loading silently, if a model is being loaded."""
        await self._loader.cancel()

    async def _may_stop_answers(self) -> bool:
        busy = len(self._chats.busy)
        if not busy:
            return True
        what = "The answer being written stops" if busy == 1 else f"The {busy} answers being written stop"
        agreed = await self._dialogue.ask(Confirm(f"{what}; the text so far stays. Continue?", "Switch"))
        return agreed is True

    async def _load(self, name: str) -> None:
        try:
            info = await self._loader.load(name)
        except Exception as error:
            self._dialogue.tell(error)
            if self._runtime.engine is None:
                text = "Choose another model with /model. Nothing you type is lost meanwhile."
                self._dialogue.say(text, "No model", warn=True)
            return
        if info is None:
            if self._loader.name is not None or self._runtime.engine is not None:
                return  # another load took its place
            text = "No model is loaded. Choose one with /model."
            self._dialogue.say(text, "Loading was stopped", warn=True)
            return
        for warning in info.warnings:
            self._dialogue.say(warning, info.name, warn=True)


def model_choices(runtime: Runtime) -> list[Choice]:
    """Rows for the picker: installed models, then those to download. Reads the disk."""
    specs = list(runtime.catalogue)
    here = {spec.name for spec in specs if is_installed(spec, runtime.paths.models_dir)}
    rows = [_row(spec, installed=True) for spec in specs if spec.name in here]
    known = {row.value for row in rows}
    for name in (runtime.model.name, runtime.model.last_name):
        if name and name not in known and name not in runtime.catalogue:
            known.add(name)
            rows.append(Choice(name, name, "used in this run"))
    return rows + [_row(spec, installed=False) for spec in specs if spec.name not in here]


def _row(spec: ModelSpec, *, installed: bool) -> Choice:
    facts = [spec.parameters, spec.quantization]
    if spec.context_length:
        facts.append(f"{spec.context_length:,} tokens")
    facts.append(vram_words(spec.vram_gib))
    mark = " · ".join(fact for fact in facts if fact)
    licence = f"   ({spec.licence})" if spec.licence else ""
    get = f"to download: stevemin models pull {spec.name}{licence}"
    return Choice(spec.name, spec.name, spec.description if installed else get, enabled=installed, mark=mark)
