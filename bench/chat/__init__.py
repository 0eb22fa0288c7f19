"""The application as a person meets it: how soon the chat is drawn, beside a bare Textual application."""

__all__: list[str] = []
