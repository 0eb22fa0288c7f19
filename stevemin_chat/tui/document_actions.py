"""What a person does with documents, from the chat and from the screen of documents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stevemin_chat.recall import DocumentOutcome, DocumentWork, report_words
from stevemin_chat.text import count
from stevemin_chat.tui.screens.dialogs import Confirm, EditLine

if TYPE_CHECKING:
    from memory import Document, Memory
    from stevemin_chat.chats import Chat
    from stevemin_chat.tui.view import Dialogue

__all__ = ["DocumentActions"]

_BUSY = "Documents are being read. Stop that first: /docs stop"


class DocumentActions:
    """Reads files in the background, and says what came of it. Coroutines only inside `Dialogue.run`."""

    def __init__(self, memory: Memory, dialogue: Dialogue) -> None:
        self.work = DocumentWork(memory, self._done)
        self._memory = memory
        self._dialogue = dialogue

    async def add(self, path: str, project: str | None = None) -> None:
        """Add a file, a folder or a pattern; without a path, ask for it."""
        wanted: str | None = path or await self._dialogue.ask(EditLine("Add a file or a folder", ""))
        if wanted and wanted.strip() and not self.work.add([wanted.strip()], project):
            self._dialogue.say(_BUSY, warn=True)

    async def add_to_project(self, path: str, chat: Chat) -> None:
        """Add documents that only the chats of this one's project may see."""
        project = chat.record.project if chat.record is not None else _project_of_new_chats()
        if project is None:
            self._dialogue.say("This chat belongs to no project; use /docs add.", warn=True)
        else:
            await self.add(path, project)

    def sync(self) -> None:
        """Bring the documents in step with the disk."""
        if not self.work.sync():
            self._dialogue.say(_BUSY, warn=True)

    def stop(self) -> None:
        """Stop reading; what was read stays."""
        if not self.work.stop():
            self._dialogue.say("No documents are being read.")

    async def documents(self) -> tuple[Document, ...]:
        """All documents; none where the store cannot be read, which is told."""
        try:
            return await asyncio.to_thread(self._memory.documents.list)
        except Exception as error:
            self._dialogue.tell(error)
            return ()

    async def remove(self, wanted: str) -> None:
        """Remove what was added, or one document, after asking."""
        if self.work.running:  # both would wait for each other's turn
            self._dialogue.say(_BUSY, warn=True)
            return
        try:
            chosen = await asyncio.to_thread(self._memory.documents.find, wanted)
            question = f"Remove {count(len(chosen), 'document')} from the memory? The files stay."
            if not await self._dialogue.ask(Confirm(question, "Remove")):
                return
            gone = await asyncio.to_thread(self._memory.documents.remove, wanted)
        except Exception as error:
            self._dialogue.tell(error)
        else:
            self._dialogue.say(f"Removed {count(len(gone), 'document')}; the files stay where they are.")

    def _done(self, outcome: DocumentOutcome) -> None:
        report = outcome.report
        if report is None:
            if outcome.asked and outcome.error is not None:
                self._dialogue.tell(outcome.error)
            return
        if outcome.asked or report.added or report.changed or report.removed:
            self._dialogue.say("\n".join(report_words(report)))


def _project_of_new_chats() -> str | None:
    from stevemin_chat.base import project_folder

    return project_folder()
