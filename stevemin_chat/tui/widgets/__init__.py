"""The widgets of the chat screen and the memory screen: each draws what it is given, and reports what the
person did by a message or through a small Protocol of its own.

A folder inside `tui`, not a room: it has no door. No widget imports the controller. Of engine and memory,
widgets know only the types of what they draw.
"""
