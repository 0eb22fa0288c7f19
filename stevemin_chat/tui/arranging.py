"""What of the chat screen is shown in the room there is."""

from __future__ import annotations

from textual import events

from stevemin_chat.tui.commanding import Commanding

__all__ = ["Arranging"]

_LIST_FROM = 96  # columns from which the list of chats is open by itself
_PANEL_FROM = 132  # columns from which the panel is open by itself
_ROOMY = 30  # rows from which the footer is shown


class Arranging(Commanding):
    """Mixed into the chat screen.

    Attributes:
        folded: what was shown or hidden by hand in a terminal as wide as this one.
        room: whether there is room for the list, and for the panel.
    """

    folded: dict[str, bool]
    room: tuple[bool, bool]

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def fold(self, name: str) -> None:
        """Show or hide the list of chats (`sessions`) or the panel (`metrics`)."""
        screen = self._screen
        shown = screen.query_one(f"#{name}").display
        self.folded[name] = shown
        if not shown and screen.size.width < _LIST_FROM:  # room for one of them only
            self.folded["sessions" if name == "metrics" else "metrics"] = True
        self._arrange(screen.size.width, screen.size.height)
        screen.poll()

    def _arrange(self, width: int, height: int) -> None:
        screen = self._screen
        room = (width >= _LIST_FROM, width >= _PANEL_FROM)
        if room != self.room:
            self.room = room
            self.folded.clear()
        screen.query_one("#sessions").display = not self.folded.get("sessions", not room[0])
        screen.query_one("#metrics").display = not self.folded.get("metrics", not room[1])
        screen.set_class(height >= _ROOMY, "-roomy")
