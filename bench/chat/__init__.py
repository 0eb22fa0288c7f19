"""The terminal application: how soon it is on the screen."""

__all__: list[str] = []
