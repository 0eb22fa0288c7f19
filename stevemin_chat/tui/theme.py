"""The application's own colours; Textual's built-in themes can be chosen instead."""

from __future__ import annotations

from textual.theme import Theme

__all__ = ["STEVEMIN_THEME"]

STEVEMIN_THEME = Theme(
    name="stevemin",
    primary="#8fb4d8",
    secondary="#8a97ab",
    accent="#dcb67a",
    foreground="#d3d7de",
    background="#14161a",
    surface="#191c21",
    panel="#22262d",
    success="#93b98a",
    warning="#d9a566",
    error="#d87f81",
    dark=True,
    variables={
        "block-cursor-background": "#2c3542",
        "block-cursor-foreground": "#e6eaf0",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#22262d",
        "block-cursor-blurred-foreground": "#d3d7de",
        "block-hover-background": "#1f232a",
        "border": "#5d7794",
        "border-blurred": "#2b3038",
        "button-focus-text-style": "bold",
        "footer-background": "#14161a",
        "footer-item-background": "#14161a",
        "footer-key-foreground": "#8fb4d8",
        "footer-description-foreground": "#737b88",
        "input-selection-background": "#8fb4d8 30%",
        "input-cursor-background": "#d3d7de",
        "input-cursor-foreground": "#14161a",
        "scrollbar": "#2b3038",
        "scrollbar-hover": "#3a414c",
        "scrollbar-active": "#5d7794",
        "scrollbar-background": "#14161a",
        "scrollbar-background-hover": "#14161a",
        "scrollbar-background-active": "#14161a",
        "markdown-h1-color": "#e6eaf0",
        "markdown-h2-color": "#8fb4d8",
        "markdown-h3-color": "#8fb4d8",
        "markdown-h4-color": "#8fb4d8",
    },
)
