"""The widgets of the screens: each draws what it is given and posts messages about what the person did.

None knows the controller, the engine or the memory. Other rooms use screens, not widgets.
"""

__all__: list[str] = []
